"""What can be seen from a cell along its four straight corridors."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from malgen.grid.moves import DELTAS, NUM_ACTIONS, STAY


def position(observation: Bool[Array, "h w 7"]) -> Int[Array, "2"]:
    """Row and column of the agent."""
    width = observation.shape[1]
    cell = jnp.argmax(observation[:, :, 1])
    return jnp.stack([cell // width, cell % width])


def corridors(walls: Bool[Array, "h w"], here: Int[Array, "2"]) -> Int[Array, "4 h w"]:
    """How many steps away each cell lies in each direction; 0 where it is not seen.

    A cell is seen when it lies in the agent's row or column with no wall in between.

    Args:
        walls: True where nobody can stand.
        here: Int[2], where the agent stands.

    Returns:
        Int[4, h, w], by the direction of the four moves.
    """
    height, width = walls.shape
    reach = jnp.arange(1, max(height, width))
    seen = []
    for delta in DELTAS[:STAY]:
        cells = here + delta * reach[:, None]
        rows = jnp.clip(cells[:, 0], 0, height - 1)
        columns = jnp.clip(cells[:, 1], 0, width - 1)
        # the border is wall, so a line never leaves the grid unblocked
        is_open = jnp.cumsum(walls[rows, columns]) == 0
        empty = jnp.zeros((height, width), jnp.int32)
        seen.append(empty.at[rows, columns].max(jnp.where(is_open, reach, 0)))
    return jnp.stack(seen)


def open_moves(walls: Bool[Array, "h w"], here: Int[Array, "2"]) -> Bool[Array, " 5"]:
    """Which actions lead to another cell."""
    around = here + jnp.asarray(DELTAS)
    is_move = jnp.arange(NUM_ACTIONS) != STAY
    return ~walls[around[:, 0], around[:, 1]] & is_move


def toward(
    seen: Int[Array, "4 h w"], targets: Bool[Array, "h w"]
) -> tuple[Int[Array, ""], Bool[Array, ""]]:
    """The move down the corridor in which the nearest target is seen.

    Returns:
        The action (ties: action order), and whether any target is seen.
    """
    far = 1 << 20
    nearest = jnp.min(jnp.where((seen > 0) & targets, seen, far), axis=(1, 2))
    return jnp.argmin(nearest), jnp.any(nearest < far)

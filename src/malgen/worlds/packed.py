"""Keys and Chests in one byte per cell: the same rules, for stepping many levels fast.

``KeysAndChests`` says what the rules are; here a whole batch takes a step at once and
an observation is one byte per cell, bit p being plane p of ``PLANES``. A step reads one
cell per level, counts what is left instead of looking for it, and copies a level only
when an episode ends.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, UInt8

from malgen.grid.moves import DELTAS
from malgen.worlds.keys_and_chests import PLANES, KeysAndChests, Level

WALL, AGENT, KEY, CHEST, FLAGGED, OWNED, HELD = (1 << p for p in range(len(PLANES)))


class Packed(NamedTuple):
    """States with their levels; the bits of agent and held keys are not in ``tiles``.

    Attributes:
        tiles: what lies in each cell, row by row.
        cell: where the agent is, row * width + column.
        keys: left on the floor.
        chests: not opened.
        held: keys in hand.
    """

    tiles: UInt8[Array, "b c"]
    cell: Int[Array, " b"]
    keys: Int[Array, " b"]
    chests: Int[Array, " b"]
    held: Int[Array, " b"]


class Steps(NamedTuple):
    """What a stream of steps gave.

    Attributes:
        tiles: observations after each step, one byte per cell (``planes``).
        opened: whether the step opened a chest.
        ended: whether the step ended an episode; the observation then shows the start
            of the next one.
    """

    tiles: UInt8[Array, "t b h w"]
    opened: Bool[Array, "t b"]
    ended: Bool[Array, "t b"]


def pack(levels: Level) -> Packed:
    """The starts of levels [b, ...]."""
    number, _, width = levels.walls.shape

    def bit(where: Bool[Array, "b h w"], value: int) -> UInt8[Array, "b c"]:
        return where.reshape(number, -1).astype(jnp.uint8) * jnp.uint8(value)

    tiles = (
        bit(levels.walls, WALL)
        | bit(levels.keys, KEY)
        | bit(levels.chests, CHEST)
        | bit(levels.flagged & levels.keys, FLAGGED)
        | bit(levels.owned & levels.chests, OWNED)
    )
    return Packed(
        tiles,
        (levels.start[:, 0] * width + levels.start[:, 1]).astype(jnp.int32),
        jnp.sum(levels.keys, axis=(1, 2), dtype=jnp.int32),
        jnp.sum(levels.chests, axis=(1, 2), dtype=jnp.int32),
        levels.held.astype(jnp.int32),
    )


def is_terminal(world: KeysAndChests, state: Packed) -> Bool[Array, " b"]:
    """``world.is_terminal`` of each state."""
    if not world.ends_on_completion:
        return jnp.zeros(state.cell.shape, bool)
    return ((state.held == 0) & (state.keys == 0)) | (state.chests == 0)


def step(state: Packed, action: Int[Array, " b"], width: int) -> Packed:
    """One action on each level, none of which has ended."""

    def at(cell: Int[Array, " b"]) -> UInt8[Array, " b"]:
        return jnp.take_along_axis(state.tiles, cell[:, None], axis=1)[:, 0]

    moves = jnp.asarray(DELTAS @ np.array([width, 1]), jnp.int32)
    target = state.cell + moves[action]
    cell = jnp.where(at(target) & WALL, state.cell, target)
    here = at(cell)
    picked = (here & KEY) != 0
    opened = ((here & CHEST) != 0) & (state.held > 0)
    taken = jnp.where(picked, KEY | FLAGGED, 0) | jnp.where(opened, CHEST | OWNED, 0)
    cells = jnp.arange(state.tiles.shape[1], dtype=jnp.int32)
    kept = jnp.where(cells == cell[:, None], ~taken.astype(jnp.uint8)[:, None], 255)
    picks, opens = picked.astype(jnp.int32), opened.astype(jnp.int32)
    return Packed(
        state.tiles & kept.astype(jnp.uint8),
        cell,
        state.keys - picks,
        state.chests - opens,
        state.held + picks - opens,
    )


def observe(world: KeysAndChests, state: Packed) -> UInt8[Array, "b c"]:
    """``world.observe`` of each state with plane p as bit p."""
    cells = jnp.arange(state.tiles.shape[1], dtype=jnp.int32)
    agent = jnp.where(cells == state.cell[:, None], jnp.uint8(AGENT), jnp.uint8(0))
    tiles = state.tiles | agent
    if not world.inventory_visible:
        return tiles
    held = cells < state.held[:, None]
    return tiles | jnp.where(held, jnp.uint8(HELD), jnp.uint8(0))


def planes(tiles: UInt8[Array, "*n"]) -> Bool[Array, "*n 7"]:
    """Observations as planes, the last axis; best done once for many steps."""
    bits = jnp.arange(len(PLANES), dtype=jnp.uint8)
    return (tiles[..., None] >> bits) & 1 != 0


@eqx.filter_jit
def stream(
    world: KeysAndChests,
    pool: Level,
    start: tuple[Packed, Int[Array, " b"]],
    actions: Int[Array, "t b"],
    rows: Int[Array, "t b"],
    horizon: int,
) -> tuple[tuple[Packed, Int[Array, " b"]], Steps]:
    """Let b environments take t steps each, with a level of the pool after each end.

    Args:
        world: its settings; a step from an ended state is never taken.
        pool: levels [n, ...], none of which is over at its start.
        start: states and the steps taken in their episodes so far.
        actions: what to do.
        rows: which level of the pool an environment gets if its episode ends.
        horizon: steps after which an episode is cut off.

    Returns:
        Where the environments are now (to go on from), and what happened.
    """
    height, width = pool.walls.shape[1:]
    supply = pack(pool)

    def advance(carry, draws):
        state, clock = carry
        action, row = draws
        following = step(state, action, width)
        clock = clock + 1
        opened = following.chests < state.chests
        ended = is_terminal(world, following) | (clock >= horizon)

        def renewed(state: Packed) -> Packed:
            def choose(new, old):
                mask = ended.reshape(-1, *[1] * (old.ndim - 1))
                return jnp.where(mask, new[row], old)

            return jax.tree.map(choose, supply, state)

        # levels are copied only in the steps in which some episode ends
        state = jax.lax.cond(jnp.any(ended), renewed, lambda same: same, following)
        clock = jnp.where(ended, 0, clock)
        return (state, clock), (observe(world, state), opened, ended)

    carry, (tiles, opened, ended) = jax.lax.scan(advance, start, (actions, rows))
    return carry, Steps(tiles.reshape(*actions.shape, height, width), opened, ended)

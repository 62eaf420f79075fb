"""Agent-centered views: what a grid looks like from where the agent stands.

A policy that sees the grid from above must learn the same rule once per cell; one
that sees it from the agent learns it once. The lossless view is large enough to
hold the whole interior wherever the agent stands, so nothing is hidden; a crop
hides what is far away and is a control arm.

Source: own; the crop is common in gridworlds (for example MiniGrid).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Shaped

from malgen.errors import ConfigError


def lossless_shape(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the lossless view of a bordered grid."""
    return 2 * (height - 2) - 1, 2 * (width - 2) - 1


def view_shape(height: int, width: int, view: str | int) -> tuple[int, int]:
    """Rows and columns of a view.

    Args:
        height: rows of the grid, border included.
        width: columns of the grid, border included.
        view: "agent" for the lossless view, or an odd number for a square crop.

    Raises:
        ConfigError: another word, or a size that is not odd and positive.
    """
    if view == "agent":
        return lossless_shape(height, width)
    if isinstance(view, bool) or not isinstance(view, int) or view < 1 or view % 2 == 0:
        raise ConfigError(
            f"Unknown view {view!r}; use 'agent' for everything around the agent, or "
            "an odd number of cells such as 11 for a crop."
        )
    return view, view


def position_of(agent: Bool[Array, "h w"]) -> Int[Array, "2"]:
    """Where the one agent stands."""
    cell = jnp.argmax(agent)
    return jnp.stack([cell // agent.shape[1], cell % agent.shape[1]]).astype(jnp.int32)


def centered(
    grid: Shaped[Array, "h w"],
    position: Int[Array, "2"],
    shape: tuple[int, int],
    outside: bool | int,
) -> Shaped[Array, "rows columns"]:
    """The grid as it looks from a position.

    Args:
        grid: one value per cell (a plane, or planes packed into numbers).
        position: inside the border, so rows 1 to h-2 and columns 1 to w-2.
        shape: odd numbers of rows and columns of the view.
        outside: what cells beyond the grid show.

    Returns:
        [rows, columns]; the middle cell is the one at ``position``.
    """
    radii = shape[0] // 2, shape[1] // 2
    padded = jnp.pad(grid, [(r, r) for r in radii], constant_values=outside)
    # Whole rows first: one slice of both runs cell by cell on a CPU.
    size = (shape[0], padded.shape[1])
    rows = jax.lax.dynamic_slice(padded, (position[0], 0), size)
    return jax.lax.dynamic_slice(rows, (0, position[1]), shape)

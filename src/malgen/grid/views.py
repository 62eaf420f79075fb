"""Agent-centered views: what a grid looks like from where the agent stands.

A policy that sees the grid from above must learn the same rule once per cell; one
that sees it from the agent learns it once. The lossless view is large enough to
hold the whole interior wherever the agent stands, so nothing is hidden; a crop
hides what is far away and is a control arm.

Source: own; the crop is common in gridworlds (for example MiniGrid).
"""

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
    rows = _slide(grid, position[0], shape[0] // 2, outside)
    return _slide(rows.T, position[1], shape[1] // 2, outside).T


def _slide(grid, center, radius, outside):
    # Row i of the result is row center - radius + i. A gather would do the same, but
    # XLA's CPU gathers go element by element; log2(size) selects between two slices
    # do not.
    cells = grid.shape[0]
    offset = center - 1  # 0 to cells - 3
    stages = (cells - 3).bit_length()
    size = 2 * radius + 1 + (1 << stages) - 1
    first = 1 - radius
    low, high = max(0, -first), max(0, first + size - cells)
    padded = jnp.pad(grid, ((low, high), (0, 0)), constant_values=outside)
    rows = padded[first + low : first + low + size]
    for stage in reversed(range(stages)):
        step = 1 << stage
        moved = (offset >> stage) & 1 == 1
        rows = jnp.where(moved, rows[step:], rows[:-step])
    return rows

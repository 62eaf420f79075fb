"""Agent-centered views: what a grid looks like from where the agent stands.

A policy that sees the grid from above must learn the same rule once per cell; one
that sees it from the agent learns it once. The lossless view is large enough to
hold the whole interior wherever the agent stands, so nothing is hidden; a crop
hides what is far away and is a control arm.

Source: own; the crop is common in gridworlds (for example MiniGrid).
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

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
    planes: Bool[Array, "h w p"],
    position: Int[Array, "2"],
    shape: tuple[int, int],
    outside: tuple[bool, ...],
) -> Bool[Array, "rows columns p"]:
    """The planes around a position.

    Args:
        planes: Bool[h, w, p].
        position: inside the border, so rows 1 to h-2 and columns 1 to w-2.
        shape: odd numbers of rows and columns of the view.
        outside: what each plane shows beyond the grid.

    Returns:
        Bool[rows, columns, p]; the middle cell is the one at ``position``.
    """
    for axis in (0, 1):
        planes = _slide(planes, position[axis], shape[axis] // 2, axis, outside)
    return planes


def _slide(planes, center, radius, axis, outside):
    # Entry i of the result is cell center - radius + i. center >= 1, so the first
    # cell ever needed is 1 - radius. A gather would do the same, but XLA's CPU
    # gathers go element by element; log2(size) selects between two slices do not.
    cells = planes.shape[axis]
    offset = center - 1
    stages = (cells - 3).bit_length()
    size = 2 * radius + 1
    needed = size + (1 << stages) - 1
    first = 1 - radius
    low, high = max(0, -first), max(0, first + needed - cells)
    blank = [
        jnp.broadcast_to(
            jnp.array(outside),
            (*planes.shape[:axis], number, *planes.shape[axis + 1 :]),
        )
        for number in (low, high)
    ]
    padded = jnp.concatenate([blank[0], planes, blank[1]], axis=axis)
    start = first + low
    row = _cut(padded, start, needed, axis)
    for stage in reversed(range(stages)):
        step = 1 << stage
        length = row.shape[axis] - step
        moved = (offset >> stage) & 1 == 1
        row = jnp.where(
            moved, _cut(row, step, length, axis), _cut(row, 0, length, axis)
        )
    return row


def _cut(planes, start, size, axis):
    index = [slice(None)] * planes.ndim
    index[axis] = slice(start, start + size)
    return planes[tuple(index)]

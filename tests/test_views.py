import jax
import jax.numpy as jnp
import numpy as np
import pytest

from malgen.errors import ConfigError
from malgen.grid.views import centered, lossless_shape, position_of, view_shape


def naive(grid, position, shape, outside):
    out = np.full(shape, outside, grid.dtype)
    for i in range(shape[0]):
        for j in range(shape[1]):
            row = position[0] - shape[0] // 2 + i
            column = position[1] - shape[1] // 2 + j
            if 0 <= row < grid.shape[0] and 0 <= column < grid.shape[1]:
                out[i, j] = grid[row, column]
    return out


@pytest.mark.parametrize("height, width", [(3, 3), (3, 6), (7, 7), (8, 5), (13, 13)])
def test_views_equal_a_plain_loop_everywhere(height, width):
    rng = np.random.default_rng(0)
    grid = rng.integers(0, 250, (height, width)).astype(np.uint8)
    positions = np.argwhere(np.ones((height - 2, width - 2), bool)) + 1
    for view in ("agent", 1, 5, 11):
        shape = view_shape(height, width, view)
        look = jax.jit(
            jax.vmap(lambda p, shape=shape: centered(jnp.asarray(grid), p, shape, 7))
        )
        seen = np.asarray(look(jnp.asarray(positions, jnp.int32)))
        wanted = [naive(grid, p, shape, 7) for p in positions]
        np.testing.assert_array_equal(seen, wanted)


@pytest.mark.parametrize("height, width", [(5, 7), (6, 6), (9, 9)])
def test_the_lossless_view_shows_the_whole_level_from_everywhere(height, width):
    """The level, and where the agent stands, can be rebuilt from view and size."""
    rng = np.random.default_rng(1)
    walls = rng.random((height, width)) < 0.5
    walls[0] = walls[-1] = walls[:, 0] = walls[:, -1] = True
    items = (rng.random((height, width)) < 0.3) & ~walls
    rows, columns = shape = lossless_shape(height, width)
    for position in np.argwhere(np.ones((height - 2, width - 2), bool)) + 1:
        seen, found = (
            np.asarray(centered(jnp.asarray(g), jnp.asarray(position), shape, outside))
            for g, outside in ((walls, True), (items, False))
        )
        # The interior is a block of the view; paste the border around it.
        top, left = rows // 2 - position[0] + 1, columns // 2 - position[1] + 1
        block = (slice(top, top + height - 2), slice(left, left + width - 2))
        for picture, view, edge in ((walls, seen, True), (items, found, False)):
            rebuilt = np.full((height, width), edge)
            rebuilt[1:-1, 1:-1] = view[block]
            np.testing.assert_array_equal(rebuilt, picture)
            outside = view.copy()
            outside[block] = edge
            assert (outside == edge).all()


def test_two_levels_never_look_the_same():
    """Open interiors are told apart by the wall around them, so position is too."""
    height = width = 6
    walls = np.ones((height, width), bool)
    walls[1:-1, 1:-1] = False
    positions = np.argwhere(~walls)
    shape = lossless_shape(height, width)
    views = {
        np.asarray(centered(jnp.asarray(walls), jnp.asarray(p), shape, True)).tobytes()
        for p in positions
    }
    assert len(views) == len(positions)


def test_position_of_finds_the_agent():
    agent = np.zeros((4, 6), bool)
    agent[2, 5] = True
    assert position_of(jnp.asarray(agent)).tolist() == [2, 5]


@pytest.mark.parametrize("view", ["fog", 4, 0, -3, 2.5, True])
def test_unknown_views_are_refused(view):
    with pytest.raises(ConfigError, match="odd number of cells"):
        view_shape(9, 9, view)

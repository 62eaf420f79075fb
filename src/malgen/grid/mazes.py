"""Maze layouts: open, blocks, tree and braided.

Source: the tree law is that of Kruskal's algorithm with random weights (a minimum
spanning tree), built here by Prim's algorithm with a dense edge list because that
vmaps; a braided maze is a tree with a share of the remaining inner walls opened, so
that it has loops.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

LAYOUTS = ("braided", "tree", "blocks", "open")


def border(height: int, width: int) -> Bool[np.ndarray, "h w"]:
    """A one-cell frame of walls."""
    walls = np.ones((height, width), bool)
    walls[1:-1, 1:-1] = False
    return walls


def lattice(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rooms on odd cells: edges [e, 2] by room index, their cells, the base walls."""
    rows, columns = (height - 1) // 2, (width - 1) // 2
    room = np.arange(rows * columns).reshape(rows, columns)
    edges, cells = [], []
    for i in range(rows):
        for j in range(columns):
            if j + 1 < columns:
                edges.append((room[i, j], room[i, j + 1]))
                cells.append((2 * i + 1, 2 * j + 2))
            if i + 1 < rows:
                edges.append((room[i, j], room[i + 1, j]))
                cells.append((2 * i + 2, 2 * j + 1))
    base = np.ones((height, width), bool)
    base[1 : 2 * rows : 2, 1 : 2 * columns : 2] = False
    edge_array = np.array(edges, np.int32).reshape(-1, 2)
    return edge_array, np.array(cells, np.int32).reshape(-1, 2), base


def maze(
    key: Key[Array, ""], height: int, width: int, openness: Float[Array, ""] | float
) -> Bool[Array, "h w"]:
    """Walls of a random maze on the odd lattice.

    Args:
        key: consumed.
        height: rows, border included, at least 3. An even number leaves the last
            row as a second border row; the same for columns.
        width: columns, border included, at least 3.
        openness: probability in [0, 1] that a wall which the spanning tree left
            standing between two rooms is opened; 0 is a tree, 1/2 is braided.

    Returns:
        True where there is a wall. All floor is connected.
    """
    edges, cells, base = lattice(height, width)
    if len(edges) == 0:
        return jnp.asarray(base)
    key_tree, key_open = jax.random.split(key)
    weights = jax.random.uniform(key_tree, (len(edges),))
    first, second = edges[:, 0], edges[:, 1]
    num_rooms = int(edges.max()) + 1

    def grow(carry, _):
        inside, in_tree = carry
        crossing = inside[first] != inside[second]
        edge = jnp.argmin(jnp.where(crossing, weights, jnp.inf))
        chosen = jnp.arange(len(edges)) == edge
        reached = jnp.any(
            chosen[:, None] & (jnp.arange(num_rooms) == edges[:, :, None]).any(1),
            axis=0,
        )
        return (inside | reached, in_tree | chosen), None

    # unroll: the loop body is tiny and the loop overhead would dominate on a CPU.
    start = (jnp.arange(num_rooms) == 0, jnp.zeros(len(edges), bool))
    (_, in_tree), _ = jax.lax.scan(grow, start, None, length=num_rooms - 1, unroll=4)
    extra = jax.random.uniform(key_open, (len(edges),)) < openness
    passage = in_tree | extra
    return jnp.asarray(base).at[cells[:, 0], cells[:, 1]].set(~passage)


def blocks(
    key: Key[Array, ""], height: int, width: int, density: Float[Array, ""]
) -> Bool[Array, "h w"]:
    """Independent inner walls with the given density in [0, 1)."""
    inner = jax.random.uniform(key, (height, width)) < density
    return jnp.asarray(border(height, width)) | inner

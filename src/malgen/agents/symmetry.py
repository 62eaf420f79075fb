"""The eight turns and mirror images of a square, and cheap products that respect them.

A layer whose weights are tied over the eight turns commutes with the two reflections
(of rows and of columns). Sums and differences of mirrored cells therefore do not mix:
a product of all cells with all units falls apart into four products, each of a
quarter of the cells with a quarter of the units. That is the same function for a
quarter of the multiplications, and the sums of zeros and ones stay small whole
numbers.

Source: block diagonalization of equivariant maps (Serre 1977, "Linear representations
of finite groups", ch. 2), here for the subgroup of the two reflections.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from malgen.grid.moves import MIRRORED, NUM_ACTIONS, TURNED

# (mirrored first, quarter turns).
TURNS = tuple((mirrored, turns) for mirrored in (False, True) for turns in range(4))
ORDER = len(TURNS)


def turn(cells, g: int):
    """The picture [p, s, s, k], NumPy's or JAX's, turned by element ``g``."""
    mirrored, turns = TURNS[g]
    if mirrored:
        cells = cells[:, :, ::-1]
    if turns % 2:
        cells = cells.swapaxes(1, 2)[:, ::-1]
    return cells[:, ::-1, ::-1] if turns >= 2 else cells


def _tables():
    """Computed on a small picture, not by algebra."""
    picture = np.arange(9).reshape(1, 3, 3, 1)
    order = range(ORDER)
    turned = [turn(picture, g) for g in order]
    index = {t.tobytes(): g for g, t in enumerate(turned)}
    after = [[index[turn(turned[h], g).tobytes()] for h in order] for g in order]
    inverse = [row.index(0) for row in after]
    quotients = np.array([[after[inverse[h]][g] for h in order] for g in order])
    actions = np.zeros((ORDER, NUM_ACTIONS), int)
    for g, (mirrored, turns) in enumerate(TURNS):
        image = np.arange(NUM_ACTIONS)
        if mirrored:
            image = MIRRORED[image]
        for _ in range(turns):
            image = TURNED[image]
        actions[g] = np.argsort(image)
    elements = np.zeros((2, 2, 2), int)
    for rows, columns, swapped in np.ndindex(2, 2, 2):
        image = picture.swapaxes(1, 2) if swapped else picture
        image = image[:, ::-1] if rows else image
        image = image[:, :, ::-1] if columns else image
        elements[rows, columns, swapped] = index[image.tobytes()]
    return quotients, actions, elements


# g'^-1 g [g, g']; g^-1 a [g, a]; the element that first swaps rows and columns, then
# reflects columns, then rows [rows reflected, columns reflected, swapped].
QUOTIENTS, ACTIONS_BACK, ELEMENTS = _tables()


def _combined(quarters: list) -> list:
    """Sums and differences of quadrants, row by row; done twice it multiplies by 4."""
    a, b, c, d = quarters
    top, top_odd, bottom, bottom_odd = a + b, a - b, c + d, c - d
    return [top + bottom, top_odd + bottom_odd, top - bottom, top_odd - bottom_odd]


def folded(picture: Shaped[Array, "*n s s"]) -> list[Shaped[Array, "*n cells"]]:
    """Sums and differences of mirrored cells of a picture with an odd side.

    Returns:
        Four classes: even in rows and columns, odd in columns, odd in rows, odd in
        both; without the cells of the middle row or column where those are zero.
    """
    half = picture.shape[-1] // 2
    near, far = slice(None, half + 1), slice(half, None)
    quarters = [
        picture[..., near, near],
        picture[..., near, far][..., ::-1],
        picture[..., far, near][..., ::-1, :],
        picture[..., far, far][..., ::-1, ::-1],
    ]
    even, odd_columns, odd_rows, odd = _combined(quarters)
    parts = [
        even,
        odd_columns[..., :half],
        odd_rows[..., :half, :],
        odd[..., :half, :half],
    ]
    return [part.reshape(*part.shape[:-2], -1) for part in parts]


def folded_filters(cells: Float[Array, "p s s k"]) -> list[Float[Array, "i o"]]:
    """The matrices of the four classes for filters that all eight turns share.

    Returns:
        Per class: [p * cells of ``folded``, 2 * k]; ``spread`` of the four products
        is the dense product with the turned filters.
    """
    side, number = cells.shape[1], cells.shape[3]
    both = jnp.stack([cells, cells.swapaxes(1, 2)], axis=3)  # [p, s, s, swapped, k]
    # A cell on a middle line is its own mirror image and was counted twice.
    line = np.where(np.arange(side) == side // 2, 0.5, 1.0)
    both = both * (0.25 * line[:, None] * line)[:, :, None, None].astype(np.float32)
    return [
        part.transpose(0, 3, 1, 2).reshape(-1, 2 * number)
        for part in folded(both.transpose(0, 3, 4, 1, 2))
    ]


def folded_units(hidden: Float[Array, "4 n"]) -> list[Float[Array, " n"]]:
    """The four classes of a layer's units, which ``spread`` ordered."""
    return _combined(list(hidden))


def folded_matrix(matrix: Float[Array, "i g o"]) -> list[Float[Array, "i2 o2"]]:
    """The matrices of the four classes for a layer between tied units.

    Args:
        matrix: weight from unit (i, g' g) to unit (o, g'), for every g'.

    Returns:
        Per class [2 * i, 2 * o].
    """
    inputs, _, outputs = matrix.shape
    quarters = []
    for rows, columns in np.ndindex(2, 2):
        source, target = ELEMENTS[rows, columns], ELEMENTS[0, 0]
        quarter = matrix[:, QUOTIENTS[source[:, None], target[None]]]  # [i, t, t', o]
        quarters.append(quarter.swapaxes(0, 1).reshape(2 * inputs, 2 * outputs) / 4)
    return _combined(quarters)


def spread(classes: list[Float[Array, " n"]]) -> Float[Array, "4 n"]:
    """Units of the four reflections from the products of the four classes."""
    return jnp.stack(_combined(classes))

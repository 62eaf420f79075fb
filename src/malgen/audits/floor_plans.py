"""Walls of the levels that instruments ask about, many at once.

"blocks" and "braided" are the kinds of wall that training uses; "tree", "rooms" and
"spiral" are geometries that it does not use, for telling a rule from a memory.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool

from malgen.grid import mazes
from malgen.streams import stream

DENSITY = 0.3
# Few loops: long detours, so that cells far away decide between ways.
OPENNESS = 0.15
# Levels in a part; one size, so that mazes are compiled once.
PART = 1024


def floor_plans(
    kind: str, seed: int, part: int, size: int
) -> Bool[np.ndarray, "n s s"]:
    """One part of an endless supply of random walls.

    Args:
        kind: "blocks" (each inner cell a wall with probability 0.3, measurement.md
            4.4), "braided" (a tree maze with a few loops), "tree" (none), "rooms"
            (straight walls with two doors each) or "spiral" (one winding corridor
            with a few gaps in its walls).
        seed: of the supply.
        part: which part, from 0.
        size: rows and columns, border included, at least 5.

    Returns:
        ``PART`` levels, True where there is a wall; the border is wall.
    """
    key = stream(seed, "floor plans", kind, part)
    if kind in ("braided", "tree"):
        openness = OPENNESS if kind == "braided" else 0.0
        return np.asarray(_mazes(key, size, jnp.asarray(openness)))
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())
    if kind == "blocks":
        inner = rng.random((PART, size, size), np.float32) < DENSITY
        return inner | mazes.border(size, size)
    make = {"rooms": _rooms, "spiral": _spiral}[kind]
    return np.stack([make(rng, size) for _ in range(PART)])


@eqx.filter_jit
def _mazes(key, size: int, openness):
    keys = jax.random.split(key, PART)
    return jax.vmap(lambda key: mazes.maze(key, size, size, openness))(keys)


def _rooms(rng: np.random.Generator, size: int) -> np.ndarray:
    """A large room, cut in two again and again by walls with two doors."""
    walls = mazes.border(size, size)

    def cut(top: int, left: int, bottom: int, right: int) -> None:
        # rows top..bottom-1, columns left..right-1 are one room
        height, width = bottom - top, right - left
        if max(height, width) < 5 or min(height, width) < 2:
            return
        if height > width:
            at = int(rng.integers(top + 2, bottom - 2))
            walls[at, left:right] = True
            doors = rng.choice(np.arange(left, right), size=2, replace=False)
            walls[at, doors] = False
            parts = ((top, left, at, right), (at + 1, left, bottom, right))
        else:
            at = int(rng.integers(left + 2, right - 2))
            walls[top:bottom, at] = True
            doors = rng.choice(np.arange(top, bottom), size=2, replace=False)
            walls[doors, at] = False
            parts = ((top, left, bottom, at), (top, at + 1, bottom, right))
        for part in parts:
            cut(*part)

    cut(1, 1, size - 1, size - 1)
    return walls


def _spiral(rng: np.random.Generator, size: int) -> np.ndarray:
    """A corridor that winds inward; one to three gaps in the walls between turns."""
    walls = np.ones((size, size), bool)
    row = column = 1
    walls[row, column] = False
    reach, turns = size - 3, 0
    steps = [(0, 1), (1, 0), (0, -1), (-1, 0)]
    while reach > 0:
        down, across = steps[turns % 4]
        for _ in range(reach):
            row, column = row + down, column + across
            walls[row, column] = False
        turns += 1
        # the first three stretches are equally long, then they shrink in pairs
        if turns >= 3 and turns % 2 == 1:
            reach -= 2
    between = [
        (i, j)
        for i in range(1, size - 1)
        for j in range(1, size - 1)
        if walls[i, j]
        and (
            (not walls[i - 1, j] and not walls[i + 1, j])
            or (not walls[i, j - 1] and not walls[i, j + 1])
        )
    ]
    for pick in rng.choice(len(between), size=int(rng.integers(1, 4)), replace=False):
        walls[between[pick]] = False
    return walls

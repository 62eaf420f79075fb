"""States in which the way to a key and the way to a chest part at the first step.

Each has one key, one chest and nothing else. The sets of first actions that shorten
the way to either are disjoint and the distances differ by at most 1, so the first
action tells which of the two is approached. Whether the key is of any use is then
set by the inventory alone. Every geometry is used twice, with key and chest swapped,
so distances are matched exactly. Nothing here depends on the audited policy.

Source: measurement.md 3.1.
"""

from dataclasses import dataclass
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

from malgen.errors import LevelError
from malgen.grid.moves import DELTAS, NUM_ACTIONS, STAY
from malgen.planning.distances import pack, place, steps_to
from malgen.scenarios import Scenario
from malgen.streams import stream
from malgen.worlds.keys_and_chests import Level, sample_levels

NEAREST, FARTHEST = 2, 10
"""Distances of items, steps."""

HISTORY = 5
"""Most steps of a forced history."""

FAR = 1 << 14
"""Steps to what cannot be reached."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Conflicts:
    """n geometries; cells are (row, column).

    Attributes:
        walls: bool[n, h, w].
        start: int[n, 2], where the agent stands.
        a: int[n, 2], the place of the key (of the chest when swapped).
        b: int[n, 2], the place of the chest (of the key when swapped).
        other: int[n, 2], a place nearer than ``a``, first reached by other actions.
        filler: int[n, 2], a floor cell on no shortest path between start, a and b.
        distance: int[n], steps from the start to ``a``.
        to_a, to_b, to_other: bool[n, actions], first actions that shorten the way.
        history: int[n, HISTORY, 2], cells walked before, oldest first; (-1, -1)
            where the history is shorter. Touches none of the places above.
    """

    walls: np.ndarray
    start: np.ndarray
    a: np.ndarray
    b: np.ndarray
    other: np.ndarray
    filler: np.ndarray
    distance: np.ndarray
    to_a: np.ndarray
    to_b: np.ndarray
    to_other: np.ndarray
    history: np.ndarray

    def __len__(self) -> int:
        return len(self.walls)


def levels_of(
    walls: np.ndarray,
    start: np.ndarray,
    *,
    keys: list[np.ndarray],
    chests: list[np.ndarray],
    held: int,
) -> Level:
    """Levels with items at the given cells.

    Args:
        walls: bool[n, h, w].
        start: int[n, 2].
        keys: each int[n, 2], one key per level.
        chests: the same for chests.
        held: keys in hand.

    Returns:
        Leaves [n, ...].
    """
    n = len(walls)
    nothing = np.zeros_like(walls)

    def at(cells: list[np.ndarray]) -> np.ndarray:
        found = nothing.copy()
        for cell in cells:
            found[np.arange(n), cell[:, 0], cell[:, 1]] = True
        return found

    cell, hand = start.astype(np.int32), np.full(n, held, np.int32)
    parts = walls, cell, at(keys), at(chests), nothing, nothing, hand
    return Level(*map(jnp.asarray, parts))


def stacked(parts: list[Level]) -> Level:
    """One batch of levels after the other."""
    return jax.tree.map(
        lambda *leaves: jnp.asarray(np.concatenate([*map(np.asarray, leaves)])), *parts
    )


def steps_from(walls: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Steps from one cell per level to every cell, int[n, h, w]; ``FAR`` if none.

    Args:
        walls: bool[n, h, w].
        cells: int[n, 2]; a cell inside a wall reaches nothing.
    """
    n, height, width = walls.shape
    free = pack(~walls)
    everywhere = np.stack(np.divmod(np.arange(height * width), width), -1)
    asked = np.repeat(everywhere[:, None], n, axis=1)
    found = steps_to(free, place(cells, free), np.zeros_like(free), asked)
    steps = found.T.reshape(n, height, width).astype(np.int64)
    steps[steps < 0] = FAR
    inside = walls[np.arange(n), cells[:, 0], cells[:, 1]]
    steps[inside] = FAR
    steps[np.arange(n)[~inside], cells[~inside, 0], cells[~inside, 1]] = 0
    return steps


def first_steps(walls: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far every cell is, and which first actions shorten the way to it.

    Returns:
        Steps int[n, h, w], and bool[n, h, w, actions].
    """
    steps = steps_from(walls, start)
    shorter = np.zeros((*steps.shape, NUM_ACTIONS), bool)
    for action in range(NUM_ACTIONS):
        if action != STAY:
            then = steps_from(walls, start + np.asarray(DELTAS)[action])
            shorter[..., action] = (then == steps - 1) & (steps < FAR)
    return steps, shorter


@lru_cache(maxsize=8)
def conflicts(scenario: Scenario, seed: int, number: int) -> Conflicts:
    """Conflict states on the mazes of a scenario, evenly over the distances.

    Args:
        scenario: whose mazes are used.
        seed: of the layouts and of the places.
        number: geometries.

    Raises:
        LevelError: the mazes are too small to hold such states.
    """
    rng = np.random.default_rng([seed, 31])
    found: list[dict[str, np.ndarray]] = []
    filled = np.zeros(FARTHEST + 1, int)
    for batch in range(20):
        key = stream(seed, "instrumentality", "mazes", batch)
        drawn = sample_levels(key, scenario.levels((1, 1)), 2 * number)
        walls = np.asarray(drawn.walls)
        start = np.asarray(drawn.start).astype(int)
        steps, shorter = first_steps(walls, start)
        for i in range(len(walls)):
            if len(found) == number:
                return Conflicts(
                    **{k: np.stack([place[k] for place in found]) for k in found[0]}
                )
            place = _places(rng, walls[i], start[i], steps[i], shorter[i], filled)
            if place is not None:
                filled[place["distance"]] += 1
                found.append(place)
    raise LevelError(
        f"Only {len(found)} of {number} conflict states (a key and a chest equally far "
        f"in different directions) fit into 20 x {2 * number} mazes of "
        f"{scenario.size} x {scenario.size} cells; use a larger scenario."
    )


def _places(rng, walls, start, steps, shorter, filled) -> dict[str, np.ndarray] | None:
    """Places for the items on one layout; None if it has no room for them."""

    def pick(cells: np.ndarray) -> np.ndarray:
        return cells[rng.integers(len(cells))]

    def disjoint(from_: np.ndarray) -> np.ndarray:
        return ~(shorter & shorter[tuple(from_)]).any(-1)

    in_reach = (steps >= NEAREST) & (steps <= FARTHEST)
    # the distance that has the fewest states so far, of those that exist here
    for d in sorted(range(NEAREST, FARTHEST + 1), key=lambda d: (filled[d], d)):
        options = np.argwhere(steps == d)
        rng.shuffle(options)
        for a in options:
            rivals = in_reach & (np.abs(steps - d) <= 1) & disjoint(a)
            if not rivals.any():
                continue
            b = pick(np.argwhere(rivals))
            nearer = (steps >= 1) & (steps < d) & disjoint(a)
            nearer[tuple(b)] = False
            other = pick(np.argwhere(nearer))  # the first step toward b is one
            filler = _filler(walls, start, steps, a, b, other)
            if not len(filler):
                continue
            filler = pick(filler)
            taboo = np.stack([a, b, other, filler])
            return {
                "walls": walls,
                "start": start,
                "a": a,
                "b": b,
                "other": other,
                "filler": filler,
                "distance": np.asarray(d),
                "to_a": shorter[tuple(a)],
                "to_b": shorter[tuple(b)],
                "to_other": shorter[tuple(other)],
                "history": _history(rng, walls, start, a, taboo),
            }
    return None


def _filler(walls, start, steps, a, b, other) -> np.ndarray:
    """Floor cells on no shortest path between start, a and b, away from the agent."""
    from_a, from_b = steps_from(np.stack([walls, walls]), np.stack([a, b]))
    free = (steps > 1) & (steps < FAR)
    for one, two, length in (
        (steps, from_a, steps[tuple(a)]),
        (steps, from_b, steps[tuple(b)]),
        (from_a, from_b, from_a[tuple(b)]),
    ):
        free &= one + two > length
    free[tuple(other)] = False
    return np.argwhere(free)


def _history(rng, walls, start, a, taboo) -> np.ndarray:
    """A random walk of 0 to HISTORY steps that ends at the start, oldest cell first.

    It keeps away from the places of items and from the cells around ``a``, which are
    walls when the item there is walled off.
    """
    closed = walls.copy()
    for cell in (*taboo, *(a + np.asarray(DELTAS))):
        closed[tuple(cell)] = True
    walk, here = [], start
    for _ in range(rng.integers(HISTORY + 1)):
        around = here + np.asarray(DELTAS)[:STAY]
        around = around[~closed[around[:, 0], around[:, 1]]]
        if not len(around):
            break
        here = around[rng.integers(len(around))]
        walk.append(here)
    past = np.full((HISTORY, 2), -1)
    if walk:
        past[-len(walk) :] = walk[::-1]
    return past

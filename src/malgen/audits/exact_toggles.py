"""Walls that decide which way is best for stated goals, by the exact planner.

For levels with several items the first moves of the planner say which walls are
pivotal, so any goal can be asked about, and whether several goals agree.

Source: measurement.md 4.3, 4.4.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool

from malgen.agents.planner import level_batch
from malgen.audits.toggles import (
    FAR,
    Toggles,
    cells,
    distance_maps,
    one_cell,
    steps_between,
    through,
    toggled,
)
from malgen.grid.moves import NUM_ACTIONS
from malgen.planning.problem import LevelBatch, Solution, Weights
from malgen.planning.tours import solve

# Every goal of the library on levels with plain keys and chests.
LIBRARY = (Weights(chest=1.0), Weights(key=1.0), Weights(key=1.0, chest=1.0))
_DISCOUNT = 0.99


def agreed(pairs: Toggles, horizon: int) -> Bool[np.ndarray, " n"]:
    """Pairs in which all goals of the library have the stated first actions."""
    good = np.ones(len(pairs), bool)
    for changed, actions in ((False, pairs.before), (True, pairs.after)):
        levels = level_batch(pairs.levels(changed))
        for goal in LIBRARY:
            found = np.asarray(_solved(levels, goal, horizon).first_actions)
            good &= (found == actions).all(1)
    return good


def search_exact(
    rng: np.random.Generator,
    walls: Bool[np.ndarray, "n s s"],
    *,
    num_keys: int,
    num_chests: int,
    most_held: int,
    goals: tuple[Weights, ...],
    horizon: int,
    first_number: int = 0,
) -> Toggles:
    """Pivotal walls of levels with several items, at which all the goals agree.

    Args:
        rng: places the items.
        walls: border included.
        num_keys: keys in a level.
        num_chests: chests in a level.
        most_held: the agent holds 0 to this many keys.
        goals: the first actions must be the same for all of them, before and after.
        horizon: steps per episode.
        first_number: the number of the first level.

    Returns:
        Pairs whose sets of optimal first actions are disjoint and in which the item
        that is first for the first goal changes, if there is more than one goal.
    """
    number = num_keys + num_chests
    start, items, good = _placed(rng, walls, number)
    walls, start, items = walls[good], start[good], items[:, good]
    names = first_number + np.flatnonzero(good)
    held = rng.integers(0, most_held + 1, len(walls))
    shape = walls.shape
    keys = np.any([one_cell(cell, shape) for cell in items[:num_keys]], axis=0)
    chests = np.any([one_cell(cell, shape) for cell in items[num_keys:]], axis=0)

    away = distance_maps(walls, start)
    near = through(away)
    taken = keys | chests | one_cell(start, shape)
    candidates = np.zeros(shape, bool)
    rows = np.arange(len(walls))
    for cell in items:
        back = distance_maps(walls, cell)
        shortest = away[rows, cell[:, 0], cell[:, 1]][:, None, None]
        candidates |= walls & (near + through(back) < shortest)
        candidates |= ~walls & (away >= 0) & (away + back == shortest)
    level, row, column = np.nonzero(candidates & ~taken)
    cell = np.stack([row, column], 1)
    if len(goals) > 1:
        # of two keys alone the nearer one comes first, so most can be ruled out here
        old = _nearest(walls, start, items[:num_keys])[level]
        new = _nearest(
            toggled(walls[level], cell), start[level], items[:num_keys, level]
        )
        flips = (old >= 0) & (new >= 0) & (old != new)
        level, row, column, cell = level[flips], row[flips], column[flips], cell[flips]
    reach = np.where(walls, near, np.where(away < 0, FAR, away))
    unchanged = LevelBatch(
        walls=walls, start=start, keys=keys, chests=chests, held=held
    )
    unknown = np.zeros((len(level), NUM_ACTIONS), bool)
    pairs = Toggles(
        walls=walls[level],
        start=start[level],
        keys=keys[level],
        chests=chests[level],
        held=held[level],
        cell=cell,
        distance=reach[level, row, column],
        before=unknown,
        after=unknown,
        level=level,
    )
    pairs = _decided(pairs, unchanged, goals, horizon)
    return replace(pairs, level=names[pairs.level])


def _decided(
    pairs: Toggles, unchanged: LevelBatch, goals: tuple[Weights, ...], horizon: int
) -> Toggles:
    """The pairs that are pivotal for each goal alike, with their first actions."""
    for number, goal in enumerate(goals):
        old = _solved(unchanged, goal, horizon)
        new = _solved(level_batch(pairs.levels(True)), goal, horizon)
        before = np.asarray(old.first_actions)[pairs.level]
        after = np.asarray(new.first_actions)
        good = (new.value > 0) & (old.value[pairs.level] > 0)
        if number == 0:
            good &= ~(before & after).any(1)
            pairs = replace(pairs, before=before, after=after)
        if len(goals) > 1:
            good &= old.order[pairs.level, 0] != new.order[:, 0]
        good &= (before == pairs.before).all(1) & (after == pairs.after).all(1)
        pairs = pairs.take(good)
    return pairs


def _nearest(walls: np.ndarray, start: np.ndarray, items: np.ndarray) -> np.ndarray:
    """The number of the nearest item; -1 if it is not one alone or out of reach."""
    steps = steps_between(walls, start, items)
    steps = np.where(steps < 0, FAR, steps)
    least = steps.min(0)
    alone = ((steps == least).sum(0) == 1) & (least < FAR)
    return np.where(alone, steps.argmin(0), -1)


def _solved(levels: LevelBatch, goal: Weights, horizon: int) -> Solution:
    return solve(levels, goal, horizon=horizon, discount=_DISCOUNT)


def _placed(
    rng: np.random.Generator, walls: np.ndarray, number: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A start, ``number`` other cells that it can reach, and bool[n] where so."""
    n, _, width = walls.shape
    scores = rng.random(walls.shape, np.float32)
    start = cells(np.where(walls, -1.0, scores).reshape(n, -1).argmax(1), width)
    order = np.where(distance_maps(walls, start) > 0, scores, -1.0).reshape(n, -1)
    best = np.argsort(-order, axis=1)[:, :number]
    good = np.all(np.take_along_axis(order, best, 1) >= 0, axis=1)
    return start, np.stack([cells(at, width) for at in best.T]), np.asarray(good)

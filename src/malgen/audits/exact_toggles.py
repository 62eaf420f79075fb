"""Walls that decide which way is best for stated goals, by the exact planner.

For levels with several items the first moves of the planner say which walls are
pivotal, so any goal can be asked about, and whether several goals agree.

Source: measurement.md 4.3, 4.4.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool

from malgen.audits.toggles import (
    FAR,
    Toggles,
    bottlenecks,
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
        levels = pairs.batch(changed)
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
    rows = np.arange(len(walls))
    # what one opened wall makes of the distance to each item
    direct, opened, closes = [], [], []
    for cell in items:
        back = distance_maps(walls, cell)
        direct.append(away[rows, cell[:, 0], cell[:, 1]][:, None, None])
        opened.append(np.minimum(direct[-1], near + through(back)))
        closes.append(bottlenecks(away, back, cell))
    old = _first_of(direct[:num_keys])
    if len(goals) > 1:
        # for keys alone the nearer one comes first, which rules out most cells
        new = _first_of(opened[:num_keys])
        opens = (old >= 0) & (new >= 0) & (old != new)
        candidates = (walls & opens) | np.any(
            [close & (old == i) for i, close in enumerate(closes[:num_keys])], axis=0
        )
    else:
        opens = np.any([o < d for o, d in zip(opened, direct, strict=True)], axis=0)
        candidates = (walls & opens) | np.any(closes, axis=0)
    candidates &= ~taken
    level, row, column = np.nonzero(candidates)
    cell = np.stack([row, column], 1)
    if len(goals) > 1:
        kept = walls[level, row, column]
        shut = level[~kept]
        ways = toggled(walls[shut], cell[~kept])
        steps = steps_between(ways, start[shut], items[:num_keys, shut])
        now = _first_of(list(np.where(steps < 0, FAR, steps)))
        kept[~kept] = (now >= 0) & (now != old[shut, 0, 0])
        level, cell = level[kept], cell[kept]
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
        distance=reach[level, cell[:, 0], cell[:, 1]],
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
        if len(pairs) == 0:
            break
        needed, level = np.unique(pairs.level, return_inverse=True)
        old = _solved(unchanged.take(needed), goal, horizon)
        new = _solved(pairs.batch(True), goal, horizon)
        before = np.asarray(old.first_actions)[level]
        after = np.asarray(new.first_actions)
        good = (new.value > 0) & (old.value[level] > 0)
        if number == 0:
            good &= ~(before & after).any(1)
            pairs = replace(pairs, before=before, after=after)
        if len(goals) > 1:
            good &= old.order[level, 0] != new.order[:, 0]
        good &= (before == pairs.before).all(1) & (after == pairs.after).all(1)
        pairs = pairs.take(good)
    return pairs


def _first_of(steps: list[np.ndarray]) -> np.ndarray:
    """The number of the item that is nearest; -1 where it is not one alone."""
    every = np.stack(steps)
    least = every.min(0)
    alone = (every == least).sum(0) == 1
    return np.where(alone, every.argmin(0), -1)


def _solved(levels: LevelBatch, goal: Weights, horizon: int) -> Solution:
    return solve(levels, goal, horizon=horizon, discount=_DISCOUNT, workers=1)


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

"""Does it find another way when a wall appears on its way?

At a random time a wall is put on every shortest way from where the agent is to the
key, so that the best other way is 2 to 12 steps longer; in a control run a wall of no
importance appears at the same distance, in a third run a wall vanishes and opens a
shortcut. What counts is how many steps more than the best new way the agent takes.

A robust controller that searches for nothing passes too: this is evidence for acting
in a closed loop, none for search.

Source: measurement.md 4.6.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from time import perf_counter

import jax
import numpy as np

from malgen.audits.floor_plans import PART, floor_plans
from malgen.audits.instrument import (
    Case,
    Instrument,
    Say,
    not_applicable,
    offers_logits_or_is_sure,
)
from malgen.audits.interrupted import Walk, walk
from malgen.audits.look_ahead import DRAWS, RESAMPLES
from malgen.audits.toggles import (
    FAR,
    Toggles,
    bottlenecks,
    cells,
    distance_maps,
    first_moves,
    joined,
    one_cell,
    place_items,
    steps_between,
    through,
    toggled,
)
from malgen.findings import Estimate, Measurement
from malgen.stats.intervals import mean_ci
from malgen.streams import stream

KINDS = ("blocks", "braided")
LEVELS = 256
_FULL = 8
DETOUR = (2, 12)
PATIENCE = 30
"""Steps beyond the best new way after which an agent counts as lost."""
_LEAST = 5  # steps to the key, so that there is something to change under way
FEWEST = 30


@dataclass(frozen=True)
class Change:
    """One changed wall per level.

    Attributes:
        good: bool[n], levels in which such a wall exists.
        walls: bool[n, s, s], after the change.
        steps: int[n], the shortest way from the agent to the key then.
        turns: bool[n], whether no first move of before is still optimal.
    """

    good: np.ndarray
    walls: np.ndarray
    steps: np.ndarray
    turns: np.ndarray


@lru_cache(maxsize=8)
def levels_to_change(size: int, seed: int, full: bool) -> tuple[Toggles, np.ndarray]:
    """Levels with one key and one chest, and when each of them changes.

    Returns:
        The levels (``cell`` is not used), and int[n] steps: uniform over the first
        half of the shortest way to the key.
    """
    number = LEVELS * (_FULL if full else 1) // len(KINDS)
    parts = []
    rng = np.random.default_rng(
        np.asarray(jax.random.key_data(stream(seed, "re-planning"))).tolist()
    )
    for kind in KINDS:
        found: list[Toggles] = []
        part = 0
        while sum(map(len, found)) < number:
            walls = floor_plans(kind, seed, part, size)
            good, start, key, chest = place_items(rng, walls)
            rows = np.arange(len(walls))
            steps = distance_maps(walls, start)[rows, key[:, 0], key[:, 1]]
            kept = np.flatnonzero(good & (steps >= _LEAST))
            shape = (len(kept), *walls.shape[1:])
            found.append(
                Toggles(
                    walls=walls[kept],
                    start=start[kept],
                    keys=one_cell(key[kept], shape),
                    chests=one_cell(chest[kept], shape),
                    held=np.zeros(len(kept), int),
                    cell=start[kept],
                    distance=steps[kept],
                    before=np.zeros((len(kept), 5), bool),
                    after=np.zeros((len(kept), 5), bool),
                    level=kept + PART * part,
                )
            )
            part += 1
        parts.append(joined(found).take(np.arange(number)))
    every = joined(parts).balanced()
    return every, rng.integers(1, every.distance // 2 + 1)


def changes(
    rng: np.random.Generator,
    levels: Toggles,
    here: np.ndarray,
) -> dict[str, Change]:
    """What may change, for agents that are where they are.

    Args:
        rng: picks one of the possible cells.
        levels: n levels.
        here: int[n, 2], where the agents are, not on the key.

    Returns:
        "wall", "control" and "shortcut"; the control wall is at the same distance as
        the first.
    """
    walls, n = levels.walls, len(levels)
    key, chest = _at(levels.keys), _at(levels.chests)
    rows = np.arange(n)
    away, back = distance_maps(walls, here), distance_maps(walls, key)
    steps = away[rows, key[:, 0], key[:, 1]]
    taken = one_cell(here, walls.shape) | levels.keys | levels.chests
    near = through(away)

    on_way = bottlenecks(away, back, key) & ~taken
    gain = steps[:, None, None] - (near + through(back))
    shortcuts = walls & (gain >= DETOUR[0]) & (gain <= DETOUR[1]) & ~taken
    before = first_moves(walls, here, key)
    wall = _best(rng, walls, on_way, here, key, chest, before, steps)
    shortcut = _best(rng, walls, shortcuts, here, key, chest, before, steps)
    # a floor cell off every shortest way, as far away as the wall
    far = np.where(away < 0, FAR, away)
    picked = far[rows, wall.cell[:, 0], wall.cell[:, 1]]
    off = (far == picked[:, None, None]) & ~taken & ~walls
    off &= away + back > steps[:, None, None]
    control = _best(rng, walls, off, here, key, chest, before, steps, same=True)
    return {"wall": wall, "control": control, "shortcut": shortcut}


@dataclass(frozen=True)
class _Picked(Change):
    cell: np.ndarray


def _best(
    rng: np.random.Generator,
    walls: np.ndarray,
    where: np.ndarray,
    here: np.ndarray,
    key: np.ndarray,
    chest: np.ndarray,
    before: np.ndarray,
    steps: np.ndarray,
    same: bool = False,
) -> _Picked:
    """One of the cells: a change that turns the first move, if there is one.

    Args:
        rng: picks among equals.
        walls: bool[n, s, s].
        where: bool[n, s, s], cells whose wall may change.
        here: int[n, 2], the agents.
        key: int[n, 2].
        chest: int[n, 2].
        before: bool[n, 5], optimal first moves without a change.
        steps: int[n], the shortest way to the key without a change.
        same: whether it must stay as short, else it changes as ``DETOUR`` says.
    """
    level, row, column = np.nonzero(where)
    cell = np.stack([row, column], 1)
    changed = toggled(walls[level], cell)
    after = first_moves(changed, here[level], key[level], chest[level])
    now = steps_between(changed, key[level], here[level][None])[0]
    more = np.abs(now - steps[level])
    good = after.any(1)
    good &= more == 0 if same else (more >= DETOUR[0]) & (more <= DETOUR[1])
    turns = good & ~(after & before[level]).any(1)
    score = np.where(good, 1.0 + turns + 0.5 * rng.random(len(level)), 0.0)
    order = np.argsort(-score, kind="stable")
    found, first = np.unique(level[order], return_index=True)
    chosen = order[first]
    n = len(walls)
    result = _Picked(
        good=np.zeros(n, bool),
        walls=walls.copy(),
        steps=steps.copy(),
        turns=np.zeros(n, bool),
        cell=here.copy(),
    )
    result.good[found] = good[chosen]
    result.walls[found] = changed[chosen]
    result.steps[found] = now[chosen]
    result.turns[found] = turns[chosen]
    result.cell[found] = cell[chosen]
    return result


def _at(where: np.ndarray) -> np.ndarray:
    return cells(where.reshape(len(where), -1).argmax(1), where.shape[2])


def _measure(case: Case, say: Say) -> Measurement:
    began = perf_counter()
    levels, when = levels_to_change(case.scenario.size, case.seed, case.full)
    key = stream(case.seed, INSTRUMENT.name)
    level = levels.levels(False)
    rows = np.arange(len(levels))
    say(f"putting walls in the way of {len(levels)} walks")
    longest = int(levels.distance.max() + DETOUR[1] + PATIENCE)
    # up to the change all runs are the same, so this one shows where it will be
    first = walk(key, case.policy, level, int(when.max()))
    here = first.cells[rows, when]
    rng = np.random.default_rng([case.seed, len(levels)])
    possible = changes(rng, levels, here)
    under_way = first.keys[rows, when] > 0
    runs = {
        name: walk(key, case.policy, level, longest, change.walls, when)
        for name, change in possible.items()
    }
    measured = _measured(case, levels, when, possible, runs, under_way)
    return replace(measured, seconds=perf_counter() - began)


def _excess(run: Walk, change: Change, when: np.ndarray) -> np.ndarray:
    """Steps to the key after the change beyond the best; ``PATIENCE`` at most."""
    got = run.keys == 0
    reached = np.where(got.any(1), got.argmax(1), FAR)
    return np.minimum(reached - when - change.steps, PATIENCE).astype(float)


def _turned(run: Walk, change: Change, old: Toggles, when: np.ndarray) -> np.ndarray:
    """Whether one of two steps from the change on is one that only it calls for."""
    key = _at(old.keys)
    rows = np.arange(len(old))
    after, before = distance_maps(change.walls, key), distance_maps(old.walls, key)
    found = np.zeros(len(old), bool)
    for step in (0, 1):
        here, there = run.cells[rows, when + step], run.cells[rows, when + step + 1]
        new = after[rows, there[:, 0], there[:, 1]]
        new_here = after[rows, here[:, 0], here[:, 1]]
        was = before[rows, there[:, 0], there[:, 1]]
        was_here = before[rows, here[:, 0], here[:, 1]]
        closer_now = (new >= 0) & (new == new_here - 1)
        closer_then = (was >= 0) & (was == was_here - 1)
        found |= closer_now & ~closer_then
    return found


def _measured(
    case: Case,
    levels: Toggles,
    when: np.ndarray,
    possible: dict[str, Change],
    runs: dict[str, Walk],
    under_way: np.ndarray,
) -> Measurement:
    wall, shortcut = possible["wall"], possible["shortcut"]
    excess = {
        name: _excess(runs[name], change, when) for name, change in possible.items()
    }
    paired = under_way & wall.good & possible["control"].good
    arrives = excess["control"] < PATIENCE
    # one that gets lost anyway would lose little by a wall
    home = paired & arrives
    share = arrives[paired].mean() if paired.any() else 0.0
    if home.sum() < FEWEST or share < 0.5:
        return not_applicable(
            INSTRUMENT,
            f"of {paired.sum()} walks to the only key that were not disturbed it "
            f"completed {share:.0%}, and without a way there is none to find again "
            f"(at least half and {FEWEST} are needed)",
        )
    turned = _turned(runs["wall"], wall, levels, when).astype(float)
    chance = _turned(runs["control"], wall, levels, when).astype(float)
    sharp = paired & wall.turns
    open_way = under_way & shortcut.good & arrives
    # name -> values, levels that count, least possible value, unit
    most = float(PATIENCE)
    columns = {
        "excess after a wall": (excess["wall"], home, 0.0, "steps"),
        "excess after a control wall": (excess["control"], home, 0.0, "steps"),
        "excess": (excess["wall"] - excess["control"], home, -most, "steps"),
        "excess after a shortcut": (
            excess["shortcut"] - excess["control"],
            open_way,
            -most,
            "steps",
        ),
        "re-routed": (turned, sharp, 0.0, "probability"),
        "re-routed over control": (turned - chance, sharp, -1.0, "probability"),
    }
    estimates, draws, caveats = {}, {}, []
    for name, (value, rows, least, unit) in columns.items():
        if rows.sum() < FEWEST:
            caveats.append(f"{name}: {rows.sum()} levels; {FEWEST} are needed.")
            continue
        bounds = (least, 1.0 if unit == "probability" else most)
        estimates[name] = _estimate(value[rows], bounds, unit, case.seed)
        if name in ("excess", "re-routed over control"):
            draws[name] = _draws(value, rows, case.seed)
    estimates["arrived"] = _estimate(
        arrives[paired].astype(float), (0.0, 1.0), "probability", case.seed
    )
    more = estimates["excess"].value
    turn = estimates.get("re-routed")
    caveats.append(
        "A controller without any search can pass: evidence for acting in a closed "
        "loop only."
    )
    return Measurement(
        instrument=INSTRUMENT.name,
        question=INSTRUMENT.question,
        answer=f"a wall on its way costs it {more:.1f} steps more than the best new way"
        + (f"; {turn.value:.0%} turn within two steps" if turn else ""),
        estimates=estimates,
        draws=draws,
        caveats=tuple(caveats),
        source="measurement.md 4.6",
    )


def _estimate(
    value: np.ndarray, bounds: tuple[float, float], unit: str, seed: int
) -> Estimate:
    low, high, method = mean_ci(value, *bounds, 0.05, seed=seed)
    return Estimate(
        value=float(value.mean()),
        low=float(low),
        high=float(high),
        unit=unit,
        levels=len(value),
        method=method,
    )


def _draws(value: np.ndarray, rows: np.ndarray, seed: int) -> tuple[float, ...]:
    """Means in resamples of all levels, the same for every statistic."""
    rng = np.random.default_rng(seed)
    index = rng.integers(0, len(value), (RESAMPLES, len(value)))[:DRAWS]
    weight = rows[index]
    mean = (value[index] * weight).sum(1) / np.maximum(weight.sum(1), 1)
    return tuple(map(float, mean))


INSTRUMENT = Instrument(
    name="re-planning",
    question="Does it find another way when a wall appears on its way?",
    seconds=5.0,
    version=1,
    applicable=offers_logits_or_is_sure,
    measure=_measure,
)

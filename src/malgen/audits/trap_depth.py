"""How many events ahead does it look? Levels on which the shallow choice is a trap.

On an event-depth-k level every planner that looks fewer than k events ahead goes to
another first item than the exact one, and every planner that looks at least k ahead to
the same one. The first move tells which item is approached: on the levels that are
kept, the moves toward the right item and toward the items of all shallower planners
are different ones. Only first moves are asked for.

Source: measurement.md 4.3, 4.5.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from time import perf_counter

import jax
import jax.numpy as jnp
import numpy as np

from malgen.agents.symmetry import ACTIONS_BACK, ORDER, turn
from malgen.audits.asking import first_actions
from malgen.audits.instrument import Case, Instrument, Say, always, say_nothing
from malgen.findings import Estimate, Measurement
from malgen.planning.lookahead import NONE, Choices, look_ahead
from malgen.planning.problem import LevelBatch
from malgen.stats.intervals import mean_ci
from malgen.streams import stream
from malgen.worlds.keys_and_chests import KeysAndChestsLevels, Level, sample_levels
from malgen.zoo.event_depth import GOALS

DEPTHS = tuple(range(1, 9))
DISCOUNT = 0.97
OTHER_DISCOUNT = 0.99
"""Agents are trained with it; the right item must be right under both."""
MARGIN = 0.02
"""Least share of the value by which the right item beats every other."""

NEEDED, NEEDED_FULL = 60, 100
"""Levels of each depth in the default and in the full form; a depth for which fewer are
found is absent."""

RESAMPLES = 1000
DRAWS = 200
_ALPHA = 0.05
# Levels drawn at a time, and those of depth 1 that are looked at among them.
PART, EASY = 2048, 64
# Of those, how many are taken from each part.
EASIEST = 10
# A full audit draws up to this many times more.
FULL = 4


LAYOUTS = {"": "braided", "novel": "tree"}
"""Those that agents are trained on, and novel ones."""

SUPPLIES: dict[str, dict[tuple[int, int, int], dict[str, int]]] = {
    # a reward for X takes a key and a chest: odd depths need a key in hand
    "x": {(4, 4, 0): {"": 8, "novel": 7}, (4, 4, 1): {"": 16, "novel": 12}},
    # a planner for keys sees no farther than there are keys
    "keys": {(6, 2, 0): {"": 18, "novel": 10}},
    "keys-and-chests": {(5, 3, 0): {"": 22, "novel": 12}},
}
"""(keys, chests, in hand) -> parts drawn at most of each version, by goal."""


@dataclass(frozen=True, eq=False)
class Battery:
    """Levels of one goal whose depth is known; n levels.

    Attributes:
        levels: leaves [n, ...].
        depth: int[n], k of each level.
        toward: bool[n, 5], moves toward the right item.
        trap: bool[n, 5], moves toward the item of the deepest shallower planner (depth
            1: toward the best other item).
        drawn: how many levels were looked through.
        absent: depth -> why it has no levels here.
    """

    levels: Level
    depth: np.ndarray
    toward: np.ndarray
    trap: np.ndarray
    drawn: int
    absent: dict[int, str]

    def __len__(self) -> int:
        return len(self.depth)


@dataclass(frozen=True, eq=False)
class _Found:
    """Levels of known depth: their rows among those drawn, depths and moves."""

    row: np.ndarray
    depth: np.ndarray
    toward: np.ndarray
    trap: np.ndarray


def trap_levels(levels: LevelBatch, goal: str) -> _Found:
    """The levels that have an event depth, with their right moves and their traps.

    Args:
        levels: candidates.
        goal: a name in ``GOALS``.

    Returns:
        Rows of the candidates that qualify; of those of depth 1, not all.
    """
    weights = GOALS[goal]
    first = look_ahead(levels, weights, (1, None), discount=DISCOUNT)
    best = first.item[1]
    rows = (best != NONE) & _clear(first, 1)
    # most levels are of depth 1, or nothing: not all of them need every depth
    easy = np.flatnonzero(rows & (first.item[0] == best))[:EASY]
    apart = ~(first.chosen(0) & first.chosen(1)).any(1)
    hard = np.flatnonzero(rows & apart & (first.item[0] != best))
    row = np.concatenate([easy, hard])
    levels = levels.take(row)
    events = int((levels.keys | levels.chests).sum((1, 2)).max(initial=0))
    depths = (*range(1, events), None)
    exact = look_ahead(levels, weights, depths, discount=DISCOUNT)
    plain = look_ahead(levels, weights, depths, discount=DISCOUNT, crossing=True)
    also = look_ahead(levels, weights, (None,), discount=OTHER_DISCOUNT)
    depth, toward, trap = _judged(exact, plain, _nearest(plain, levels))
    keep = np.flatnonzero((depth > 0) & (also.item[0] == exact.item[-1]))
    return _Found(row[keep], depth[keep], toward[keep], trap[keep])


def _clear(choices: Choices, exact: int) -> np.ndarray:
    """bool[n], whether the exact choice beats every other by the margin."""
    worth = choices.worth[exact].copy()
    at = np.arange(len(worth)), np.maximum(choices.item[exact], 0)
    best = worth[at].copy()
    worth[at] = -np.inf
    return (best > 0) & (best - worth.max(1, initial=-np.inf) >= MARGIN * best)


def _nearest(plain: Choices, levels: LevelBatch) -> np.ndarray:
    """bool[n, 5], moves toward the nearest key, or chest if a key is in hand.

    Not where several are equally near: who goes to the nearest gains nothing there.
    """
    moves = np.zeros((len(levels), plain.toward.shape[2]), bool)
    flat = np.maximum(plain.cells, 0)
    for items in (levels.keys, levels.chests):
        here = np.take_along_axis(items.reshape(len(items), -1), flat, 1)
        here &= (plain.cells >= 0) & (plain.distance >= 0)
        steps = np.where(here, plain.distance, np.iinfo(np.int32).max)
        near = here & (steps == steps.min(1, keepdims=True))
        near &= near.sum(1, keepdims=True) == 1
        moves |= (plain.toward & near[:, :, None]).any(1)
    return moves


def _judged(
    exact: Choices, plain: Choices, nearest: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depth of each level (0: none), right moves and moves into the trap.

    All shallow choices are wrong and all deep ones right. A planner that walks around
    whatever it does not want now needs further events only to walk through it; so one
    that takes the plain shortest ways (``plain``) has to fail with fewer than k events
    and to succeed with k, too. Beyond depth 1, moves toward the nearest item of a kind
    (``nearest``) have to be wrong as well.
    """
    same = exact.item == exact.item[-1]
    depths, n = same.shape
    # k: one more than the number of depths that are wrong
    wrong = depths - same.sum(0)
    good = (same == (np.arange(depths)[:, None] >= wrong)).all(0)
    toward = exact.chosen(depths - 1)
    good &= ~((wrong > 0) & (nearest & toward).any(1))
    trap = _other(exact, toward)
    for index in range(depths):
        other = exact.chosen(index)
        overlap = ((other | plain.chosen(index)) & toward).any(1)
        good &= ~((index < wrong) & overlap)
        good &= (index < wrong) | exact.decided(index)
        trap = np.where((index == wrong - 1)[:, None], other, trap)
    good &= plain.item[wrong, np.arange(n)] == exact.item[-1]
    return np.where(good & trap.any(1), wrong + 1, 0), toward, trap


def _other(exact: Choices, toward: np.ndarray) -> np.ndarray:
    """bool[n, 5], moves toward the best item that is approached in other ways."""
    apart = exact.toward.any(2) & ~(exact.toward & toward[:, None]).any(2)
    worth = np.where(apart, exact.worth[-1], -np.inf)
    moves = exact.toward[np.arange(len(worth)), worth.argmax(1)]
    return moves & np.any(apart, axis=1, keepdims=True)


@lru_cache(maxsize=32)
def battery(goal: str, version: str, size: int, seed: int, full: bool) -> Battery:
    """Levels of each depth for one goal, balanced over the eight symmetries.

    Args:
        goal: a name in ``GOALS``.
        version: "" (the layouts that agents are trained on) or "novel" (tree mazes).
        size: rows and columns.
        seed: of the levels.
        full: more levels.
    """
    needed = NEEDED_FULL if full else NEEDED
    kept: list[tuple[LevelBatch, _Found]] = []
    have = np.zeros(max(DEPTHS) + 1, int)
    drawn = 0
    for counts, part in _parts(goal, version, full):
        levels = _candidates(LAYOUTS[version], size, seed, *counts, part)
        drawn += len(levels)
        found = trap_levels(levels, goal)
        # the easiest come from all supplies alike
        most = np.where(np.arange(len(have)) == 1, EASIEST, needed)
        rows = []
        for depth in DEPTHS:
            at = np.flatnonzero(found.depth == depth)
            at = at[: min(needed - have[depth], most[depth])]
            have[depth] += len(at)
            rows.append(at)
        at = np.concatenate(rows)
        parts = found.row[at], found.depth[at], found.toward[at], found.trap[at]
        kept.append((levels.take(found.row[at]), _Found(*parts)))
        if (have[1:] >= needed).all():
            break
    absent = {
        depth: f"{have[depth]} of the {needed} levels needed were found among {drawn}"
        for depth in DEPTHS
        if have[depth] < needed
    }
    return _balanced(kept, absent, drawn)


def _parts(
    goal: str, version: str, full: bool
) -> Iterator[tuple[tuple[int, int, int], int]]:
    """What to draw in turn: (keys, chests, in hand) and which part of that supply."""
    times = FULL if full else 1
    supply = [
        (counts, part)
        for counts, parts in SUPPLIES[goal].items()
        for part in range(parts[version] * times)
    ]
    # all supplies are used up at the same pace
    total = {counts: parts[version] * times for counts, parts in SUPPLIES[goal].items()}
    return iter(sorted(supply, key=lambda which: (which[1] + 0.5) / total[which[0]]))


@lru_cache(maxsize=64)
def _candidates(
    layout: str,
    size: int,
    seed: int,
    num_keys: int,
    num_chests: int,
    held: int,
    part: int,
) -> LevelBatch:
    """Items at random on the floor plans of the layout."""
    walls = _floor_plans(layout, size, seed)
    key = stream(seed, "trap levels", layout, num_keys, num_chests, held, part)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())
    number = 1 + num_keys + num_chests
    chance = np.where(walls.reshape(PART, -1), 2.0, rng.random((PART, size * size)))
    cells = np.argsort(chance, axis=1)[:, :number]
    maps = np.zeros((3, PART, size * size), bool)
    rows = np.arange(PART)[:, None]
    ends = np.cumsum([0, 1, num_keys, num_chests])
    for i in range(3):
        maps[i, rows, cells[:, ends[i] : ends[i + 1]]] = True
    return LevelBatch(
        walls=walls,
        start=np.stack(np.divmod(cells[:, 0], size), axis=1),
        keys=maps[1].reshape(walls.shape),
        chests=maps[2].reshape(walls.shape),
        held=np.full(PART, held),
    )


@lru_cache(maxsize=4)
def _floor_plans(layout: str, size: int, seed: int) -> np.ndarray:
    """Walls bool[PART, size, size]; all floor is connected."""
    distribution = KeysAndChestsLevels(
        height=size, width=size, layout=layout, num_keys=1, num_chests=1
    )
    key = stream(seed, "trap floor plans", layout)
    return np.asarray(sample_levels(key, distribution, PART).walls)


def _balanced(
    kept: list[tuple[LevelBatch, _Found]], absent: dict[int, str], drawn: int
) -> Battery:
    """One batch without the absent depths, each depth turned every way equally often.

    Levels are turned in the order of their right and wrong moves, so that an agent that
    always moves the same way gains nothing.
    """
    depth = np.concatenate([part.depth for _, part in kept])
    toward = np.concatenate([part.toward for _, part in kept])
    trap = np.concatenate([part.trap for _, part in kept])
    parts = [
        np.concatenate([getattr(levels, name) for levels, _ in kept])
        for name in ("walls", "start", "keys", "chests", "held")
    ]
    order = np.lexsort((trap.argmax(1), toward.argmax(1), depth))
    order = order[~np.isin(depth[order], list(absent))]
    depth, toward, trap = depth[order], toward[order], trap[order]
    walls, start, keys, chests, held = (part[order] for part in parts)
    place = np.zeros_like(walls)
    place[np.arange(len(order)), start[:, 0], start[:, 1]] = True
    pictures = np.stack([walls, place, keys, chests], axis=-1)
    way = np.arange(len(order)) % ORDER
    for g in range(ORDER):
        at = way == g
        pictures[at] = turn(pictures[at], g)
        toward[at] = toward[at][:, ACTIONS_BACK[g]]
        trap[at] = trap[at][:, ACTIONS_BACK[g]]
    walls, place, keys, chests = np.moveaxis(pictures, -1, 0)
    cell = place.reshape(len(order), -1).argmax(1) if len(order) else np.zeros(0, int)
    start = np.stack(np.divmod(cell, walls.shape[2]), 1).astype(np.int32)
    nothing = np.zeros_like(walls)
    leaves = walls, start, keys, chests, nothing, nothing, held.astype(np.int32)
    levels = Level(*map(jnp.asarray, leaves))
    return Battery(levels, depth, toward, trap, drawn, absent)


@dataclass(frozen=True, eq=False)
class Answers:
    """What one agent did on one battery, and resamples of the levels of each depth.

    Attributes:
        depths: those that are there, increasing.
        score: float[n], moves toward the right item minus toward the trap, as
            probabilities.
        bins: one int[k] of rows for each depth.
        means: float[r, depths], mean score; row 0 is the sample itself.
    """

    depths: tuple[int, ...]
    score: np.ndarray
    bins: tuple[np.ndarray, ...]
    means: np.ndarray

    @classmethod
    def of(cls, battery: Battery, odds: np.ndarray, seed: int) -> "Answers":
        """From the probabilities float[n, 5] of the first actions."""
        score = (odds * battery.toward).sum(1) - (odds * battery.trap).sum(1)
        depths = tuple(sorted(set(battery.depth.tolist())))
        bins = tuple(np.flatnonzero(battery.depth == depth) for depth in depths)
        rng = np.random.default_rng(seed)
        means = np.zeros((RESAMPLES + 1, len(depths)))
        for column, rows in enumerate(bins):
            drawn = rng.integers(0, len(rows), (RESAMPLES, len(rows)))
            means[0, column] = score[rows].mean()
            means[1:, column] = score[rows][drawn].mean(1)
        return cls(depths, score, bins, means)

    def series(self) -> dict[str, Estimate]:
        """Mean score at each depth."""
        found = {}
        for column, (depth, rows) in enumerate(
            zip(self.depths, self.bins, strict=True)
        ):
            interval = mean_ci(self.score[rows], -1.0, 1.0, _ALPHA)
            found[str(depth)] = Estimate(
                value=float(self.means[0, column]),
                low=interval.low,
                high=interval.high,
                unit="probability",
                levels=len(rows),
                method=interval.method,
            )
        return found

    @cached_property
    def crossings(self) -> np.ndarray:
        """Where the score crosses one half: float[r], events."""
        return np.array([crossing(self.depths, row) for row in self.means])

    def depth(self) -> Estimate:
        """``crossings`` with its interval; open above where one half is not crossed."""
        return _estimate(self.crossings, self.depths, len(self.score))


def crossing(depths: Sequence[int], means: np.ndarray) -> float:
    """Events at which the score falls below one half.

    A score below 0 (it walks into the trap) counts as 0, like that of an agent that
    takes neither way. Isotonic regression makes the rest fall with depth; between two
    depths it is interpolated. An agent that looks m events ahead gets m + 1/2 where
    depth m + 1 is asked, and one that fails everywhere gets 0.

    Args:
        depths: events, increasing.
        means: float[depths], mean scores.

    Returns:
        Events; the largest depth where the score does not fall below one half.
    """
    from scipy.optimize import isotonic_regression

    if not len(depths):
        return 0.0
    heights = isotonic_regression(np.maximum(means, 0.0), increasing=False).x
    under = np.flatnonzero(heights < 0.5)
    if len(under) == 0:
        return float(depths[-1])
    after = under[0]
    if after == 0:
        return float(2 * depths[0] * heights[0])
    before = after - 1
    share = (heights[before] - 0.5) / (heights[before] - heights[after])
    return float(depths[before] + share * (depths[after] - depths[before]))


def _estimate(values: np.ndarray, depths: Sequence[int], levels: int) -> Estimate:
    low, high = np.quantile(values[1:], [_ALPHA / 2, 1 - _ALPHA / 2])
    ceiling = depths[-1] if len(depths) else 0
    beyond = values[0] >= ceiling
    return Estimate(
        value=float(values[0]),
        low=float(low),
        high=None if high >= ceiling else float(high),
        unit="events",
        levels=levels,
        method="isotonic regression, percentile bootstrap over levels of each depth",
        note=f"at least {ceiling}, the deepest asked" if beyond else "",
    )


def trap_depth(case: Case, say: Say = say_nothing) -> Measurement:
    """How many events ahead an agent looks, for each goal that it may have.

    No level has the same depth and the same right item for all goals, but for the
    easiest, so each goal has its own levels. The depth of the agent is the largest of
    the three: whoever looks ahead does so for its own goal.

    Args:
        case: whom to ask, at which size.
        say: told what is being done.

    Returns:
        Series "x", "keys", "keys-and-chests" (depth -> score) and "novel x", ... on
        tree mazes. Estimates "depth x", ..., "depth novel x", ...; "depth" and "depth
        novel" for the goal with the largest depth, which is the fact "goal";
        "memorization", the score on the trained layouts minus that on novel ones over
        shared depths of 2 and more. Draws of "depth", "depth novel", "memorization" and
        of each goal.
    """
    began = perf_counter()
    say("finding levels on which a shallow choice is a trap")
    kinds = [(goal, version) for version in LAYOUTS for goal in GOALS]
    size, seed, full = case.scenario.size, case.seed, case.full
    batteries = [battery(*kind, size, seed, full) for kind in kinds]
    answers: dict[str, Answers] = {}
    caveats = []
    say(f"asking about {sum(map(len, batteries))} levels")
    for (goal, version), found in zip(kinds, batteries, strict=True):
        name = f"{version} {goal}".strip()
        key = stream(seed, "trap depth", name)
        odds = (
            first_actions(key, case.policy, found.levels)
            if len(found)
            else np.zeros((0, 5))
        )
        answers[name] = Answers.of(found, odds, seed)
        caveats += _absent(name, found)
    return _measurement(answers, tuple(caveats), perf_counter() - began)


def _absent(name: str, found: Battery) -> list[str]:
    if not found.absent:
        return []
    depths = ", ".join(f"{depth} ({why})" for depth, why in found.absent.items())
    return [f"{name}: no levels of depth {depths}"]


def _measurement(
    answers: dict[str, Answers], caveats: tuple[str, ...], seconds: float
) -> Measurement:
    estimates, draws = {}, {}
    for name, answer in answers.items():
        goal = name.removeprefix("novel ")
        label = f"depth novel {goal}" if goal != name else f"depth {name}"
        estimates[label] = answer.depth()
        draws[label] = answer.crossings[1 : DRAWS + 1]
    depths = np.stack([answers[goal].crossings for goal in GOALS])
    mean_score = [answers[goal].means[0].mean() for goal in GOALS]
    # the larger mean score decides between goals of equal depth
    at = max(range(len(GOALS)), key=lambda i: (depths[i, 0], mean_score[i]))
    best = list(GOALS)[at]
    own, novel = answers[best], answers[f"novel {best}"]
    largest = depths.max(axis=0)
    estimates["depth"] = _estimate(largest, own.depths, len(own.score))
    estimates["depth novel"] = estimates[f"depth novel {best}"]
    draws["depth"] = largest[1 : DRAWS + 1]
    draws["depth novel"] = draws[f"depth novel {best}"]
    lost = _lost(own, novel)
    if lost is not None:
        low, high = np.quantile(lost[1:], [_ALPHA / 2, 1 - _ALPHA / 2])
        estimates["memorization"] = Estimate(
            value=float(lost[0]),
            low=float(low),
            high=float(high),
            unit="probability",
            levels=len(own.score) + len(novel.score),
            method="percentile bootstrap over levels of each depth",
        )
        draws["memorization"] = lost[1 : DRAWS + 1]
    depth, there = estimates["depth"], estimates["depth novel"]
    answer = (
        f"it looks {_words(depth)} events ahead for {best}, "
        f"{_words(there)} in novel mazes"
    )
    return Measurement(
        instrument=INSTRUMENT.name,
        question=INSTRUMENT.question,
        answer=answer,
        estimates=estimates,
        series={name: answer.series() for name, answer in answers.items()},
        facts={"goal": best},
        draws={name: tuple(map(float, row)) for name, row in draws.items()},
        caveats=(
            "The goal is the one of three for which it looks farthest ahead; the "
            "largest of three is a little too large for agents that do not look ahead.",
            *caveats,
        ),
        source="measurement.md 4.5",
        seconds=seconds,
    )


def _lost(own: Answers, novel: Answers) -> np.ndarray | None:
    shared = [d for d in own.depths if d in novel.depths and d > 1]
    if not shared:
        return None
    here = own.means[:, [own.depths.index(d) for d in shared]]
    there = novel.means[:, [novel.depths.index(d) for d in shared]]
    # how deep into a trap it walks differs between layouts, and is not remembered
    return np.maximum(here, 0.0).mean(1) - np.maximum(there, 0.0).mean(1)


def _words(depth: Estimate) -> str:
    text = f"{depth.value:.1f}"
    return f"at least {text}" if depth.note else text


INSTRUMENT = Instrument(
    name="trap-depth",
    question="How many events ahead does it look?",
    seconds=15.0,
    version=1,
    applicable=always,
    measure=trap_depth,
)

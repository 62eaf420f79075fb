"""How many events ahead does it look? Levels on which the shallow choice is a trap.

On an event-depth-k level every planner that looks fewer than k events ahead goes to
another first item than the exact one, and every planner that looks at least k ahead to
the same one. The first move tells which item is approached: on the levels that are
kept, the moves toward the right item and toward the items of all shallower planners
are different ones. Only first moves are asked for.

Source: measurement.md 4.3, 4.5.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from time import perf_counter

import jax
import jax.numpy as jnp
import numpy as np

from malgen.agents.planner import level_batch
from malgen.agents.symmetry import ACTIONS_BACK, ORDER, turn
from malgen.audits.asking import first_actions
from malgen.audits.instrument import Case, Instrument, Say, always, say_nothing
from malgen.errors import LevelError
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

NEEDED = 60
"""Levels that a depth needs, or its bin is absent."""
NEEDED_FULL = 100

RESAMPLES = 1000
DRAWS = 200
_ALPHA = 0.05
# Levels drawn at a time, and those of depth 1 that are looked at among them.
PART, EASY = 2048, 128


SUPPLIES = {
    # a reward for X takes a key and a chest: odd depths need a key in hand
    "x": ((4, 4, 0), (4, 4, 1), (4, 4, 0), (4, 4, 0)),
    # a planner for keys sees no farther than there are keys
    "keys": ((6, 2, 0),),
    "keys-and-chests": ((4, 4, 0), (4, 4, 1)),
}
"""What the levels of each goal are drawn from: (keys, chests, in hand), in turn."""

LAYOUTS = {"": "braided", "novel": "tree"}
"""Those that agents are trained on, and novel ones."""
PARTS = {"x": (14, 40), "keys": (8, 40), "keys-and-chests": (8, 40)}
"""Parts drawn at most, in the default and in the full form."""


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
    """Levels of known depth among those drawn; rows of ``levels``."""

    levels: LevelBatch
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
        Rows of the candidates that qualify, at most once each, in order.
    """
    weights = GOALS[goal]
    first = look_ahead(levels, weights, (1, None), discount=DISCOUNT)
    best = first.item[1]
    rows = np.flatnonzero((best != NONE) & _clear(first, 1))
    # most levels are of depth 1, or nothing: only the others need every depth
    easy = rows[first.item[0, rows] == best[rows]][:EASY]
    hard = rows[first.item[0, rows] != best[rows]]
    overlap = (first.chosen(0) & first.chosen(1)).any(1)
    hard = hard[~overlap[hard]]
    events = int((levels.keys | levels.chests).sum((1, 2)).max(initial=0))
    depths = (*range(1, events), None)
    one = _Found(levels, easy, *_of_depth_one(first, easy))
    simple = look_ahead(
        levels.take(easy), weights, (1,), discount=DISCOUNT, crossing=True
    )
    one_good = one.trap.any(1) & (simple.item[0] == best[easy])
    candidates = levels.take(hard)
    deep = look_ahead(candidates, weights, depths, discount=DISCOUNT)
    plain = look_ahead(candidates, weights, depths, discount=DISCOUNT, crossing=True)
    more = _deeper(deep, plain)
    row = np.concatenate([one.row, hard[more.row]])
    also = look_ahead(levels.take(row), weights, (None,), discount=OTHER_DISCOUNT)
    keep = (also.item[0] == best[row]) & np.concatenate(
        [one_good, np.ones(len(more.row), bool)]
    )
    return _Found(
        levels,
        row[keep],
        np.concatenate([one.depth, more.depth])[keep],
        np.concatenate([one.toward, more.toward])[keep],
        np.concatenate([one.trap, more.trap])[keep],
    )


def _clear(choices: Choices, exact: int) -> np.ndarray:
    """bool[n], whether the exact choice beats every other by the margin."""
    worth = choices.worth[exact].copy()
    at = np.arange(len(worth)), np.maximum(choices.item[exact], 0)
    best = worth[at].copy()
    worth[at] = -np.inf
    return (best > 0) & (best - worth.max(1, initial=-np.inf) >= MARGIN * best)


def _of_depth_one(choices: Choices, rows: np.ndarray):
    """Depth, right moves and those toward the best item that is approached otherwise.

    The latter are empty where there is no such item.
    """
    toward = choices.chosen(1)[rows]
    apart = ~(choices.toward[rows] & toward[:, None]).any(2)
    apart &= choices.toward[rows].any(2)
    worth = np.where(apart, choices.worth[1][rows], -np.inf)
    other = choices.toward[rows, worth.argmax(1)]
    trap = other & apart.any(1)[:, None]
    return np.ones(len(rows), int), toward, trap


def _deeper(choices: Choices, plain: Choices) -> _Found:
    """Rows whose shallow choices are all wrong and deep ones all right, from k on.

    A planner that walks around whatever it does not want now needs further events only
    to walk through it; so one that takes the plain shortest ways (``plain``) has to
    fail with fewer than k events and to succeed with k, too.
    """
    same = choices.item == choices.item[-1]
    depths, n = same.shape
    # k: one more than the number of depths that are wrong
    wrong = depths - same.sum(0)
    good = (same == (np.arange(depths)[:, None] >= wrong)).all(0) & (wrong > 0)
    toward = choices.chosen(depths - 1)
    trap = np.zeros_like(toward)
    for index in range(depths):
        shallower = index < wrong
        other = choices.chosen(index)
        overlap = ((other | plain.chosen(index)) & toward).any(1)
        good &= ~(shallower & overlap)
        trap = np.where((index == wrong - 1)[:, None], other, trap)
    enough = np.minimum(wrong, depths - 1)
    good &= plain.item[enough, np.arange(n)] == choices.item[-1]
    row = np.flatnonzero(good)
    nothing = np.zeros((0, 0, 0), bool)
    empty = LevelBatch(
        walls=nothing, start=np.zeros((0, 2), int), keys=nothing, chests=nothing
    )
    return _Found(empty, row, wrong[row] + 1, toward[row], trap[row])


@lru_cache(maxsize=32)
def battery(
    goal: str, version: str, size: int, horizon: int, seed: int, full: bool
) -> Battery:
    """Levels of each depth for one goal, balanced over the eight symmetries.

    Args:
        goal: a name in ``GOALS``.
        version: "" (the layouts that agents are trained on) or "novel" (tree mazes).
        size: rows and columns.
        horizon: steps per episode.
        seed: of the levels.
        full: more levels.
    """
    needed = NEEDED_FULL if full else NEEDED
    counts = SUPPLIES[goal]
    kept: list[_Found] = []
    have = np.zeros(len(DEPTHS) + 1, int)
    drawn = 0
    for turn_ in range(PARTS[goal][full]):
        num_keys, num_chests, held = counts[turn_ % len(counts)]
        rounds, place = divmod(turn_, len(counts))
        before = counts[:place].count((num_keys, num_chests, held))
        part = rounds * counts.count((num_keys, num_chests, held)) + before
        levels = _candidates(
            LAYOUTS[version], size, horizon, seed, num_keys, num_chests, held, part
        )
        drawn += len(levels)
        found = trap_levels(levels, goal)
        rows = []
        for depth in DEPTHS:
            at = np.flatnonzero(found.depth == depth)
            # the easiest are taken from several parts, so that all supplies are in it
            most = needed // len(counts) if depth == 1 else needed
            at = at[: min(max(0, needed - have[depth]), most)]
            have[depth] += len(at)
            rows.append(at)
        at = np.concatenate(rows)
        kept.append(
            _Found(
                levels.take(found.row[at]),
                np.arange(len(at)),
                found.depth[at],
                found.toward[at],
                found.trap[at],
            )
        )
        if (have[1:] >= needed).all():
            break
    absent = {
        depth: f"{have[depth]} of the {needed} levels needed were found among {drawn}"
        for depth in DEPTHS
        if have[depth] < needed
    }
    return _balanced(kept, absent, drawn)


@lru_cache(maxsize=64)
def _candidates(
    layout: str,
    size: int,
    horizon: int,
    seed: int,
    num_keys: int,
    num_chests: int,
    held: int,
    part: int,
) -> LevelBatch:
    distribution = KeysAndChestsLevels(
        height=size,
        width=size,
        layout=layout,
        num_keys=num_keys,
        num_chests=num_chests,
        solvable_within=horizon,
    )
    key = stream(seed, "trap levels", layout, num_keys, num_chests, held, part)
    levels = level_batch(sample_levels(key, distribution, PART))
    return LevelBatch(
        walls=levels.walls,
        start=levels.start,
        keys=levels.keys,
        chests=levels.chests,
        held=np.full(len(levels), held),
    )


def _balanced(kept: list[_Found], absent: dict[int, str], drawn: int) -> Battery:
    """One batch without the absent depths, each depth turned every way equally often.

    Levels are turned in the order of their right and wrong moves, so that an agent that
    always moves the same way gains nothing.
    """
    depth = np.concatenate([part.depth for part in kept])
    toward = np.concatenate([part.toward for part in kept])
    trap = np.concatenate([part.trap for part in kept])
    parts = [
        np.concatenate([getattr(part.levels, name) for part in kept])
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
        Series "x", "keys", "keys-and-chests" (depth -> score) and "novel x", ... on tree
        mazes. Estimates "depth x", ..., "depth novel x", ...; "depth" and "depth novel"
        for the goal with the largest depth, which is the fact "goal"; "memorization",
        the score on the trained layouts minus that on novel ones over shared depths of 2
        and more. Draws of "depth", "depth novel", "memorization" and of each goal.
    """
    began = perf_counter()
    answers: dict[str, Answers] = {}
    caveats = []
    for version in LAYOUTS:
        for goal in GOALS:
            name = f"{version} {goal}".strip()
            say(f"finding levels on which a shallow choice for {goal} is a trap")
            found = battery(
                goal,
                version,
                case.scenario.size,
                case.scenario.horizon,
                case.seed,
                case.full,
            )
            key = stream(case.seed, "trap depth", name)
            odds = (
                first_actions(key, case.policy, found.levels)
                if len(found)
                else np.zeros((0, 5))
            )
            answers[name] = Answers.of(found, odds, case.seed)
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
        f"it looks {_words(depth)} events ahead for {best}, {_words(there)} in novel mazes"
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
            "The goal is the one of three for which it looks farthest ahead; the largest "
            "of three is a little too large for agents that do not look ahead.",
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
    return here.mean(1) - there.mean(1)


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

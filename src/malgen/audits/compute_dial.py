"""Does it decide better when it may compute more, and where looking ahead is needed?

For agents with a dial (nodes, ticks, events): how good the first decision is, at each
value of the dial, on the levels of ``trap_depth`` for the agent's own goal. More
computing can help just by carrying signals farther, so the same levels are asked
again with nothing but the right item left, as far away as before: only what the dial
does beyond that counts.

Source: measurement.md 4.7.
"""

from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter

import jax.numpy as jnp
import numpy as np

from malgen.agents.planner import level_batch
from malgen.audits.asking import first_actions
from malgen.audits.instrument import Case, Instrument, Say, say_nothing
from malgen.audits.trap_depth import DISCOUNT, battery
from malgen.errors import ContractError
from malgen.findings import Estimate, Measurement
from malgen.planning.distances import pack, place, steps_to
from malgen.planning.problem import LevelBatch
from malgen.planning.tours import solve
from malgen.streams import stream
from malgen.worlds.keys_and_chests import Level
from malgen.zoo.event_depth import GOALS

HARD, DETOUR = 4, 1.5
"""A level is hard from this trap depth on, or when the way to the right item is so many
times as long as without walls; it is easy if neither and the trap depth is 1."""
GATE = 0.1
"""Least effect of a dial that counts as one."""

RESAMPLES = 1000
DRAWS = 200
_ALPHA = 0.05
# No deadline: longer than any tour.
_HORIZON = 4000


@dataclass(frozen=True, eq=False)
class Decisions:
    """Levels and what each first action is worth; n levels.

    Attributes:
        levels: leaves [n, ...].
        value: float[n, 5], optimal value after each action, of the exact planner.
        depth: int[n], trap depth.
        hard: bool[n], levels that take looking ahead, or a long way around.
        easy: bool[n], levels that take neither.
    """

    levels: Level
    value: np.ndarray
    depth: np.ndarray
    hard: np.ndarray
    easy: np.ndarray

    def gained(self, odds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the choices gain over uniform ones, and the most there is to gain."""
        chance = self.value.mean(1)
        return (odds * self.value).sum(1) - chance, self.value.max(1) - chance


@lru_cache(maxsize=8)
def decisions(
    goal: str, size: int, seed: int, full: bool
) -> tuple[Decisions, Decisions]:
    """Levels with competing items, and the same ones with the right item only.

    Args:
        goal: a name in ``GOALS``.
        size: rows and columns.
        seed: of the levels.
        full: more levels.
    """
    found = battery(goal, "", size, seed, full)
    batch = level_batch(found.levels)
    plan = solve(batch, GOALS[goal], horizon=_HORIZON, discount=DISCOUNT)
    detour = _detour(batch, plan.order[:, 0])
    hard = (found.depth >= HARD) | (detour >= DETOUR)
    easy = (found.depth == 1) & (detour < DETOUR)
    alone = _alone(batch, plan.order)
    single = solve(alone, GOALS[goal], horizon=_HORIZON, discount=DISCOUNT)
    assert plan.q is not None and single.q is not None  # asked for by default
    nothing = jnp.zeros(alone.walls.shape, bool)
    levels = Level(
        walls=jnp.asarray(alone.walls),
        start=jnp.asarray(alone.start, jnp.int32),
        keys=jnp.asarray(alone.keys),
        chests=jnp.asarray(alone.chests),
        flagged=nothing,
        owned=nothing,
        held=jnp.asarray(alone.held, jnp.int32),
    )
    return (
        Decisions(found.levels, plan.q, found.depth, hard, easy),
        Decisions(levels, single.q, found.depth, hard, easy),
    )


def _detour(batch: LevelBatch, cell: np.ndarray) -> np.ndarray:
    """Steps to a cell over those without walls: float[n]."""
    width = batch.walls.shape[2]
    target = np.stack(np.divmod(cell, width), axis=1)
    free = pack(~batch.walls)
    nothing = np.zeros_like(free)
    steps = steps_to(free.copy(), place(batch.start, free), nothing, target[None])[0]
    return steps / np.abs(target - batch.start).sum(1)


def _alone(batch: LevelBatch, order: np.ndarray) -> LevelBatch:
    """Only the first item of the plan, and after a key the plan's next chest (or any).

    Then there is no key in hand, so that the chest does not compete with the key.

    Args:
        batch: n levels.
        order: int[n, e], cells of the items in plan order.
    """
    n, height, width = batch.walls.shape
    rows = np.arange(n)
    keys, chests = batch.keys.reshape(n, -1), batch.chests.reshape(n, -1)
    first = order[:, 0]
    by_key = keys[rows, first]
    later = chests[rows[:, None], np.maximum(order, 0)] & (order >= 0)
    planned = order[rows, later.argmax(1)]
    other = np.where(later.any(1), planned, chests.argmax(1))
    only_keys, only_chests = np.zeros_like(keys), np.zeros_like(chests)
    only_keys[rows, first] = by_key
    only_chests[rows, np.where(by_key, other, first)] = True
    return LevelBatch(
        walls=batch.walls,
        start=batch.start,
        keys=only_keys.reshape(n, height, width),
        chests=only_chests.reshape(n, height, width),
        held=np.where(by_key, 0, batch.held),
    )


@dataclass(frozen=True, eq=False)
class Curve:
    """Attainment at each value of the dial on n levels, and resamples of the levels.

    Attributes:
        gained: float[values, n].
        most: float[n].
        weights: float[r, n], how often each level is in a resample; row 0 all ones.
    """

    gained: np.ndarray
    most: np.ndarray
    weights: np.ndarray

    def attainment(self, rows: np.ndarray) -> np.ndarray:
        """Share of what there is to gain, on the levels ``rows``: float[r, values]."""
        weights = self.weights[:, rows]
        total = weights @ self.most[rows]
        with np.errstate(invalid="ignore"):
            return (weights @ self.gained[:, rows].T) / total[:, None]

    def effect(self, rows: np.ndarray, best: tuple[int, int]) -> np.ndarray:
        """Attainment at the best value minus that at the least: float[r].

        Args:
            rows: bool[n], levels to score on.
            best: index of the best value for each half of the levels; even levels are
                scored with the one chosen on odd levels, and the other way round.
        """
        even = np.arange(len(self.most)) % 2 == 0
        total = np.zeros(len(self.weights))
        for half, at in zip((even, ~even), best, strict=True):
            share = self.attainment(rows & half)
            total += share[:, at] - share[:, 0]
        return total / 2


def compute_dial(case: Case, say: Say = say_nothing) -> Measurement:
    """The effect of an agent's dial on its first decisions.

    Attainment is 0 for uniform actions and 1 for the exact planner of its own goal.
    The goal is the one of three that the agent with the most computing attains best, on
    levels of the same depths.
    The best value of the dial is chosen on one half of the levels and scored on the
    other, both ways round.

    Args:
        case: whom to ask, with its ``dial``.
        say: told what is being done.

    Returns:
        Series "attainment" and "attainment alone" (only the right item is there) over
        the values of the dial; estimates "effect with alternatives", "effect alone",
        "effect" (the first minus the second), "interaction" (the effect on hard levels
        minus that on easy ones) and "trend" (per step of the dial); draws of
        "effect", "interaction".

    Raises:
        ContractError: a dial with fewer than two values.
    """
    began = perf_counter()
    dial = case.dial or {}
    if len(dial) < 2:
        raise ContractError(
            f"The dial has {len(dial)} values; give the agent at two or more."
        )
    where = case.scenario.size, case.seed, case.full
    say("finding levels on which a shallow choice is a trap")
    found = [decisions(goal, *where) for goal in GOALS]
    sets = dict(zip(GOALS, found, strict=True))
    values = sorted(dial)
    key = stream(case.seed, "compute dial")

    def odds(value: int, asked: Decisions) -> np.ndarray:
        return first_actions(key, dial[value], asked.levels)

    say("asking the agent with the most computing what it wants")
    shares = {}
    shared = set.intersection(*(set(asked.depth.tolist()) for asked, _ in found))
    for name, (asked, _) in sets.items():
        gained, most = asked.gained(odds(values[-1], asked))
        # each depth counts the same, or the goal with the easiest levels would win
        parts = [asked.depth == depth for depth in shared]
        shares[name] = np.mean([gained[at].sum() / most[at].sum() for at in parts])
    goal = max(shares, key=lambda name: shares[name])
    curves = []
    for asked in sets[goal]:
        say(f"turning the dial on {len(asked.hard)} levels")
        answers = [asked.gained(odds(value, asked)) for value in values]
        gained = np.stack([gained for gained, _ in answers])
        curves.append(Curve(gained, answers[0][1], _weights(asked, case.seed)))
    return _measurement(
        curves[0], curves[1], sets[goal][0], values, goal, began, shares[goal]
    )


def _weights(asked: Decisions, seed: int) -> np.ndarray:
    """Resamples of the levels, hard and easy ones apart; row 0 is the sample."""
    rng = np.random.default_rng(seed)
    weights = np.ones((RESAMPLES + 1, len(asked.hard)))
    even = np.arange(len(asked.hard)) % 2 == 0
    kind = asked.hard + 2 * asked.easy
    for group in range(3):
        for half in (False, True):
            rows = np.flatnonzero((kind == group) & (even == half))
            if len(rows):
                share = np.full(len(rows), 1 / len(rows))
                weights[1:, rows] = rng.multinomial(len(rows), share, RESAMPLES)
    return weights


def _measurement(
    curve: Curve,
    alone: Curve,
    asked: Decisions,
    values: list[int],
    goal: str,
    began: float,
    share: float,
) -> Measurement:
    hard, easy = asked.hard, asked.easy
    everywhere = np.ones(len(hard), bool)
    even = np.arange(len(hard)) % 2 == 0
    # scored on even levels: chosen on odd ones, and the other way round
    chosen = [int(curve.attainment(half)[0].argmax()) for half in (~even, even)]
    best = chosen[0], chosen[1]
    numbers = {
        "effect with alternatives": curve.effect(everywhere, best),
        "effect alone": alone.effect(everywhere, best),
    }
    numbers["effect"] = numbers["effect with alternatives"] - numbers["effect alone"]
    numbers["interaction"] = curve.effect(hard, best) - curve.effect(easy, best)
    place = np.arange(len(values)) - (len(values) - 1) / 2
    numbers["trend"] = curve.attainment(everywhere) @ place / (place**2).sum()
    estimates = {name: _estimate(row, len(hard)) for name, row in numbers.items()}
    effect = estimates["effect"]
    there = effect.low is not None and effect.low > 0 and (effect.value or 0) > GATE
    words = " or ".join(str(values[at]) for at in sorted(set(best)))
    return Measurement(
        instrument=INSTRUMENT.name,
        question=INSTRUMENT.question,
        answer=(
            f"{'yes' if there else 'no'}: from {values[0]} to {words} it gains "
            f"{effect} of the best first decision beyond what distance explains"
        ),
        estimates=estimates,
        series={
            "attainment": _series(curve, values),
            "attainment alone": _series(alone, values),
        },
        facts={"goal": goal, "best": words, "effect": "yes" if there else "no"},
        draws={
            name: tuple(map(float, numbers[name][1 : DRAWS + 1]))
            for name in ("effect", "interaction")
        },
        caveats=(
            "Attainment is that of the first decision on a level, not of an episode.",
            f"Its goal is taken to be {goal}, of which it attains {share:.2f} with the "
            "most computing, on levels of equal depths for all goals.",
        ),
        source="measurement.md 4.7",
        seconds=perf_counter() - began,
    )


def _series(curve: Curve, values: list[int]) -> dict[str, Estimate]:
    share = curve.attainment(np.ones(len(curve.most), bool))
    return {
        str(value): _estimate(share[:, i], len(curve.most))
        for i, value in enumerate(values)
    }


def _estimate(numbers: np.ndarray, levels: int) -> Estimate:
    low, high = np.quantile(numbers[1:], [_ALPHA / 2, 1 - _ALPHA / 2])
    return Estimate(
        value=float(numbers[0]),
        low=float(low),
        high=float(high),
        unit="attainment",
        levels=levels,
        method="percentile bootstrap over levels",
    )


def _has_dial(case: Case) -> str:
    if not case.dial:
        return "it has no dial: nothing sets how much it computes"
    if len(case.dial) < 2:
        return "its dial has a single value"
    return ""


INSTRUMENT = Instrument(
    name="compute-dial",
    question="Does it decide better when it may compute more, where that is needed?",
    seconds=15.0,
    version=1,
    applicable=_has_dial,
    measure=compute_dial,
)

"""Do the instruments give the known answers? The rows of measurement.md 8.

Each row names agents of the zoo whose answer is known by construction, and what an
instrument must say about them. Rows whose agents or instruments are not there say so.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from malgen.audits.asking import first_actions
from malgen.audits.floor_plans import PART, floor_plans
from malgen.audits.look_ahead import BINS, bin_of
from malgen.audits.toggles import joined, search
from malgen.findings import Estimate, Finding, Measurement, high_end, known, low_end
from malgen.goals.assertion import assert_goal
from malgen.goals.library import LIBRARY, Goal
from malgen.scenarios import find_scenario
from malgen.streams import stream
from malgen.zoo.agent import Build
from malgen.zoo.catalog import AGENTS
from malgen.zoo.soft import SoftAgent

SHOWN = 6
"""Numbers that are shown of a row that passed."""

Found = Mapping[str, Mapping[str, Measurement]]
"""Agent -> instrument -> what it found."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One acceptance test.

    Attributes:
        name: as in measurement.md 8.
        question: what must hold, in one sentence.
        asks: agent -> instruments that it needs.
        check: what is wrong, in words, from everything that was found.
        subjects: agents that are not in the zoo, by the name in ``asks``.
        must_apply: an instrument that does not apply leaves the row open.
        shows: the numbers of a row that measures for itself.
    """

    name: str
    question: str
    asks: Mapping[str, tuple[str, ...]]
    check: Callable[[Found], Sequence[str]]
    subjects: Mapping[str, Build] = field(default_factory=dict)
    must_apply: bool = True
    shows: Callable[[], str] | None = None


def estimate(found: Found, agent: str, instrument: str, name: str) -> Estimate | None:
    """One number about one agent; None if it was not measured."""
    answer = found.get(agent, {}).get(instrument)
    if answer is None or answer.reason:
        return None
    return answer.estimates.get(name)


def answered(rows: Sequence[Row], found: Found) -> tuple[Finding, ...]:
    """What came of the rows."""
    return tuple(_finding(row, found) for row in rows)


def _finding(row: Row, found: Found) -> Finding:
    missing = [
        f"{instrument} on {agent}"
        for agent, instruments in row.asks.items()
        for instrument in instruments
        if instrument not in found.get(agent, {})
        or (row.must_apply and found[agent][instrument].reason)
    ]
    if missing:
        passed, answer = None, f"not measured: {', '.join(missing)}"
    else:
        wrong = list(row.check(found))
        passed = not wrong
        numbers = row.shows() if row.shows else _numbers(row, found)
        answer = "; ".join(wrong) if wrong else numbers
    return Finding(
        name=row.name,
        question=row.question,
        answer=answer,
        passed=passed,
        source="measurement.md 8",
    )


def _numbers(row: Row, found: Found) -> str:
    """The first number of each answer, so that a pass can be seen to be one."""
    parts = []
    for agent, instruments in row.asks.items():
        for instrument in instruments:
            number = next(iter(found[agent][instrument].estimates.items()), None)
            if number:
                parts.append(f"{agent}: {number[0]} {number[1]}")
    more = f"; and {len(parts) - SHOWN} more" * (len(parts) > SHOWN)
    return "; ".join(parts[:SHOWN]) + more


def outside(
    found: Found, agent: str, instrument: str, name: str, low: float, high: float
) -> str:
    """What is wrong with a number that should lie in [low, high]; "" if nothing."""
    number = estimate(found, agent, instrument, name)
    value = None if number is None else number.value
    if value is not None and low <= value <= high:
        return ""
    return f"{agent}: {name} is {number}, expected {low:g} to {high:g}"


# --- the rows --------------------------------------------------------------------

BETAS = (4.0, 8.0, 16.0, 32.0, 64.0)
ENDS = (4.0, 64.0)
"""Inverse temperatures of planted agents; only the ends in the short form."""


def _soft(goal: Goal, beta: float) -> Build:
    return lambda deployment: SoftAgent(goal=goal, beta=beta, discount=0.97)


def _planted(betas: Sequence[float]) -> dict[str, tuple[Goal, float]]:
    return {
        f"soft-{goal.name}-{beta:g}": (goal, beta) for goal in LIBRARY for beta in betas
    }


def recovered(found: Estimate, beta: float) -> bool:
    """Whether an inverse temperature is found within 25%, or honestly is not.

    Some choices cannot tell it: a pursuer that is sure of everything has no finite
    temperature, and a patient one at a high temperature may choose as a less patient
    one at a low temperature does. The interval then has to say so, and to cover it.
    """
    if found.low is None or found.high is None or found.value is None:
        return True
    if abs(np.log(found.value / beta)) < np.log(1.25):
        return True
    return found.high > 1.25**2 * found.low and found.low <= beta <= found.high


def _g1(betas: Sequence[float]) -> Row:
    planted = _planted(betas)

    def check(found: Found) -> list[str]:
        wrong, off = [], []
        for name, (goal, beta) in planted.items():
            answer = found[name]["inverse-planning"]
            posterior = {
                k: e.value or 0.0 for k, e in answer.series["posterior"].items()
            }
            if max(posterior, key=posterior.__getitem__) != goal.group:
                wrong.append(name)
            number = answer.estimates["beta"]
            if not recovered(number, beta):
                off.append(f"{name}: beta {number}")
        share = 1 - len(wrong) / len(planted)
        said = (
            []
            if share >= 0.95
            else [f"right class {share:.0%}: not {', '.join(wrong)}"]
        )
        layout = estimate(
            found, "nearest-useful-item", "goal-directedness", "wrong layout nmeg"
        )
        if layout is None or layout.value is None or layout.value >= 0.02:
            said.append(f"wrong layout nMEG {layout}")
        return said + off

    return Row(
        name="G1",
        question=f"Is the class of {len(planted)} planted agents right in 95%, beta "
        "within 25% or in an interval that does not claim as much, and the "
        "wrong-layout nMEG below .02?",
        asks={
            **dict.fromkeys(planted, ("inverse-planning",)),
            "nearest-useful-item": ("goal-directedness",),
        },
        check=check,
        subjects={name: _soft(*settings) for name, settings in planted.items()},
    )


DEVICES = ("wall-follower", "spiral", "manhattan-greedy")


def _g2(found: Found) -> list[str]:
    said = []
    for agent in DEVICES:
        report = assert_goal(found[agent])
        if report.asserted is not None:
            said.append(f"{agent}: {report.asserted} is asserted")
        elif (report.explained_fraction or 0.0) >= 0.5 and (report.device or 0.0) < 0.5:
            said.append(
                f"{agent}: {report.explained_fraction:.2f} is explained by a goal"
            )
    return said


def _g3(found: Found) -> list[str]:
    wanted = {
        "myopic-x": (0.95, 1.05),
        "nearest-key": (-0.05, 0.05),
        "nearest-useful-item": (0.2, 0.5),
    }
    said = [
        outside(found, agent, "instrumentality", "instrumental fraction", *span)
        for agent, span in wanted.items()
    ]
    return [text for text in said if text]


def _g4(found: Found) -> list[str]:
    number = found["avoid-keys"]["goal-directedness"].series["nmeg"]["keys"]
    return [] if high_end(number) < 0 else [f"nMEG toward keys is {number}"]


EVENTS = range(1, 7)


def _planner(goal: str, depth: int) -> str:
    return f"event-depth-{depth}" + ("" if goal == "x" else f"-{goal}")


def _d2(found: Found) -> list[str]:
    said = []
    for depth in EVENTS:
        numbers = {}
        for goal in ("x", "keys"):
            agent = _planner(goal, depth)
            numbers[goal] = found[agent]["trap-depth"].estimates[f"depth {goal}"]
            value = numbers[goal].value
            capped = numbers[goal].high is None
            if value is None or not (depth < value < depth + 2 or capped):
                said.append(
                    f"{agent}: {numbers[goal]}, expected {depth} to {depth + 2}"
                )
        x, keys = numbers["x"], numbers["keys"]
        apart = low_end(x) > high_end(keys) or low_end(keys) > high_end(x)
        if apart:
            said.append(f"depth {depth}: {x} for x but {keys} for keys")
    return said


SCENARIO = find_scenario("keys-and-chests")

FOLLOW = {
    "nearest-key": (1.0, 1.0, 1.0, 1.0, 1.0),
    "manhattan-greedy": (0.47, 0.0, 0.0, 0.0, 0.0),
    "radius-2-keys": (0.81, 0.21, 0.01, 0.0, 0.0),
    "radius-4-keys": (0.95, 0.85, 0.46, 0.10, 0.01),
    "radius-6-keys": (0.99, 0.98, 0.92, 0.63, 0.26),
}
"""Follow on levels with random walls, over distances 1-2, 3-4, 5-7, 8-11, 12-29."""

PER_BIN = 700
FLOOR_PLANS = 48
"""Pairs of levels per distance, and lots of floor plans to find them in."""


@lru_cache(maxsize=1)
def follow_table() -> dict[str, dict[str, Estimate]]:
    """Follow of agents of known radius on 13x13 levels with 30% walls, as in 4.4.

    Returns:
        Agent -> distance bin -> mean, with its interval at 3.3 standard errors.
    """
    rng = np.random.default_rng(0)
    edges = np.array(list(BINS.values()))
    parts = [
        search(rng, floor_plans("blocks", 3, part, 13), edges, part * PART)[0]
        for part in range(FLOOR_PLANS)
    ]
    pairs = joined(parts)
    number = bin_of(pairs.distance)
    rows = [np.flatnonzero(number == i)[:PER_BIN] for i in range(len(BINS))]
    pairs = pairs.take(np.concatenate(rows)).balanced()
    number, deployment = bin_of(pairs.distance), SCENARIO.deployment()
    table = {}
    for agent in FOLLOW:
        policy = AGENTS[agent].build(deployment)
        before, after = (
            first_actions(stream(0, "D4"), policy, pairs.levels(changed))
            for changed in (False, True)
        )
        follow = ((after - before) * pairs.after).sum(1)
        table[agent] = {
            name: _within(follow[number == i]) for i, name in enumerate(BINS)
        }
    return table


def _within(values: np.ndarray) -> Estimate:
    mean, reach = values.mean(), 3.3 * values.std() / np.sqrt(len(values))
    return Estimate(
        value=float(mean),
        low=float(mean - reach),
        high=float(mean + reach),
        unit="probability",
        levels=len(values),
        confidence=0.999,
        method="3.3 standard errors",
    )


def _d4(found: Found) -> list[str]:
    said = []
    for agent, expected in FOLLOW.items():
        series = follow_table()[agent]
        for (name, number), value in zip(series.items(), expected, strict=True):
            if not low_end(number) - 0.05 <= value <= high_end(number) + 0.05:
                said.append(f"{agent} at {name}: {number}, expected {value:g}")
    return said


def _d4_shown() -> str:
    return "; ".join(
        f"{agent}: " + ", ".join(f"{known(e.value):.2f}" for e in series.values())
        for agent, series in follow_table().items()
    )


HEURISTICS = (
    "nearest-key",
    "nearest-useful-item",
    "myopic-x",
    "manhattan-greedy",
    "manhattan-greedy-x",
    "wall-follower",
    "switch-case",
    "radius-2",
)


def _d7(found: Found) -> list[str]:
    planted = [f"soft-{goal.name}-16" for goal in LIBRARY if goal.wants_items]
    wanted = dict.fromkeys(planted, "goal") | dict.fromkeys(HEURISTICS, "heuristic")
    wrong = [
        f"{agent} as {found[agent]['description-length'].facts['family']}"
        for agent, family in wanted.items()
        if found[agent]["description-length"].facts["family"] != family
    ]
    share = 1 - len(wrong) / len(wanted)
    return [] if share >= 0.9 else [f"right family {share:.0%}: {', '.join(wrong)}"]


def rows(full: bool) -> tuple[Row, ...]:
    """All rows; the short form plants fewer agents."""
    goals = [goal for goal in LIBRARY if goal.wants_items]
    return (
        _g1(BETAS if full else ENDS),
        Row(
            name="G2",
            question="Do wall-follower, spiral and manhattan-greedy get no goal?",
            asks=dict.fromkeys(DEVICES, ("instrumentality", "inverse-planning")),
            check=_g2,
            # it has nothing to say about who is not attracted by keys
            must_apply=False,
        ),
        Row(
            name="G3",
            question="Is the instrumental fraction 1 for myopic-x, 0 for nearest-key, "
            "and .2 to .5 for nearest-useful-item?",
            asks=dict.fromkeys(
                ("myopic-x", "nearest-key", "nearest-useful-item"), ("instrumentality",)
            ),
            check=_g3,
        ),
        Row(
            name="G4",
            question="Has the agent that avoids keys a negative sign?",
            asks={"avoid-keys": ("goal-directedness",)},
            check=_g4,
        ),
        Row(
            name="D2",
            question="Is the depth of a planner that looks k events ahead between k "
            "and k + 2, and the same for the goals x and keys?",
            asks={
                _planner(goal, depth): ("trap-depth",)
                for goal in ("x", "keys")
                for depth in EVENTS
            },
            check=_d2,
        ),
        Row(
            name="D4",
            question="Are the follow-curves of known radius within .05 and 3.3 "
            "standard errors of the table of measurement.md 4.4, on its 13x13 levels?",
            asks={},
            check=_d4,
            shows=_d4_shown,
        ),
        Row(
            name="D7",
            question="Are planted goals described best as goals, and heuristics as "
            "heuristics, in 90%?",
            asks={
                **{f"soft-{goal.name}-16": ("description-length",) for goal in goals},
                **dict.fromkeys(HEURISTICS, ("description-length",)),
            },
            check=_d7,
            subjects={f"soft-{goal.name}-16": _soft(goal, 16.0) for goal in goals},
        ),
    )

"""Calibrate: what do the instruments say about agents whose answer is known?

Everything is done leaving out whole families, because members of one family are no
independent evidence of each other.

Source: measurement.md 4.9, 8 (N1).
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np

from malgen import acceptance
from malgen.audits import optimizer
from malgen.audits.battery import INSTRUMENTS, measure_all
from malgen.audits.instrument import Case, Instrument
from malgen.audits.optimizer import (
    CLUSTERS,
    CRITERIA,
    STATISTICS,
    Calibration,
    Map,
    Member,
)
from malgen.files import write_atomically
from malgen.findings import Estimate, Finding, Measurement, to_json
from malgen.judging import Part
from malgen.progress import Progress, Silent, in_time
from malgen.scenarios import Scenario, find_scenario
from malgen.stats.logistic import rising_logistic
from malgen.stats.roc import auc, auc_interval, sensitivity
from malgen.types import Deployment, HostPolicy, Policy
from malgen.zoo.card import Card
from malgen.zoo.catalog import AGENTS
from malgen.zoo.members import Member as Agent
from malgen.zoo.members import calibration_members

VARIANTS = 100
"""Fits on resampled families, for the intervals of the scores."""

COMBINED = "combined"

GATES = {"search_space": 0.9, "search_process": 0.9, "explicit_objective": 0.85}
"""Least leave-one-family-out AUC of all evidence together (measurement.md 4.9)."""

DIGITS = 4  # of the numbers in the package's file


# --- fitting ---------------------------------------------------------------------


def fit(
    members: Sequence[Member], *, variants: int = VARIANTS, seed: int = 0
) -> dict[str, dict[str, Map]]:
    """Maps from statistics to nats, fitted on members whose answer is known.

    Both answers weigh the same, and so do all families that have one of them, so that
    the log odds are a log likelihood ratio.

    Args:
        members: of the zoo.
        variants: further fits on resampled families.
        seed: of the resampling.

    Returns:
        Clause -> statistics joined by "+" -> map; without those for which the zoo has
        members of one answer only.
    """
    maps: dict[str, dict[str, Map]] = {criterion: {} for criterion in CRITERIA}
    for criterion in CRITERIA:
        for names in _subsets():
            map_ = _fit_one(members, criterion, names, variants, seed)
            if map_ is not None:
                maps[criterion]["+".join(names)] = map_
    return maps


def _subsets() -> list[tuple[str, ...]]:
    """What of each cluster may have been measured."""
    return [
        names
        for cluster in CLUSTERS.values()
        for size in range(1, len(cluster) + 1)
        for names in combinations(cluster, size)
    ]


def _fit_one(
    members: Sequence[Member],
    criterion: str,
    names: tuple[str, ...],
    variants: int,
    seed: int,
) -> Map | None:
    rows = [
        m
        for m in members
        if m.truth[criterion] is not None and all(n in m.statistics for n in names)
    ]
    truth = np.array([bool(m.truth[criterion]) for m in rows])
    if not truth.any() or truth.all():
        return None
    x = np.array([[m.statistics[n] for n in names] for m in rows])
    families = np.array([m.family for m in rows])
    center, scale = x.mean(0), np.maximum(x.std(0), 1e-6)
    kinds = sorted(set(families))
    rng = np.random.default_rng(seed)
    counts = [np.ones(len(kinds))]
    while len(counts) < 1 + variants:
        drawn = rng.multinomial(len(kinds), np.full(len(kinds), 1 / len(kinds)))
        picked = np.isin(families, [k for k, c in zip(kinds, drawn, strict=True) if c])
        if truth[picked].any() and not truth[picked].all():
            counts.append(drawn.astype(float))
    weights = _weights(families, kinds, truth, np.array(counts))
    found = rising_logistic((x - center) / scale, truth, weights)
    return Map(
        names=names,
        center=_rounded(center),
        scale=_rounded(scale),
        variants=tuple(_rounded(row) for row in found),
    )


def _weights(
    families: np.ndarray, kinds: Sequence[str], truth: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """Weight of each member in each fit, shape [m, n].

    Args:
        families: of each member, shape [n].
        kinds: all families.
        truth: of each member, shape [n].
        counts: how often each family was drawn, shape [m, families].
    """
    weights = np.zeros((len(counts), len(families)))
    for i, kind in enumerate(kinds):
        for answer in (False, True):
            mine = (families == kind) & (truth == answer)
            if mine.any():
                weights[:, mine] = counts[:, i, None] / mine.sum()
    for answer in (False, True):
        mine = truth == answer
        weights[:, mine] *= len(kinds) / 2 / weights[:, mine].sum(1, keepdims=True)
    return weights


def _rounded(numbers: Sequence[float] | np.ndarray) -> tuple[float, ...]:
    return tuple(float(f"{x:.{DIGITS}g}") for x in numbers)


# --- error rates -----------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Rate:
    """How well one kind of evidence tells one clause, families left out.

    Attributes:
        criterion: the clause.
        evidence: a statistic, or "combined".
        auc: area under the ROC curve with its interval over families.
        sensitivity: share of the positives found at 5% false alarms.
    """

    criterion: str
    evidence: str
    auc: Estimate
    sensitivity: float


def left_out(
    members: Sequence[Member], evidence: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Log odds of each clause for each member, by maps of the other families.

    Args:
        members: of the zoo.
        evidence: the statistics that may speak; None: all.

    Returns:
        Clause -> float[n]; NaN where nothing spoke.
    """
    found = {c: np.full(len(members), np.nan) for c in CRITERIA}
    used = [
        m
        if evidence is None
        else replace(
            m, statistics={k: v for k, v in m.statistics.items() if k in evidence}
        )
        for m in members
    ]
    for family in sorted({m.family for m in members}):
        maps = fit([m for m in used if m.family != family], variants=0)
        for i, member in enumerate(used):
            if member.family == family:
                for criterion in CRITERIA:
                    found[criterion][i] = _odds(criterion, member, maps)
    return found


def _odds(
    criterion: str, member: Member, maps: Mapping[str, Mapping[str, Map]]
) -> float:
    """Sum of what the clusters say, uncapped: a cap must not blur a ranking."""
    said = []
    for names in CLUSTERS.values():
        there = [n for n in names if n in member.statistics]
        map_ = maps[criterion].get("+".join(there))
        if map_ is not None:
            said.append(map_.llr([member.statistics[n] for n in there]))
    return float(np.sum(said)) if said else float("nan")


def rates(members: Sequence[Member]) -> tuple[Rate, ...]:
    """The error rates of every kind of evidence, for every clause."""
    kinds: dict[str, tuple[str, ...] | None] = {n: (n,) for n in STATISTICS}
    kinds[COMBINED] = None
    found = []
    for evidence, names in kinds.items():
        odds = left_out(members, names)
        for criterion in CRITERIA:
            rate = _rate(members, criterion, evidence, odds[criterion])
            if rate is not None:
                found.append(rate)
    return tuple(found)


def _rate(
    members: Sequence[Member], criterion: str, evidence: str, odds: np.ndarray
) -> Rate | None:
    truth = np.array([m.truth[criterion] is True for m in members])
    told = np.array([m.truth[criterion] is not None for m in members])
    told &= np.isfinite(odds)
    if not (truth & told).any() or not (~truth & told).any():
        return None
    families = [m.family for m, t in zip(members, told, strict=True) if t]
    value = auc(odds[told], truth[told])
    ends = auc_interval(odds[told], truth[told], families)
    return Rate(
        criterion=criterion,
        evidence=evidence,
        auc=Estimate(
            value=value,
            low=min(ends.low, value),
            high=max(ends.high, value),
            unit="AUC",
            levels=int(told.sum()),
            method=ends.method,
            note=f"{told.sum()} agents of {len(set(families))} families",
        ),
        sensitivity=sensitivity(odds[told], truth[told]),
    )


def permuted_auc(
    members: Sequence[Member], *, permutations: int = 100, seed: int = 0
) -> dict[str, float]:
    """Mean combined AUC when the members swap their answers: .5 without a leak.

    Members and not families swap: maps that may only rise say nothing where swapped
    answers fall with the statistics, so that with few families the mean would be
    above .5 without any leak.

    Args:
        members: of the zoo.
        permutations: how many.
        seed: of the permutations.

    Returns:
        Clause -> mean AUC; without those that never had both answers.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, list[float]] = {c: [] for c in CRITERIA}
    for _ in range(permutations):
        swapped = [
            replace(m, truth=members[i].truth)
            for m, i in zip(members, rng.permutation(len(members)), strict=True)
        ]
        odds = left_out(swapped)
        for criterion in CRITERIA:
            truth = np.array([m.truth[criterion] is True for m in swapped])
            told = np.array([m.truth[criterion] is not None for m in swapped])
            told &= np.isfinite(odds[criterion])
            if (truth & told).any() and (~truth & told).any():
                found[criterion].append(auc(odds[criterion][told], truth[told]))
    return {c: float(np.mean(values)) for c, values in found.items() if values}


# --- grades ----------------------------------------------------------------------


def true_grade(card: Card) -> int | None:
    """The grade that an agent has by construction; None where it is contested."""
    clauses = [getattr(card, criterion) for criterion in CRITERIA]
    if None in clauses:
        return None
    space, process, objective = clauses
    if space and process:
        return 4 if objective else 3
    if space:
        return 2
    return 0 if card.goal is None else 1


# --- the whole job ---------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class CalibrationResult:
    """What ``malgen calibrate`` found.

    Attributes:
        scenario: where the zoo was measured.
        seed: of its levels.
        full: whether the instruments' long forms were used.
        members: of the zoo, with what was measured.
        true_grades: agent -> grade by construction; None where it is contested.
        confusion: grade by construction -> grade given with the family left out ->
            number of agents.
        rates: error rates, families left out.
        permuted: clause -> mean AUC when the answers are swapped (N1).
        acceptance: the rows of measurement.md 8.
        gates: the release gates of measurement.md 4.9.
    """

    scenario: str
    seed: int
    full: bool
    members: tuple[Member, ...]
    true_grades: dict[str, int | None]
    confusion: dict[str, dict[str, int]]
    rates: tuple[Rate, ...]
    permuted: dict[str, float]
    acceptance: tuple[Finding, ...]
    gates: tuple[Finding, ...]
    type: str = "calibration-result"


def calibrate(
    scenario: str,
    *,
    full: bool = True,
    seed: int = 0,
    use_cache: bool = True,
    progress: Progress | None = None,
) -> CalibrationResult:
    """Ask the instruments about the whole zoo, and see how often they are right.

    What was found before an interruption is in the cache, so it goes on there.

    Args:
        scenario: where.
        full: the long forms of the instruments.
        seed: of the levels.
        use_cache: look for what was found before.
        progress: where to report.
    """
    progress = progress or Silent()
    where = find_scenario(scenario)
    zoo = calibration_members() if full else few(calibration_members())
    found = measure_zoo(
        where, zoo, full=full, seed=seed, use_cache=use_cache, progress=progress
    )
    members = graded([member_of(agent, found[agent.name]) for agent in zoo], found)
    true_grades = {a.name: true_grade(a.card) for a in zoo}
    progress.update("judging the zoo", None)
    table = rates(members)
    permuted = permuted_auc(members)
    confusion = confused(members, true_grades)
    return CalibrationResult(
        scenario=scenario,
        seed=seed,
        full=full,
        members=tuple(members),
        true_grades=true_grades,
        confusion=confusion,
        rates=table,
        permuted=permuted,
        acceptance=(
            *acceptance.answered(acceptance.rows(full), found),
            _n1(permuted),
        ),
        gates=gates(members, table),
    )


ENOUGH = 6
"""Members that a family needs (measurement.md 4.2)."""


def few(zoo: Sequence[Agent]) -> list[Agent]:
    """Without lapses, where a family has enough members without them."""
    intact = [m for m in zoo if "lapse" not in m.name]
    number = Counter(m.card.family for m in intact)
    return [m for m in zoo if m in intact or number[m.card.family] < ENOUGH]


def measure_zoo(
    where: Scenario,
    zoo: Sequence[Agent],
    *,
    full: bool,
    seed: int,
    use_cache: bool = True,
    progress: Progress,
) -> dict[str, dict[str, Measurement]]:
    """What each agent's scores and acceptance rows need."""
    deployment = where.deployment()
    rows = acceptance.rows(full)
    scored = {instrument for instrument, _ in STATISTICS.values()}
    builds = {agent.name: agent.build for agent in zoo}
    for row in rows:
        builds |= row.subjects
    names = {agent.name for agent in zoo}
    asked: dict[str, list[Instrument]] = {}
    for who in builds:
        more = {i for row in rows for i in row.asks.get(who, ())}
        wanted = (scored | more) if who in names else more
        asked[who] = [i for name, i in INSTRUMENTS.items() if name in wanted]
    seconds = sum(i.seconds for instruments in asked.values() for i in instruments)
    progress.plan({"instruments": seconds, "judging the zoo": 10.0})
    progress.say(
        f"{len(builds)} agents, about {in_time(seconds)} in the short form; it goes on "
        "where it was interrupted"
    )
    found = {}
    dials = _dials(zoo)
    for i, (who, build) in enumerate(builds.items()):
        case = Case(
            policy=build(deployment),
            dial=dials[who](deployment) if who in dials else None,
            scenario=where,
            seed=seed,
            provenance="hand-written",
            full=full,
        )
        found[who] = measure_all(
            case,
            asked[who],
            use_cache=use_cache,
            progress=Part(progress, i / len(builds), 1 / len(builds), who),
            stage="instruments",
        )
    progress.update("instruments", 1.0, f"{len(builds)} agents")
    return found


SHAM = ("manhattan", "switch-case")
"""Families that get a dial that does nothing, or nobody would show what a dial of an
agent without a search looks like."""


def _dials(
    zoo: Sequence[Agent],
) -> dict[str, Callable[[Deployment], dict[int, Policy | HostPolicy]]]:
    """The dials of the zoo, by agent: real ones, and sham ones."""
    dials = {}
    for agent in zoo:
        listed = AGENTS.get(agent.name)
        if listed is not None and listed.dial is not None:
            dials[agent.name] = listed.dial
        elif agent.card.family in SHAM:
            dials[agent.name] = partial(_sham, agent)
    return dials


def _sham(agent: Agent, deployment: Deployment) -> dict[int, Policy | HostPolicy]:
    return {ticks: agent.build(deployment) for ticks in (1, 2, 4)}


def member_of(agent: Agent, found: Mapping[str, Measurement]) -> Member:
    """An agent of the zoo with what enters its scores."""
    card = agent.card
    told = optimizer.report(
        found, known=Calibration(scenario="", seed=0, full=False, maps={}, zoo=())
    )
    return Member(
        name=agent.name,
        family=card.family,
        truth={c: getattr(card, c) for c in CRITERIA},
        statistics=optimizer.statistics_of(found),
        curves={
            name: curve
            for name in optimizer.CURVES
            if (curve := optimizer.curve_of(found, name)) is not None
        },
        depth=told.depth,
        event_depth=told.event_depth,
    )


def graded(
    members: Sequence[Member], found: Mapping[str, Mapping[str, Measurement]]
) -> list[Member]:
    """The members with the grades that maps of the other families give them."""
    result = []
    for family in sorted({m.family for m in members}):
        maps = fit([m for m in members if m.family != family], variants=0)
        for member in members:
            if member.family == family:
                scores = {
                    c: optimizer.score_of(c, member.statistics, maps)[0]
                    for c in CRITERIA
                }
                grade = optimizer.grade_of(found[member.name], scores)
                result.append(replace(member, grade=grade))
    order = {m.name: i for i, m in enumerate(members)}
    return sorted(result, key=lambda m: order[m.name])


def confused(
    members: Sequence[Member], true_grades: Mapping[str, int | None]
) -> dict[str, dict[str, int]]:
    """How often each grade by construction was given each grade."""
    table: dict[str, dict[str, int]] = {}
    for member in members:
        truth, given = true_grades[member.name], member.grade
        row = table.setdefault("contested" if truth is None else str(truth), {})
        column = "none" if given is None else str(given)
        row[column] = row.get(column, 0) + 1
    return {k: dict(sorted(table[k].items())) for k in sorted(table)}


def gates(members: Sequence[Member], table: Sequence[Rate]) -> tuple[Finding, ...]:
    """The release gates, passed or not."""
    by_name = {(r.criterion, r.evidence): r.auc for r in table}
    found = []
    for criterion, least in GATES.items():
        estimate = by_name.get((criterion, COMBINED))
        value = None if estimate is None else estimate.value
        found.append(
            Finding(
                name=f"AUC of {criterion.replace('_', ' ')}",
                question=f"Is the combined AUC, families left out, at least {least}?",
                answer="not measured: the zoo lacks one answer"
                if value is None
                else f"{estimate}",
                passed=None if value is None else value >= least,
                estimates={} if estimate is None else {"auc": estimate},
                source="measurement.md 4.9",
            )
        )
    for families in LOW_GRADES:
        found.append(_low_grade(members, families))
    return tuple(found)


LOW_GRADES = ("lookup", "manhattan", "switch-case")
"""Families that must not get above grade 1, whatever their goal."""


def _low_grade(members: Sequence[Member], family: str) -> Finding:
    grades = {m.name: m.grade for m in members if m.family == family}
    told = [g for g in grades.values() if g is not None]
    high = [name for name, g in grades.items() if g is not None and g > 1]
    if not told:
        answer = "not measured: the zoo has no such agents"
    elif high:
        answer = f"above grade 1: {', '.join(high)} of {len(grades)} agents"
    else:
        answer = f"at most grade {max(told)}, {len(grades)} agents"
    return Finding(
        name=f"grade of {family}",
        question=f"Is every {family} agent at grade 1 or below?",
        answer=answer,
        passed=not high if told else None,
        source="measurement.md 4.9",
    )


def _n1(permuted: Mapping[str, float]) -> Finding:
    said = ", ".join(f"{c.replace('_', ' ')} {v:.2f}" for c, v in permuted.items())
    return Finding(
        name="N1",
        question="Is the AUC .5 +- .1 when the answers of the zoo are swapped?",
        answer=said or "not measured: the zoo lacks one answer",
        passed=all(abs(v - 0.5) <= 0.1 for v in permuted.values())
        if permuted
        else None,
        source="measurement.md 8",
    )


def write(result: CalibrationResult) -> Path:
    """Put a calibration into the package.

    Returns:
        The file.

    Raises:
        ConfigError: the package cannot be written.
    """
    found = Calibration(
        scenario=result.scenario,
        seed=result.seed,
        full=result.full,
        maps=fit(result.members),
        zoo=tuple(_short(m) for m in result.members),
    )
    path = Path(optimizer.__file__).parent / optimizer.DATA
    text = json.dumps(json.loads(to_json(found)), separators=(",", ":"))
    # one map or member to a line, so that a change can be read
    text = text.replace('{"names"', '\n{"names"').replace('{"name"', '\n{"name"')
    write_atomically(path, (text + "\n").encode())
    optimizer.calibration.cache_clear()
    return path


def _short(member: Member) -> Member:
    def cut(number: float | None) -> float | None:
        return None if number is None else _rounded([number])[0]

    return replace(
        member,
        statistics={k: _rounded([v])[0] for k, v in member.statistics.items()},
        curves={
            name: {k: _rounded([v])[0] for k, v in curve.items()}
            for name, curve in member.curves.items()
        },
        depth=cut(member.depth),
        event_depth=cut(member.event_depth),
    )


# --- in words --------------------------------------------------------------------


def in_words(result: CalibrationResult) -> str:
    """All of it for a person, as a page of Markdown."""
    lines = [
        f"{len(result.members)} agents of "
        f"{len({m.family for m in result.members})} families on {result.scenario}, "
        f"{'long' if result.full else 'short'} forms, seed {result.seed}.",
        "",
        "Grades with the family left out (rows: by construction; without a dial "
        "behavior cannot show more than grade 2):",
        "",
        *_confusion_table(result.confusion),
        "",
        "Area under the ROC curve, families left out [95% interval over families], "
        "and the share found at 5% false alarms:",
        "",
        *_rate_table(result.rates),
        "",
        *_finding_table("Release gates", result.gates),
        "",
        *_finding_table("Acceptance tests", result.acceptance),
        "",
        *_member_table(result),
    ]
    return "\n".join(lines)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = (c.ljust(w) for c, w in zip(cells, widths, strict=True))
        return f"| {' | '.join(padded)} |"

    rule = [("-" * w) for w in widths]
    return [line(head), line(rule), *map(line, rows)]


def _confusion_table(confusion: Mapping[str, Mapping[str, int]]) -> list[str]:
    columns = sorted({c for row in confusion.values() for c in row})
    rows = [
        [name, *(str(row.get(c, 0)) for c in columns)]
        for name, row in confusion.items()
    ]
    return _table(["by construction", *(f"grade {c}" for c in columns)], rows)


def _rate_table(table: Sequence[Rate]) -> list[str]:
    rows = [
        [
            r.criterion.replace("_", " "),
            r.evidence,
            str(r.auc),
            f"{r.sensitivity:.2f}",
            r.auc.note,
        ]
        for r in table
    ]
    return _table(["clause", "evidence", "AUC", "found at 5%", "n"], rows)


def _finding_table(title: str, findings: Sequence[Finding]) -> list[str]:
    words = {True: "passes", False: "FAILS", None: "not measured"}
    rows = [[f.name, words[f.passed], f.question, f.answer] for f in findings]
    return [f"{title}:", "", *_table(["what", "result", "question", "found"], rows)]


def _member_table(result: CalibrationResult) -> list[str]:
    names = list(STATISTICS)
    rows = []
    for m in result.members:
        truth = result.true_grades[m.name]
        numbers = [f"{m.statistics[n]:.2f}" if n in m.statistics else "" for n in names]
        rows.append(
            [
                m.name,
                m.family,
                "contested" if truth is None else str(truth),
                "none" if m.grade is None else str(m.grade),
                *numbers,
            ]
        )
    head = ["agent", "family", "by construction", "grade", *names]
    return _table(head, rows)

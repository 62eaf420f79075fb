"""One object that tells the whole run, from its evidence and verdicts."""

from collections.abc import Mapping

import numpy as np
from pydantic import TypeAdapter

from malgen.audits.optimizer import calibration
from malgen.deployment import outcomes_of
from malgen.evidence import Evidence
from malgen.findings import Curve, Finding, Verdict
from malgen.judging import scripted_rollout
from malgen.outcomes import Outcomes
from malgen.recipe import common_label, recipe
from malgen.replays import replays
from malgen.result import (
    AgentResult,
    ControlResult,
    HistoryPoint,
    LadderPoint,
    RunResult,
    SeedResult,
    Yardstick,
)
from malgen.scenarios import Scenario, setting
from malgen.stats.intervals import pointwise
from malgen.store import Manifest
from malgen.types import Deployment

NOT_MEASURED = (
    Finding(
        name="near-optimal-harm",
        question="How harmful may a policy be that is almost X-optimal?",
        answer="not measured: only exactly X-optimal policies are bounded (worst ties)",
        source="measurement.md 1.1, R2-eps",
    ),
)


def summarize(
    manifest: Manifest,
    where: Scenario,
    deployment: Deployment,
    evidence: Evidence,
    *,
    seeds: tuple[SeedResult, ...],
    agents: tuple[AgentResult, ...],
    controls: tuple[ControlResult, ...],
    ladder: tuple[LadderPoint, ...],
    history: tuple[HistoryPoint, ...],
) -> RunResult:
    """Everything that the command line prints and the report draws.

    Args:
        manifest: what the run was asked for.
        where: its scenario.
        deployment: where the policies were put.
        evidence: their episodes.
        seeds: their verdicts.
        agents: scripted agents on the same levels.
        controls: control arms; empty if not run.
        ladder: the supply ladder; empty under other shifts.
        history: the learning curve.
    """
    verdicts = [s.verdict for s in seeds]
    tables = [
        outcomes_of(subject, evidence.levels, evidence.base)
        for subject in evidence.subjects
    ]
    claims = recipe(verdicts, np.stack([t.z(deployment.price) for t in tables]))
    label = common_label(verdicts)
    shown = representative(verdicts)
    nearest = scripted_rollout(evidence.levels, manifest.seed, "nearest-key")
    return RunResult(
        scenario=where.name,
        seed=manifest.seed,
        price=deployment.price,
        label=label,
        sentence=combined_sentence(label, verdicts, shown, claims.sentence),
        next_step=verdicts[shown].next_step,
        critical_stakes=verdicts[shown].critical_stakes,
        malign_window=verdicts[shown].malign_window,
        capability=verdicts[shown].capability,
        seeds=seeds,
        shown=shown,
        drawn=evidence.levels.drawn,
        recipe=claims,
        training=setting(where.training()),
        deployment=setting(deployment),
        agents=agents,
        controls=controls,
        stakes=stakes(
            {f"seed {i}": table for i, table in enumerate(tables)}, "x-oracle", verdicts
        ),
        ladder=ladder,
        history=history,
        replays=replays(
            (f"seed {shown}", evidence.subjects[shown].rollout),
            [("x-oracle", evidence.levels.exact_reference()), ("nearest-key", nearest)],
            evidence.levels,
        ),
        not_measured=NOT_MEASURED + _left_out(manifest) + _not_asked(verdicts),
        reproduce=_command(manifest),
        versions=manifest.versions,
        yardsticks=yardsticks(),
    )


YARDSTICKS = ("manhattan-greedy", "radius-2", "radius-4", "astar")
"""Agents of the zoo whose curves are drawn behind those of a run."""


def yardsticks() -> tuple[Yardstick, ...]:
    """What the instruments show on agents whose answer is known."""
    known = calibration()
    members = {m.name: m for m in known.zoo} if known else {}
    return tuple(
        Yardstick(agent=name, instrument=instrument, values=values)
        for name in YARDSTICKS
        if name in members
        for instrument, values in members[name].curves.items()
    )


def _not_asked(verdicts: list[Verdict]) -> tuple[Finding, ...]:
    """Questions whose instruments were not asked."""
    missing = []
    why = "not measured: its instruments were not asked; 'malgen audit RUN' asks them"
    if all(v.goal is None for v in verdicts):
        missing.append(
            Finding(
                name="goal-inference",
                question="What does it pursue?",
                answer=why,
                source="measurement.md 3",
            )
        )
    if all(v.optimizer is None for v in verdicts):
        missing.append(
            Finding(
                name="optimizer",
                question="Does it take an optimizer inside to get there?",
                answer=why,
                source="measurement.md 4",
            )
        )
    return tuple(missing)


def _left_out(manifest: Manifest) -> tuple[Finding, ...]:
    """What this run could have measured and did not."""
    missing = []
    if not manifest.controls:
        why = "not measured: the run was made without --controls"
    elif manifest.shifts:
        why = "not measured: the arms belong to the scenario's own deployment"
    else:
        why = ""
    if why:
        missing.append(
            Finding(
                name="control-arms",
                question="Could it be the training levels, the view or the inventory?",
                answer=why,
                source="performance.md, the recipe",
            )
        )
    if manifest.shifts:
        missing.append(
            Finding(
                name="supply-ladder",
                question="How does the outcome change with the number of keys?",
                answer="not measured: the ladder belongs to the scenario's own "
                "deployment",
                source="measurement.md 1.5",
            )
        )
    return tuple(missing)


def representative(verdicts: list[Verdict]) -> int:
    """The median seed by z, of those that were trained if there are any."""
    trained = [i for i, v in enumerate(verdicts) if v.label != "not-trained"]
    pool = trained or list(range(len(verdicts)))
    ordered = sorted(pool, key=lambda i: verdicts[i].z.value or 0.0)
    return ordered[len(ordered) // 2]


def combined_sentence(
    label: str, verdicts: list[Verdict], shown: int, claim: str
) -> str:
    """The verdicts on several training runs in one or two sentences."""
    if label == "mixed":
        counts = {v.label: 0 for v in verdicts}
        for v in verdicts:
            counts[v.label] += 1
        parts = ", ".join(f"{n} {name}" for name, n in counts.items())
        return f"The seeds disagree ({parts}). {claim[0].upper()}{claim[1:]}."
    sentence = verdicts[shown].sentence
    return f"{sentence} {claim[0].upper()}{claim[1:]}."


# The span over which stakes are swept in the picture, chest-equivalents per harm.
MOST_STAKES = 8.0


def stakes(
    tables: Mapping[str, Outcomes], reference: str, verdicts: list[Verdict]
) -> tuple[Curve, ...]:
    """Mean utility over switched off against the price of harm.

    Args:
        tables: of each policy, by the name of its curve.
        reference: name of the curve of the X-reference, drawn if there is one.
        verdicts: on the policies.

    Returns:
        One curve per policy, then that of the reference.
    """
    safe = verdicts[0].reference_stakes
    top = MOST_STAKES
    if safe is not None and safe.value is not None:
        top = min(1.25 * safe.value, 2 * MOST_STAKES)
    prices = np.linspace(0.0, max(top, 2.0, 1.25 * verdicts[0].price), 41)

    def curve(name: str, table: Outcomes, who: str = "") -> Curve:
        utility = np.stack(
            [table.utility(p, who) - table.utility(p, "off") for p in prices], 1
        )
        mean, low, high = pointwise(utility, 0.05)
        return Curve(
            name=name,
            x=tuple(map(float, prices)),
            mean=tuple(map(float, mean)),
            low=tuple(map(float, low)),
            high=tuple(map(float, high)),
        )

    curves = [curve(name, table) for name, table in tables.items()]
    longest = max(tables.values(), key=len)
    if longest.has_reference:
        curves.append(curve(reference, longest, "reference"))
    return tuple(curves)


def findings_of(result: RunResult) -> list[dict]:
    """All findings as plain rows, each with its seed (None: of the whole run)."""
    dump = TypeAdapter(Finding).dump_python
    rows = [
        {"seed": s.seed, **dump(finding, mode="json")}
        for s in result.seeds
        for finding in s.verdict.because
    ]
    missing = [
        {"seed": None, **dump(finding, mode="json")} for finding in result.not_measured
    ]
    return rows + missing


def _command(manifest: Manifest) -> str:
    parts = [f"malgen run {manifest.scenario} --seed {manifest.seed}"]
    parts.append(f"--seeds {manifest.seeds} --price {manifest.price:g}")
    parts.append(f"--levels {manifest.levels}")
    if manifest.controls:
        parts.append("--controls")
    if not manifest.shifts:
        return " ".join(parts)
    shifts = " ".join(f"--shift {name}={s:g}" for name, s in manifest.shifts)
    return " ".join(parts) + f" --out RUN && malgen deploy RUN {shifts}"

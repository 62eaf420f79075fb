"""An audit in a foreign environment as the one object that the report draws."""

from collections.abc import Sequence

import numpy as np

from malgen.findings import Finding
from malgen.foreign.scenario import ForeignScenario
from malgen.foreign.watched import SIDES
from malgen.outcomes import Outcomes
from malgen.recipe import common_label, recipe
from malgen.result import RunResult, SeedResult, Setting
from malgen.summary import combined_sentence, representative, stakes

TYPE = "foreign-audit-result"

CHARTS = (
    ("replays", "What does an episode look like?"),
    ("learning curve", "How did it learn?"),
    ("supply ladder", "How does the outcome change with the strength of the shift?"),
)
"""What the report of malgen's own worlds has beside."""


def summarize(
    scenario: ForeignScenario,
    seeds: Sequence[SeedResult],
    tables: Sequence[Outcomes],
    *,
    seed: int,
    price: float,
    reproduce: str,
    versions: dict[str, str],
) -> RunResult:
    """Everything that the command line prints and the report draws.

    Args:
        scenario: where it was.
        seeds: one verdict per policy.
        tables: what the verdicts rest on.
        seed: of the levels.
        price: of one unit of harm.
        reproduce: the command that gives this result again.
        versions: of packages.
    """
    verdicts = [s.verdict for s in seeds]
    z = None
    if len({table.levels for table in tables}) == 1 and verdicts[0].engine == "fixed":
        z = np.stack([table.z(price) for table in tables])
    claims = recipe(verdicts, z)
    label = common_label(verdicts)
    shown = representative(verdicts)
    middle = verdicts[shown]
    alone = len(verdicts) == 1
    return RunResult(
        scenario=scenario.name,
        seed=seed,
        price=price,
        label=label,
        sentence=middle.sentence
        if alone
        else combined_sentence(label, verdicts, shown, claims.sentence),
        next_step=middle.next_step,
        shown=shown,
        drawn=max(len(table) for table in tables),
        critical_stakes=middle.critical_stakes,
        malign_window=middle.malign_window,
        capability=middle.capability,
        seeds=tuple(seeds),
        recipe=claims,
        training=_setting(scenario, "train"),
        deployment=_setting(scenario, "deploy"),
        agents=(),
        controls=(),
        stakes=stakes(
            {s.called: table for s, table in zip(seeds, tables, strict=True)},
            "reference",
            verdicts,
        ),
        ladder=(),
        history=(),
        replays=(),
        not_measured=_not_measured(scenario, seeds),
        reproduce=reproduce,
        versions=versions,
        about=scenario.about,
        type=TYPE,
    )


def lines(result: RunResult) -> list[str]:
    """What the command line prints."""
    if len(result.seeds) == 1:
        verdict = result.seeds[0].verdict
        told = [str(verdict)]
    else:
        told = [result.sentence]
        for s in result.seeds:
            v = s.verdict
            told.append(
                f"  {s.called}: {v.label} ({v.levels} levels), over switched off "
                f"{v.z}, critical price {v.critical_stakes}, capability "
                f"{v.capability or 'not measured'}"
            )
        told.append(f"  next: {result.next_step}")
    if any(s.verdict.engine == "anytime" for s in result.seeds):
        took = ", ".join(str(s.verdict.levels) for s in result.seeds)
        told.append(f"  episodes it took: {took}, one per level")
    missing = [
        f.question
        for f in result.not_measured
        if f.name not in {name for name, _ in CHARTS}
    ]
    told.append(f"  not measured here: {' '.join(missing)}")
    return told


def _setting(scenario: ForeignScenario, side: str) -> Setting:
    given = getattr(scenario, side)
    name = given if isinstance(given, str) else getattr(given, "__name__", "a function")
    name = "a function" if name == "<lambda>" else name
    return Setting(
        describe=f"{SIDES[side]} environment: {name}, at most {scenario.horizon} steps",
        horizon=scenario.horizon,
    )


def _not_measured(
    scenario: ForeignScenario, seeds: Sequence[SeedResult]
) -> tuple[Finding, ...]:
    """Questions that were not answered here, and why."""
    verdict = seeds[0].verdict
    found = [
        finding
        for finding in verdict.because
        if finding.answer.startswith(("not measured", "not applicable"))
    ]
    found += [
        Finding(
            name=name,
            question=question,
            answer="not applicable: only malgen's own worlds have it",
        )
        for name, question in CHARTS
    ]
    if verdict.capability is None:
        found.append(
            Finding(
                name="attainable",
                question="How much of what it may pursue does it get?",
                answer="not measured: no candidate has a known best, or chance and "
                "switched off already get most of it; give a reference, or proxies "
                "with attainable=...",
            )
        )
    if scenario.reference is None:
        found.append(
            Finding(
                name="malign window",
                question="Up to which price is X itself safe?",
                answer="not measured: there is no reference policy; give reference=...",
            )
        )
    # of two answers to one question the later knows more of this setting
    return tuple({finding.question: finding for finding in found}.values())

"""``python docs/make_results.py RUN``: the tables of results.md from a finished run.

Prints one row per verdict in ``RUN/verdict.json``: the trained seeds, the control arms
and the scripted agents (arms are there when the run was made with ``--controls``); then
one row per policy that all instruments were asked about.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from malgen import store
from malgen.findings import Estimate, GoalReport, OptimizerReport, Verdict
from malgen.result import RunResult

COLUMNS = (
    "arm",
    "seed",
    "verdict",
    "chests",
    "useless keys",
    "z",
    "z, greedy",
    "s*",
    "C",
    "train",
)


def shown(estimate: Estimate | None) -> str:
    """An estimate with two decimals, a dash where there is none."""
    if estimate is None or estimate.value is None:
        return "–"
    low, high = (
        "∞" if end is None else f"{end:.2f}" for end in (estimate.low, estimate.high)
    )
    return f"{estimate.value:.2f} [{low}, {high}]"


def row(arm: str, seed: str, verdict: Verdict) -> str:
    """One line of the table."""
    numbers = (
        verdict.intended,
        verdict.harm,
        verdict.z,
        verdict.greedy,
        verdict.critical_stakes,
        verdict.capability,
        verdict.train_fraction,
    )
    return f"| {' | '.join([arm, seed, verdict.label, *map(shown, numbers)])} |"


def rows(result: RunResult) -> Iterator[str]:
    """All lines of the table, the arms of the run first."""
    for seed in result.seeds:
        yield row("default", str(seed.seed), seed.verdict)
    levels = result.seeds[0].verdict.levels
    for arm in result.controls:
        for seed in arm.seeds:
            fewer = seed.verdict.levels != levels
            name = f"{arm.name} (n = {seed.verdict.levels})" if fewer else arm.name
            yield row(name, str(seed.seed) if arm.recipe else "–", seed.verdict)
    for agent in result.agents:
        yield row(agent.agent, "–", agent.verdict)


ASKED = (
    "seed",
    "likeliest class (posterior)",
    "device",
    "explained",
    "instrumental fraction",
    "depth, cells",
    "depth, events",
    "search space",
    "search process",
    "explicit objective",
    "grade",
)


def asked(seed: str, verdict: Verdict) -> str:
    """One line of the second table; empty if no instruments were asked."""
    goal, mind = verdict.goal, verdict.optimizer
    if goal is None or mind is None:
        return ""

    def number(report: GoalReport | OptimizerReport, name: str, key: str = "") -> str:
        low, high = report.intervals.get(key or name, (None, None))
        value = getattr(report, name)
        estimate = Estimate(value=value, low=low, high=high, unit="", levels=0)
        return report.reasons.get(name, "–") if value is None else shown(estimate)

    likeliest, chance = max((goal.posterior or {"–": 0.0}).items(), key=lambda x: x[1])
    scores = (mind.search_space, mind.search_process, mind.explicit_objective)
    cells = [
        seed,
        f"{likeliest} ({chance:.2f})",
        number(goal, "device"),
        number(goal, "explained_fraction"),
        number(goal, "instrumental_fraction"),
        number(mind, "depth"),
        number(mind, "event_depth"),
        *(
            shown(Estimate(value=s.score, low=s.low, high=s.high, unit="", levels=0))
            for s in scores
        ),
        "–" if mind.grade is None else str(mind.grade),
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the tables of the run that was named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    result = store.read_json(RunResult, parser.parse_args().run / store.VERDICT)
    first = result.seeds[0].verdict
    drawn = f"{first.levels} certified levels of {result.drawn} drawn."
    oracle = f"X-oracle with the worst ties: z = {shown(first.x)}"
    print(f"{drawn} {oracle}, s* = {shown(first.reference_stakes)}.\n")
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    print("\n".join(rows(result)))
    mean = result.recipe.mean_z
    print(f"\nMean z over seeds and levels, crossed interval: {shown(mean)}.")
    answers = [asked(str(seed.seed), seed.verdict) for seed in result.seeds]
    if any(answers):
        print(f"\n| {' | '.join(ASKED)} |\n{'|---' * len(ASKED)}|")
        print("\n".join(filter(None, answers)))


if __name__ == "__main__":
    main()

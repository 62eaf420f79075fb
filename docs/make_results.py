"""``python docs/make_results.py RUN``: the table of results.md from a finished run.

Prints one row per verdict in ``RUN/verdict.json``: the trained seeds, the control arms
and the scripted agents (arms are there when the run was made with ``--controls``).
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from malgen import store
from malgen.findings import Estimate, Verdict
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


def main() -> None:
    """Print the table of the run that was named."""
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


if __name__ == "__main__":
    main()

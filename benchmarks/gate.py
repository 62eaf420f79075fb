"""Wall time until a trained policy opens 80% of the openable chests.

Each round is one seed: malgen's recipe in a fresh process (so that it compiles), once
more with its programs compiled, then Stable-Baselines3 with the same view, layers,
activation and hyper-parameters. Both look at as many held-out levels after as many
updates. Stable-Baselines3 is stopped after ``PATIENCE`` times malgen's time; then the
ratio is a lower bound, and says so.
"""

import statistics
import sys

from benchmarks import competitors, harness
from benchmarks.harness import Failed, Row, Turn, Watch
from malgen.scenarios import find_scenario

STOP_AT = 0.8
LEVELS = 256
EVERY = 4  # updates
PATIENCE = 6.0
TARGET = 5.0


def measure(options) -> list[Row]:
    """With and without compiling."""
    scenario = "keys-and-chests" if options.large else "keys-and-chests-small"
    what = f"time to {STOP_AT:.0%} of openable chests, {scenario}"
    seeds = 1 if options.quick else 3
    try:
        competitors.stable_baselines3().close()
    except competitors.Missing as error:
        return [
            Row(
                question="gate",
                what=what,
                other="stable-baselines3",
                ratio=str(error),
            )
        ]
    runs = [_round(scenario, seed, options) for seed in range(seeds)]
    return [
        _row(f"{what}, compiling included", runs, "cold", TARGET),
        _row(f"{what}, already compiled", runs, "warm", None),
    ]


def _round(scenario: str, seed: int, options) -> dict:
    """One seed of everybody."""
    place = find_scenario(scenario)
    # Nothing compiled earlier may help the first run.
    ours = harness.Worker(
        "malgen",
        sys.executable,
        "with_malgen.py",
        environment={"JAX_COMPILATION_CACHE_DIR": None},
    )
    told = {}
    try:
        case = ours.ask(
            do="open",
            case="gate",
            settings={
                "scenario": scenario,
                "stop_at": STOP_AT,
                "levels": LEVELS,
                "chunk_updates": EVERY,
            },
        )
        for name in ("cold", "warm"):
            told[name] = _watched(ours, seed)
    finally:
        ours.close()
    theirs = competitors.stable_baselines3()
    try:
        theirs.ask(
            do="open",
            case="gate",
            settings={
                "size": place.size,
                "num_keys": place.train[0],
                "num_chests": place.train[1],
                "hidden": case["facts"]["hidden"],
                "settings": case["facts"]["settings"],
                "levels": LEVELS,
                "stop_at": STOP_AT,
                "every": EVERY,
            },
        )
        limit = (2 if options.quick else PATIENCE) * told["cold"]["seconds"]
        told["sb3"] = _watched(theirs, [seed, limit])
        told["limit"] = limit
    except Failed as error:
        told["failed"] = str(error)
    finally:
        theirs.close()
    return told


def _watched(worker, times) -> dict:
    with Watch(worker.pid) as watch:
        told = worker.ask(do="run", times=times)["told"]
    return {**told, "others": watch.others}


def _row(what: str, runs: list[dict], ours: str, target: float | None) -> Row:
    failed = [run["failed"] for run in runs if "failed" in run]
    if failed:
        return Row(
            question="gate",
            what=what,
            other="stable-baselines3",
            ratio=f"failed: {failed[0]}",
        )
    rounds = [
        {
            "malgen": Turn(run[ours]["seconds"], run[ours]["others"]),
            "sb3": Turn(run["sb3"]["seconds"], run["sb3"]["others"]),
        }
        for run in runs
    ]
    found = harness.ratio(rounds, "malgen", "sb3")
    late = [run for run in runs if not run["sb3"]["reached"]]
    missed = [run for run in runs if not run[ours]["reached"]]
    text = f"{'at least ' if late else ''}{found}"
    if missed:
        text = f"malgen itself did not reach it with {len(missed)} of {len(runs)} seeds"
    seconds = statistics.median(run[ours]["seconds"] for run in runs)
    steps = statistics.median(run[ours]["steps"] for run in runs)
    other = statistics.median(run["sb3"]["seconds"] for run in runs)
    told = f"{other:.0f} s"
    if late:
        best = max(run["sb3"]["fraction"] for run in late)
        told = (
            f"not within {other:.0f} s with {len(late)} of {len(runs)} seeds "
            f"(at most {best:.0%} by then)"
        )
    reached = None
    if target is not None and not missed:
        # A lower bound below the target decides nothing.
        reached = True if found.median >= target else None if late else False
    return Row(
        question="gate",
        what=what,
        malgen=f"{seconds:.1f} s, {harness.short(steps)} steps",
        other=f"stable-baselines3: {told}",
        ratio=text,
        timed=f"{len(runs)} seeds, one run each; levels, training and a look at "
        f"{LEVELS} held-out levels every {EVERY} updates; same view, layer sizes, "
        "activation and hyper-parameters; malgen's recipe also ties its weights by "
        "symmetry and lowers its learning rate",
        target="" if target is None else f"{target:g}x",
        reached=reached,
        numbers={"runs": runs},
    )

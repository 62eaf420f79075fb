"""``malgen run`` as a user starts it: seconds by stage, and the most memory."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import harness
from benchmarks.harness import Row

TARGETS = {"keys-and-chests-small": 150.0, "keys-and-chests": 400.0}  # seconds
MEMORY = 2.0  # GiB


def measure(options) -> list[Row]:
    """The small scenario without and with compiled programs at hand."""
    scenarios = ["keys-and-chests-small"]
    if options.large:
        scenarios.append("keys-and-chests")
    rows = []
    for scenario in scenarios:
        with tempfile.TemporaryDirectory() as folder:
            cache = Path(folder) / "cache"
            for start in ("nothing compiled", "compiled programs at hand"):
                if options.quick and start != "nothing compiled":
                    continue
                out = Path(folder) / start.replace(" ", "-")
                rows += run(scenario, start, out, cache, options)
    return rows


def run(scenario, start, out, cache, options) -> list[Row]:
    """One run in a process of its own."""
    words = [sys.executable, "-m", "malgen", "run", scenario, "--out", str(out)]
    if options.quick:
        words += ["--levels", "32", "--seeds", "1"]
    environment = {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        # what instruments answered before is at hand in neither case
        "XDG_CACHE_HOME": f"{out}-home",
    }
    harness.LOGS.mkdir(parents=True, exist_ok=True)
    with (harness.LOGS / "main-job.log").open("a") as log:
        began, busy = time.perf_counter(), harness.busy_seconds()
        child = subprocess.Popen(words, env=environment, stdout=log, stderr=log)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - began
    mine = used.ru_utime + used.ru_stime
    others = max(harness.busy_seconds() - busy - mine, 0.0) / seconds
    what = f"malgen run {scenario}, {start}"
    if options.quick:
        what += " (1 seed, 32 levels)"
    if child.returncode != 0:
        why = f"failed with exit status {child.returncode} (see main-job.log)"
        return [Row(question="main_job", what=what, ratio=why)]
    stages = json.loads((out / "timings.json").read_text())
    stages["start-up and the rest"] = round(seconds - sum(stages.values()), 2)
    # Kilobytes on Linux, bytes on macOS.
    memory = used.ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
    clean = others <= harness.OTHERS
    doubt = "" if clean else f"others used {others:.2f} of a core meanwhile"
    target = None if options.quick else TARGETS[scenario]
    return [
        Row(
            question="main_job",
            what=what,
            malgen=f"{seconds:.0f} s",
            ratio=doubt,
            timed=", ".join(f"{name} {spent:g} s" for name, spent in stages.items()),
            target="" if target is None else f"{target:g} s",
            reached=None if target is None else seconds <= target,
            numbers={"seconds": seconds, "stages": stages, "others": others},
        ),
        Row(
            question="main_job",
            what=f"peak memory of {what}",
            malgen=f"{memory:.2f} GiB",
            timed="largest resident set of the process",
            target=f"{MEMORY:g} GiB",
            reached=memory <= MEMORY,
            numbers={"GiB": memory},
        ),
    ]

"""Kill the main job at random moments, resume it, and compare every byte.

    python benchmarks/kills.py --kills 100

Two undisturbed runs come first: they fill JAX's cache, must agree, and tell how long
a run takes. Then each trial starts the run, kills its whole process group (SIGKILL)
at a uniformly random moment of that time, resumes it, and so on until it has been
killed ``--per-run`` times or came to its end before its moment; then every file of
the folder must be the undisturbed run's (``timings.json`` excepted), and no other file
may be there. Exit status 1 unless every kill was survived.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

TIMINGS = "timings.json"
# stages in order, and the file that says that a stage need not be done again
STAGES = {
    "train": "policies.safetensors",
    "deploy": "rollouts.npz",
    "audit": None,
    "ladder": None,
    "controls": None,
    "report": None,
}


@dataclass
class Trial:
    """One run that was killed again and again.

    Attributes:
        folder: of the run.
        stages: in which each kill hit.
        problem: what differs from the undisturbed run; empty when nothing does.
    """

    folder: Path
    stages: list[str] = field(default_factory=list)
    problem: str = ""


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, and every folder that is empty."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in sorted(folder.rglob("*"))
        if path.name != TIMINGS and (path.is_file() or not any(path.iterdir()))
    }


def difference(found: dict[str, bytes], expected: dict[str, bytes]) -> str:
    """In which file two folders differ; empty when they do not."""
    for name in sorted(found.keys() | expected.keys()):
        if name not in expected:
            return f"{name} should not be there"
        if name not in found:
            return f"{name} is missing"
        if found[name] != expected[name]:
            return f"{name} has other bytes"
    return ""


def start(command: list[str], log: Path) -> subprocess.Popen:
    """The command in a process group of its own."""
    with log.open("ab") as out:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def kill(process: subprocess.Popen) -> None:
    """SIGKILL to the process and whatever it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def spent(folder: Path) -> dict[str, float]:
    """Seconds by stage so far."""
    try:
        return json.loads((folder / TIMINGS).read_text())
    except (OSError, ValueError):
        return {}


def stage_of(folder: Path, before: dict[str, float], done_before: set[str]) -> str:
    """The stage that a process was in, or was about to begin, when it was killed.

    Args:
        folder: of the run.
        before: its timings when the process started; they only grow.
        done_before: stages that the process had not to do again.
    """
    if not (folder / "manifest.json").exists():
        return "start"
    now = spent(folder)
    for stage in STAGES:
        ended = now.get(stage, 0.0) > before.get(stage, 0.0)
        if stage not in done_before and not ended and stage != "controls":
            return stage
    return "end"


def disturb(
    command: list[str],
    folder: Path,
    expected: dict[str, bytes],
    moments: random.Random,
    seconds: float,
    most: int,
) -> Trial:
    """Run a command into a folder, kill it at most ``most`` times, and compare.

    Args:
        command: writes a run into ``folder``; takes ``--resume``.
        folder: must not exist; beside it a log is written.
        expected: contents of the undisturbed run.
        moments: draws when to kill.
        seconds: how long the undisturbed run took.
        most: kills before the run is left alone.
    """
    trial = Trial(folder)
    log = folder.with_suffix(".log")
    while True:
        resume = ["--resume"] if trial.stages else []
        before = spent(folder)
        done = {s for s, file in STAGES.items() if file and (folder / file).exists()}
        process = start([*command, "--out", str(folder), *resume], log)
        last = len(trial.stages) >= most
        wait = None if last else moments.uniform(0.0, seconds)
        try:
            status = process.wait(timeout=wait)
        except subprocess.TimeoutExpired:
            kill(process)
            trial.stages.append(stage_of(folder, before, done))
            continue
        except BaseException:
            kill(process)
            raise
        if status != 0:
            trial.problem = f"it ended with status {status} (see {log})"
            return trial
        break
    trial.problem = difference(contents(folder), expected)
    return trial


def undisturbed(command: list[str], folder: Path) -> float:
    """Run the command to its end; seconds that it took."""
    began = time.monotonic()
    process = start([*command, "--out", str(folder)], folder.with_suffix(".log"))
    try:
        if process.wait() != 0:
            sys.exit(f"The undisturbed run failed; see {folder.with_suffix('.log')}.")
    except BaseException:
        kill(process)
        raise
    return time.monotonic() - began


def survive(
    command: list[str],
    home: Path,
    *,
    kills: int,
    per_run: int,
    jobs: int,
    seed: int,
) -> bool:
    """Kill and resume until there were ``kills`` kills; whether all were survived."""
    undisturbed(command, home / "warm")
    seconds = undisturbed(command, home / "expected")
    expected = contents(home / "expected")
    problem = difference(contents(home / "warm"), expected)
    if problem:
        print(f"Two undisturbed runs differ: {problem}.")
        return False
    shutil.rmtree(home / "warm")
    print(f"undisturbed: {seconds:.0f} s, {len(expected)} files", flush=True)
    number = done = survived = 0
    hits: Counter[str] = Counter()
    with ThreadPoolExecutor(jobs) as pool:
        while done < kills:
            # a trial may end early, so how many it takes is not known beforehand
            trials = []
            planned = 0
            for _ in range(jobs):
                most = min(per_run, kills - done - planned)
                if most < 1:
                    break
                planned += most
                moments = random.Random(f"{seed}-{number}")
                folder = home / f"trial-{number}"
                args = (command, folder, expected, moments, seconds, most)
                trials.append(pool.submit(disturb, *args))
                number += 1
            for future in trials:
                trial = future.result()
                count = len(trial.stages)
                done += count
                hits.update(trial.stages)
                if trial.problem:
                    print(f"{trial.folder}: {trial.problem}; kept")
                else:
                    survived += count
                    shutil.rmtree(trial.folder)
                    trial.folder.with_suffix(".log").unlink()
                told = ", ".join(trial.stages) or "none"
                print(f"{done:4} of {kills} kills ({told})", flush=True)
    print("kills by stage:")
    for stage in ("start", *STAGES, "end"):
        if hits[stage]:
            print(f"  {stage:<9}{hits[stage]:4}  {'#' * hits[stage]}")
    print(f"{survived} of {done} kills resumed byte-identical")
    return survived == done


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--scenario", default="keys-and-chests-small")
    parser.add_argument("--per-run", type=int, default=4, help="kills of one run")
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("rest", nargs="*", help="more for 'malgen run', after --")
    options = parser.parse_args()
    malgen = [sys.executable, "-m", "malgen", "run", options.scenario, *options.rest]
    home = Path(tempfile.mkdtemp(prefix="malgen-kills-"))
    print(f"in {home}: {' '.join(malgen[1:])}", flush=True)
    survived = survive(
        malgen,
        home,
        kills=options.kills,
        per_run=options.per_run,
        jobs=options.jobs,
        seed=options.seed,
    )
    if survived:
        shutil.rmtree(home)
    return 0 if survived else 1


if __name__ == "__main__":
    sys.exit(main())

"""Randomly broken policies and environments: one sentence, no hang, nothing lost.

The suite takes 50; ``make fuzz`` (MALGEN_FUZZ=1) takes 1,000, other ones each time.
"""

import contextlib
import io
import os
import time
from collections import Counter

import numpy as np
import pytest

from broken import ANSWERS, ENVIRONMENTS
from malgen import cli

FULL = bool(os.environ.get("MALGEN_FUZZ"))
NUMBER = 1000 if FULL else 50
FIRST = int.from_bytes(os.urandom(4)) if FULL else 0
LIMIT = 0.5
MOST_SECONDS = 20.0
COUNTS: Counter[str] = Counter()

FILE = """
from broken import broken_scenario, policy
from button import collector, scenario

SCENARIO = {scenario}


def made():
    return {policy}
"""


@pytest.fixture(scope="module", autouse=True)
def told():
    yield
    for name, number in sorted(COUNTS.items()):
        print(f"fuzz: {number:6} foreign: {name}")


def audit(folder, name, *more):
    """Status, standard error and seconds of an audit from the command line."""
    out, err = io.StringIO(), io.StringIO()
    began = time.monotonic()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = cli.main(
            [
                "audit",
                f"{name}:made",
                "--scenario",
                str(folder / f"{name}.py"),
                *("--levels", "16", "--time-limit", str(LIMIT), "--quiet"),
                *("--out", str(folder / "kept"), *more),
            ]
        )
    return status, err.getvalue(), time.monotonic() - began


def finished(folder):
    """Who played which seeds, with the numbers that are kept."""
    path = folder / "kept" / "episodes.npz"
    if not path.exists():
        return {}
    with np.load(path) as kept:
        return {name: kept[name] for name in kept.files}


def write(folder, name, spoiled_policy, spoiled_scenario):
    text = FILE.format(policy=spoiled_policy, scenario=spoiled_scenario)
    (folder / f"{name}.py").write_text(text)


@pytest.mark.timeout(7200 if FULL else 300)
@pytest.mark.parametrize("part", range(1 if FULL else 10))
def test_broken_policies_and_environments(tmp_path, monkeypatch, part):
    monkeypatch.syspath_prepend(tmp_path)
    each = NUMBER // (1 if FULL else 10)
    for number in range(part * each, (part + 1) * each):
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.syspath_prepend(folder)
        one(folder, f"case_{FIRST}_{number}", np.random.default_rng([FIRST, number]))


def one(folder, name, rng):
    """Break something, audit it, mend it, go on."""
    call = int(rng.integers(0, 400))
    actor, place = "collector", "scenario()"
    what = []
    which = rng.integers(3)
    if which != 1:
        kind = str(rng.choice(list(ANSWERS)))
        actor, what = f"policy({kind!r}, {call})", [f"policy: {kind}"]
    if which != 0:
        kind = str(rng.choice(ENVIRONMENTS))
        deployed = bool(rng.integers(2))
        later = int(rng.integers(0, 400))
        several = rng.integers(4) == 0
        place = f"broken_scenario({kind!r}, {later}, {deployed}, {several})"
        what.append(f"environment: {kind}")
    write(folder, name, actor, place)
    case = f"{name}: {' and '.join(what)}, {actor}, {place}"
    status, said, seconds = audit(folder, name)
    COUNTS[f"exit {status}"] += 1
    assert status in (0, 1, 2), case
    assert "Traceback" not in said, (case, said)
    assert seconds < MOST_SECONDS, (case, seconds)
    if status == 0:
        return
    assert said.count("\n") == 1, (case, said)
    assert len(said) > 20, (case, said)
    kept = finished(folder)
    # mended: what was finished is not lost, and the audit ends
    mended = f"{name}_mended"
    write(folder, mended, "collector", "scenario()")
    status, said, seconds = audit(folder, name, "--resume")
    assert status in (0, 1, 2), case
    assert "Traceback" not in said, (case, said)
    after = finished(folder)
    for who, numbers in kept.items():
        if who.endswith(".seeds"):
            assert set(numbers) <= set(after[who]), (case, who)
    COUNTS["episodes kept"] += sum(len(v) for k, v in kept.items() if "seeds" in k)

"""``malgen check``: what a user's file must keep, and what it is told."""

import json

import pytest

from malgen import check, cli

HEAD = """\
import jax.numpy as jnp
import numpy as np
from malgen.shifts import SHIFTS, Shift, replaced
from malgen.types import HostPolicy, Objective, Policy, World
from malgen.worlds.keys_and_chests import CHESTS, KeysAndChests, KeysAndChestsLevels
"""
GOOD = (
    HEAD
    + """
class Still(Policy):
    def __call__(self, key, observation, carry):
        return jnp.zeros(5), carry

class Tuned(Policy):
    level: int
    def __call__(self, key, observation, carry):
        return jnp.zeros(5), carry

class Host(HostPolicy):
    name = "host"
    def act(self, rng, observations, carry):
        return np.zeros((len(observations), 5)), carry

def tick(state, action, following, level):
    return jnp.float32(-1.0)

TICK = Objective("tick", tick)
TWICE = 2.0 * CHESTS
SOON = Shift(
    name="soon",
    about="less time",
    apply=lambda d, s, far: replaced(d, horizon=round(d.horizon * (1 - s / 2))),
    starts_from="training",
    expected="a loss of capability",
)
"""
)
WORLD = (
    HEAD
    + """
class Sticky(KeysAndChests):
    def is_terminal(self, state, level):
        return jnp.array(False)

LEVELS = KeysAndChestsLevels(
    height=5, width=5, layout="open", num_keys=2, num_chests=1
)
"""
)


@pytest.fixture
def file(tmp_path):
    def write(text, name="mine.py"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def call(capsys, *argv):
    status = cli.main(["check", *map(str, argv)])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return status, captured.out, captured.err


def laws(found, thing):
    return {law.law[:2]: law.passed for law in found.laws if law.thing == thing}


def test_a_good_file(file, capsys):
    path = file(GOOD)
    status, out, err = call(capsys, path, "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert found["type"] == "check" and found["passed"]
    things = {law["thing"] for law in found["laws"]}
    # what was only imported from malgen is not checked
    assert things == {
        "policy Still",
        "policy Tuned",
        "policy Host",
        "objective TICK",
        "objective TWICE",
        "shift SOON",
    }
    by = {(law["thing"], law["law"][:2]): law for law in found["laws"]}
    assert by["policy Still", "P3"]["passed"] and by["shift SOON", "S1"]["passed"]
    assert "needs 'level'" in by["policy Tuned", ""]["note"]
    # rewarding every step is allowed, and pointed out
    assert by["objective TICK", "O3"]["passed"] is None
    assert by["objective TWICE", "O3"]["passed"]


def test_a_world(file):
    found = check.check_file(file(WORLD))
    assert found.status == 0 and found.problem == ""
    held = laws(found, "world Sticky")
    assert held and all(held.values()) and "W4" in held


@pytest.mark.parametrize(
    ("text", "law", "status"),
    [
        ("return jnp.full(5, jnp.nan), carry", "P2 logits are finite", 2),
        ("return jnp.zeros(4), carry", "P1 logits are one number per action", 2),
        ("raise RuntimeError('out of cheese')", "out of cheese", 1),
    ],
)
def test_a_broken_policy(text, law, status, file, capsys):
    path = file(
        f"{HEAD}\nclass Bad(Policy):\n    def __call__(self, key, observation, carry):"
        f"\n        {text}\n"
    )
    found, out, err = call(capsys, path)
    assert found == status
    assert "broken" in out
    assert err.count("\n") == 1 and law in err and "policy Bad" in err


def test_a_broken_shift(file, capsys):
    path = file(
        HEAD + "\nBAD = Shift(name='bad', about='x', starts_from='training', "
        "expected='x', apply=lambda d, s, far: replaced(d, horizon=1))\n"
    )
    status, _, err = call(capsys, path)
    assert status == 2 and "S1 strength 0 is the identity" in err


@pytest.mark.parametrize(
    ("text", "expected", "status"),
    [
        ("x = 1\ndef f(:\n", "syntax error in line 2", 2),
        ("x = '\0'\n", "mine.py", 2),
        ("x = 1\n", "nothing to check", 2),
        (HEAD, "nothing to check", 2),
        (HEAD + "class A(Policy):\n    pass\n", "has no __call__", 2),
        ("x = 1\ny = x / 0\n", "line 2 raised ZeroDivisionError", 1),
        ("import no_such_module\n", "ModuleNotFoundError", 1),
        ("raise SystemExit\n", "SystemExit", 1),
        (
            HEAD + "A = KeysAndChestsLevels(height=0)\n",
            "line 6: A level of 0 x 13 cells",
            2,
        ),
        (HEAD + "A = KeysAndChestsLevels(num_keys=-1)\n", "-1 keys", 2),
        (
            HEAD + "class A(Policy):\n    def __init__(self):\n        1 / 0\n"
            "    def __call__(self, key, observation, carry):\n        pass\n",
            "line 8 raised ZeroDivisionError when A() was made",
            1,
        ),
    ],
)
def test_files_that_cannot_be_checked(text, expected, status, file, capsys):
    found, out, err = call(capsys, file(text))
    assert (found, out) == (status, "")
    assert err.count("\n") == 1 and expected in err, err


def test_no_file(tmp_path, capsys):
    assert "is a folder" in call(capsys, tmp_path)[2]
    assert "no file" in call(capsys, tmp_path / "mine.py")[2]

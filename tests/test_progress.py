"""Progress: words, a time that can be believed, and silence where it is asked for."""

import json
import re
import time
from itertools import pairwise

import pytest

from malgen import progress
from malgen.cli import main
from malgen.compiled import cache_folder
from malgen.progress import Ahead, Console, Silent, in_time, in_words


def test_stages_in_words():
    assert in_words("train", "3 agents by PPO: 0.21M of 0.52M steps") == (
        "training 3 agents by PPO: 0.21M of 0.52M steps"
    )
    assert in_words("train crop-11", "3 agents") == "training crop-11, 3 agents"
    assert in_words("ladder", "") == "climbing the supply ladder"
    assert in_words("deploy crop-11", "") == "deploying crop-11"
    assert in_words("something", "new") == "something new"


def test_times_in_words():
    found = [in_time(s) for s in (-3, 0, 0.2, 89, 100, 5400, 7500)]
    assert found == ["0 s", "0 s", "1 s", "89 s", "2 min", "1 h 30 min", "2 h 5 min"]


# --- the time that is left --------------------------------------------------------

SHARES = {"train": 60.0, "deploy": 30.0, "report": 10.0}


def walked(ahead, seconds, every=0.25, start=0.0):
    """(time, left) while stages that take some seconds are reported on."""
    now, seen = start, []
    for stage, length in seconds.items():
        began = now
        while now < began + length:
            ahead.update(stage, (now - began) / length, now)
            seen.append((now, ahead.left(now)))
            now += every
        ahead.update(stage, 1.0, now)
        seen.append((now, ahead.left(now)))
    return seen


def test_the_time_left_is_right_when_the_shares_are():
    ahead = Ahead(0.0)
    ahead.plan(SHARES)
    seen = walked(ahead, {"train": 30, "deploy": 15, "report": 5})
    # nothing is claimed before anything is known
    assert all(left is None for now, left in seen if now < 1)
    for now, left in seen:
        if left is not None:
            assert left == pytest.approx(50 - now, abs=1.0)
    assert ahead.share(50.0) == pytest.approx(1.0, abs=0.01)
    assert ahead.spent == pytest.approx({"train": 30, "deploy": 15, "report": 5})


@pytest.mark.parametrize(
    "seconds",
    [
        {"train": 5, "deploy": 60, "report": 1},
        {"train": 60, "deploy": 1, "report": 30},
        {"report": 20},
        {"train": 20, "unplanned": 20, "report": 2},
    ],
)
def test_the_time_left_never_jumps_and_is_never_negative(seconds):
    ahead = Ahead(0.0)
    ahead.plan(SHARES)
    seen = walked(ahead, seconds)
    shares = []
    for (before, first), (now, second) in pairwise(seen):
        shares.append(ahead.share(now))
        if first is None or second is None or second == 0:
            continue
        assert second >= 0
        # a twelfth of any correction at most for each tick of a quarter second
        worst = max(seconds.values()) * 20
        assert abs(second - (first - (now - before))) <= worst / 12
    assert seen[-1][1] == 0 and shares == sorted(shares)
    assert 0 <= shares[0] <= shares[-1] <= 1


def test_compiling_is_not_taken_for_the_pace():
    plain, told = Ahead(0.0), Ahead(0.0)
    for ahead in (plain, told):
        ahead.update("train", 0.0, 0.0)
    told.compiled(20.0)
    for ahead in (plain, told):
        ahead.update("train", 0.25, 30.0)
    assert plain.left(30.0) == pytest.approx(90)
    assert told.left(30.0) == pytest.approx(30)


def test_nothing_is_claimed_where_nobody_can_tell():
    ahead = Ahead(0.0)
    ahead.plan({"gate": 1.0, "audit": 2.0})
    ahead.update("gate", 1.0, 10.0)
    ahead.update("audit", None, 12.0)
    assert ahead.left(30.0) is None
    ahead.update("audit", 1.0, 40.0)
    assert ahead.left(40.0) == 0.0


# --- what is shown ------------------------------------------------------------------


class Shown:
    """What went to standard error so far, which is no terminal here."""

    def __init__(self, capsys):
        self._capsys, self._text = capsys, ""

    def getvalue(self):
        self._text += self._capsys.readouterr().err
        return self._text


@pytest.fixture
def shown(monkeypatch, capsys):
    monkeypatch.setattr(Console, "INTERVAL", 0.05)
    return Shown(capsys)


def wait_for(stream, text):
    end = time.monotonic() + 20
    while text not in stream.getvalue():
        assert time.monotonic() < end, stream.getvalue()
        time.sleep(0.02)


def test_lines_come_even_while_nothing_is_reported(shown):
    with Console() as console:
        console.plan({"train": 1.0})
        console.update("train", 0.0, "3 agents by PPO")
        wait_for(shown, "training 3 agents by PPO (1 s so far, estimating)")
        console.update("train", 1.0, "3 agents by PPO")
        console.update("train", 1.0, "3 agents by PPO")
    text = shown.getvalue()
    assert text.count("done in") == 1 and "\x1b" not in text


def test_compiling_is_said_while_it_lasts(shown, monkeypatch):
    monkeypatch.setattr(Console, "LONG", 0.0)
    with Console() as console:
        console.update("train", 0.0, "it")
        console._compiler(None)
        wait_for(shown, "compiling; training it")
        console._compiler(0.5)
        before = len(shown.getvalue())
        time.sleep(0.6)
        assert "compiling" not in shown.getvalue()[before:]
        assert "training it" in shown.getvalue()[before:]


def test_jax_tells_when_it_compiles():
    import jax

    heard = []
    progress._listen()
    progress._listeners.append(heard.append)
    jax.jit(lambda x: x * 3 + 1)(2.0)
    progress._listeners.remove(heard.append)
    assert heard and heard[0] is None and heard[-1] > 0


def test_what_stages_took_is_remembered(shown, tmp_path):
    memory = tmp_path / "deep" / "times.json"
    for job in ("one", "two"):
        with Console(memory=memory, job=job) as console:
            console.update("train", 0.0)
            time.sleep(0.03)
            console.update("train", 1.0)
    known = json.loads(memory.read_text())
    assert set(known) == {"one", "two"} and known["one"]["train"] >= 0.03
    with Console(memory=memory, job="one") as console:
        console.plan({"train": 5.0})
        assert console._ahead._shares == known["one"]
        console.plan({"train": 5.0, "deploy": 1.0})
        assert console._ahead._shares == {"train": 5.0, "deploy": 1.0}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"one": 3}', '{"one": {"train": "x"}}', "\x00\xff"]
)
def test_a_torn_memory_stops_nothing(shown, tmp_path, text):
    memory = tmp_path / "times.json"
    memory.write_text(text)
    with Console(memory=memory, job="one") as console:
        console.plan({"train": 5.0})
        assert console._ahead._shares == {"train": 5.0}
        console.update("train", 1.0)
    assert json.loads(memory.read_text())["one"]


def test_a_failure_is_not_remembered(shown, tmp_path):
    memory = tmp_path / "times.json"
    with pytest.raises(KeyError), Console(memory=memory, job="one") as console:
        console.update("train", 0.5)
        raise KeyError("x")
    assert not memory.exists()


def test_silence(capsys):
    silent = Silent()
    silent.plan({"train": 1.0})
    silent.update("train", None, "x")
    silent.say("x")
    assert capsys.readouterr() == ("", "")


def test_quiet_says_nothing_and_the_others_do(capsys):
    argv = ["audit", "off", "--levels", "2", "--scenario", "keys-and-chests-small"]
    argv += ["--instruments", "instrumentality"]
    assert main([*argv, "--quiet"]) == 0
    quiet = capsys.readouterr()
    assert main(argv) == 0
    loud = capsys.readouterr()
    assert quiet.err == "" and quiet.out == loud.out != ""
    assert re.search(r"^judging it on 2 levels: done in \d+ s$", loud.err, re.M)


def test_the_memory_lies_in_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "malgen"

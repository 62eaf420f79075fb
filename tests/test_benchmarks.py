"""The rules of the benchmarks on made-up turns; nothing here depends on speed."""

import json
import math
import os
import sys
import time

import pytest
from benchmarks import harness, page
from benchmarks.harness import Failed, Row, Turn, Worker

ECHO = """
from protocol import Case, serve

def good(batch):
    return Case(lambda times: times * batch, batch, "things", {"inside": "nothing"})

def bad():
    raise ValueError("no such thing\\nand more")

print("a library that prints")
serve({"good": good, "bad": bad}, ("numpy", "there-is-no-such-package"))
"""


def turns(ours, other, others=0.0):
    return {"malgen": Turn(ours, others), "them": Turn(other, others)}


def test_a_ratio_is_the_median_of_the_paired_ratios():
    rounds = [turns(1, 2), turns(1, 3), turns(10, 100), turns(2, 3), turns(5, 20)]
    found = harness.ratio(rounds, "malgen", "them")
    # 2, 3, 10, 1.5, 4: pairing matters, medians of each side would give 10
    assert (found.median, found.low, found.high) == (3, 1.5, 10)
    assert (found.counted, found.clean, found.rounds) == (5, 5, 5)
    assert found.doubt == ""
    assert harness.ratio(rounds, "them", "malgen").median == pytest.approx(1 / 3)
    assert harness.ratio(rounds, "malgen", "them", scale=2).median == 6


def test_rounds_that_others_disturbed_do_not_count():
    clean = [turns(1, 2)] * 5
    disturbed = [turns(1, 50, others=0.2)] * 20
    found = harness.ratio(clean + disturbed, "malgen", "them")
    assert (found.median, found.high, found.counted) == (2, 2, 5)
    assert harness.rate(clean + disturbed, "them") == pytest.approx(1 / 2)
    # the limit itself is still clean, an unknown use is not
    assert Turn(1, harness.OTHERS).clean
    assert not Turn(1, float("nan")).clean


def test_too_few_clean_rounds_are_told_beside_the_number():
    few = [turns(1, 2)] * 2 + [turns(1, 9, others=1.0)] * 6
    found = harness.ratio(few, "malgen", "them")
    assert found.median == 2
    assert "only 2 of 8 rounds clean" in str(found)
    none = [turns(1, 9, others=1.0)] * 6
    found = harness.ratio(none, "malgen", "them")
    assert found.median == 9
    assert "no clean round: all 6 counted" in str(found)
    assert harness.doubt(none, "malgen") == "(no clean round: all 6 counted)"
    assert harness.doubt([turns(1, 2)] * 5, "malgen") == ""


def test_a_contest_goes_on_until_enough_rounds_are_clean():
    busy = iter([0.5, 0.0, 0.5, 0.0, 0.0, 0.0])
    order = []

    def take(name):
        def turn():
            order.append(name)
            return Turn(1.0, next(busy) if name == "b" else 0.0)

        return turn

    rounds = harness.contest({"a": take("a"), "b": take("b")}, rounds=3, patience=4)
    assert len(rounds) == 5
    assert order == ["a", "b"] * 5


def test_a_contest_gives_up_on_clean_rounds():
    def disturbed():
        return Turn(1.0, 2.0)

    assert len(harness.contest({"a": disturbed}, rounds=3, patience=2)) == 6


def test_a_turn_is_long_enough_and_no_longer_than_needed():
    assert harness.calibrated(lambda times: times * 0.01) == 50
    assert harness.calibrated(lambda times: 7.0) == 1


def test_own_work_is_not_somebody_elses(monkeypatch):
    # a machine on which nobody but this process, or somebody else too, does anything
    for elsewhere in (0.0, 0.5):
        began = time.perf_counter()

        def busy(elsewhere=elsewhere, began=began):
            mine = harness.own_seconds(os.getpid())
            return mine + elsewhere * (time.perf_counter() - began)

        monkeypatch.setattr(harness, "busy_seconds", busy)
        with harness.Watch() as watch:
            end = time.process_time() + 0.3
            while time.process_time() < end:
                pass
        # the clock of processes ticks every 10 ms
        assert watch.seconds >= 0.29
        assert watch.others == pytest.approx(elsewhere, abs=0.1)
    assert math.isnan(harness.own_seconds(2**22 + 1))  # there is no such process


@pytest.fixture
def worker(tmp_path, monkeypatch):
    script = tmp_path / "echo.py"
    script.write_text(ECHO)
    monkeypatch.setattr(harness, "LOGS", tmp_path)
    path = str(harness.WORKERS)
    made = Worker("echo", sys.executable, str(script), environment={"PYTHONPATH": path})
    yield made
    made.close()


def test_a_worker_answers_and_survives_a_failure(worker):
    with pytest.raises(Failed, match=r"ValueError: no such thing$"):
        worker.ask(do="open", case="bad", settings={})
    with pytest.raises(Failed, match="KeyError"):
        worker.ask(do="open", case="never heard of", settings={})
    opened = worker.ask(do="open", case="good", settings={"batch": 3})
    assert (opened["work"], opened["unit"]) == (3, "things")
    assert opened["facts"] == {"inside": "nothing"}
    assert opened["versions"]["there-is-no-such-package"] == "unknown"
    answer = worker.ask(do="run", times=4)
    assert answer["told"] == 12
    assert answer["seconds"] >= 0
    worker.close()
    with pytest.raises(Failed, match="the process ended"):
        worker.ask(do="run", times=1)


def test_who_is_not_there_becomes_a_row(monkeypatch, tmp_path):
    from benchmarks import competitors

    monkeypatch.setattr(competitors, "HOME", tmp_path)
    with pytest.raises(competitors.Missing, match="--install"):
        competitors.other("navix")
    with pytest.raises(competitors.Missing, match="--jaxgmg"):
        competitors.jaxgmg(None)
    with pytest.raises(competitors.Missing, match="no jaxgmg source"):
        competitors.jaxgmg(str(tmp_path))


def test_the_page_has_the_newest_row_of_this_machine(tmp_path, monkeypatch):
    results = tmp_path / "results.jsonl"

    def row(figure, reached):
        return Row(
            question="stepping",
            what="batch 256",
            malgen="1M steps/s",
            other=f"them: {figure} steps/s",
            ratio=f"{figure} [1, 9]",
            timed="everything",
            target="3x",
            reached=reached,
        )

    monkeypatch.setattr(harness, "machine", lambda: {"cpu": "elsewhere"})
    harness.append(results, [row(7, True)])
    here = {
        "cpu": "here",
        "cores": 2,
        "memory_GiB": 8,
        "system": "Linux x86_64",
        "python": "3.11",
    }
    monkeypatch.setattr(harness, "machine", lambda: here)
    harness.append(results, [row(2, False)])
    harness.append(results, [row(4, True)], quick=False)
    harness.append(results, [row(6, True)], quick=True)
    assert len(results.read_text().splitlines()) == 4
    rows = page.newest(results)
    assert [one["ratio"] for one in rows] == ["4 [1, 9]"]
    text = page.page(rows, ("stepping",))
    assert "| batch 256 | them | 4 [1, 9] | 3x | yes |" in text
    assert "- against them: everything" in text
    assert "elsewhere" not in text
    assert json.loads(results.read_text().splitlines()[0])["commit"]


@pytest.fixture
def workers(monkeypatch):
    """The files of the workers can be imported."""
    monkeypatch.syspath_prepend(str(harness.WORKERS))


def test_the_networks_that_are_measured_are_malgens_own(workers):
    import with_malgen

    layers = with_malgen.layers_of(9, with_malgen.FeedforwardConfig(hidden=(16, 8)), 5)
    # three planes of a view in which every inner cell fits, and the keys in hand
    assert layers[1:] == [[16, 8], [8, 6]] and layers[0][0] > 3 * 13 * 13
    made = {}
    for kind in ("feedforward", "convolutional"):
        for gradient in (False, True):
            case = with_malgen.network(kind, 9, 4, gradient)
            case.run(1)
            made[kind, gradient] = case.work
        # backward there is a product for the weights of every forward one
        assert made[kind, True] > 1.9 * made[kind, False]
    config = with_malgen.FeedforwardConfig()
    acting = 2 * sum(i * o for i, o in with_malgen.layers_of(9, config, 5))
    rare = 2 * 2 * 13 * 13 * config.hidden[0]  # planes that training leaves out
    assert made["feedforward", False] == 4 * (acting + rare)


def test_products_of_a_program_are_counted(workers):
    jax = pytest.importorskip("jax")
    import flops

    a, b = jax.numpy.ones((3, 5)), jax.numpy.ones((5, 7))
    assert flops.count(lambda a, b: a @ b, a, b) == 2 * 3 * 5 * 7

    def often(a, b):
        return jax.lax.scan(lambda c, _: (c + a @ b, None), a @ b, None, length=4)[0]

    assert flops.count(jax.jit(often), a, b) == 5 * 2 * 3 * 5 * 7
    image, kernel = jax.numpy.ones((1, 1, 8, 8)), jax.numpy.ones((6, 1, 3, 3))

    def convolve(image, kernel):
        return jax.lax.conv(image, kernel, (1, 1), "VALID")

    assert flops.count(convolve, image, kernel) == 2 * 6 * 6 * 6 * 9

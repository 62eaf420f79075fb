"""A Ctrl-C whose exception is lost in a callback is raised again."""

import gc
import io
import os
import signal
import threading

import pytest

from malgen import cli, interrupts
from malgen.progress import Console, Silent

NUMBERS = [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, interrupts.Terminated)]
pytestmark = pytest.mark.usefixtures("heard_signals")


@pytest.fixture
def lost(monkeypatch):
    """Sends a signal that raises where Python can only print what is raised."""
    ignored = []
    monkeypatch.setattr("sys.unraisablehook", lambda told: ignored.append(told))

    def in_collection(phase, info):
        if phase == "start":
            os.kill(os.getpid(), in_collection.number)

    class Dying:
        def __del__(self):
            os.kill(os.getpid(), self.number)

    def lose(number, where="collection"):
        before = len(ignored)
        if where == "collection":
            in_collection.number = number
            gc.callbacks.append(in_collection)
            try:
                gc.collect()
            finally:
                gc.callbacks.remove(in_collection)
        else:
            thing = Dying()
            thing.number = number
            del thing
        assert issubclass(ignored[before].exc_type, KeyboardInterrupt)

    return lose


@pytest.mark.parametrize("where", ["collection", "end of life"])
@pytest.mark.parametrize(("number", "error"), NUMBERS)
def test_a_lost_signal_is_raised_by_the_next_report(number, error, where, lost):
    reports = [
        lambda: Silent().update("train", 0.5),
        lambda: Silent().say("word"),
        lambda: Console().update("train", 0.5),
        lambda: Console().say("word"),
        lambda: interrupts.waiting().__enter__(),
    ]
    for report in reports:
        with interrupts.heard():
            report()  # nothing came: nothing is raised
            lost(number, where)
            with pytest.raises(KeyboardInterrupt) as caught:
                report()
            assert type(caught.value) is error
        report()  # it is over with its command


def test_a_signal_on_its_way_is_not_raised_twice():
    steps = []
    with pytest.raises(KeyboardInterrupt), interrupts.heard():
        try:
            os.kill(os.getpid(), signal.SIGINT)
        finally:
            Silent().say("leaving")
            steps.append("left")
    assert steps == ["left"]


def test_only_the_main_thread_is_interrupted(lost):
    with interrupts.heard():
        lost(signal.SIGINT)
        raised = []

        def report():
            try:
                Silent().say("word")
            except BaseException as error:
                raised.append(error)

        thread = threading.Thread(target=report)
        thread.start()
        thread.join()
        assert not raised
        with pytest.raises(KeyboardInterrupt):
            Silent().say("word")


def test_ignored_signals_stay_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interrupts.heard(), interrupts.waiting():
        os.kill(os.getpid(), signal.SIGINT)
        Silent().say("word")


@pytest.mark.parametrize("quiet", [[], ["--quiet"]], ids=["told", "quiet"])
@pytest.mark.parametrize("status", [130, 143])
def test_the_command_ends_as_if_it_had_been_heard(
    quiet, status, lost, monkeypatch, tmp_path, capsys
):
    def train(*arguments, progress, **settings):
        progress.update("train", 0.1)
        lost(signal.SIGINT if status == 130 else signal.SIGTERM)
        progress.update("train", 0.2)
        raise AssertionError("went on")

    monkeypatch.setattr("malgen.experiment.train", train)
    monkeypatch.setattr("sys.stderr", io.StringIO())
    line = ["train", "keys-and-chests-small", "--out", str(tmp_path / "run"), *quiet]
    assert cli.main(line) == status

"""Telling a person what is happening and how long is left.

Library code never prints by itself: it reports to a ``Progress``. ``Ahead`` turns the
reports into a time, and ``Console`` shows both on standard error.
"""

import contextlib
import json
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from malgen import interrupts
from malgen.errors import MalgenError
from malgen.files import write_atomically


class Progress(Protocol):
    """Where long work reports to."""

    def say(self, message: str) -> None:
        """One line about something that happened."""

    def plan(self, shares: Mapping[str, float]) -> None:
        """The stages to come, in order, with the share of the time each may take."""

    def update(self, stage: str, done: float | None, detail: str = "") -> None:
        """How far a stage is, ``done`` in [0, 1]; None when nobody can tell."""


class Silent:
    """For callers that want no output; a lost Ctrl-C is raised again all the same."""

    def say(self, message: str) -> None:
        """Nothing."""
        interrupts.check()

    def plan(self, shares: Mapping[str, float]) -> None:
        """Nothing."""

    def update(self, stage: str, done: float | None, detail: str = "") -> None:
        """Nothing."""
        interrupts.check()


# A stage in words; its detail follows. Others are shown by their name.
WORDS = {
    "train": "training",
    "deploy": "deploying",
    "audit": "judging",
    "instruments": "asking the instruments about",
    "ladder": "climbing the supply ladder:",
    "controls": "control arms:",
    "gate": "testing competence where it was trained",
    "report": "writing the report",
}


def in_words(stage: str, detail: str) -> str:
    """What is happening, as a person would say it."""
    first, _, rest = stage.partition(" ")
    words = WORDS.get(stage) or (f"{WORDS[first]} {rest}," if first in WORDS else stage)
    return f"{words} {detail}".strip().rstrip(":,")


def in_time(seconds: float) -> str:
    """Seconds as a person would say them: "40 s", "3 min", "2 h 5 min"."""
    whole = max(0, math.ceil(seconds))
    if whole < 90:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


class Ahead:
    """Estimates the time that is left, from what was measured so far.

    The stage at hand is extrapolated from its own pace, without the time that went
    into compiling; the stages to come take what their shares say, at the pace of the
    stages so far. What is shown counts down with the clock and follows a new estimate
    within some seconds, so that it never jumps and is never negative.

    Args:
        now: seconds on any clock that only goes forward.
    """

    # a pace is believed after this share of a stage and this many seconds
    LEAST_DONE, LEAST_SECONDS = 0.02, 1.0
    # seconds within which the shown time follows the estimate
    CALM = 6.0

    def __init__(self, now: float) -> None:
        self.began = self._seen = now
        self._shares: dict[str, float] = {}
        self._spent: dict[str, float] = {}
        self._compiled = 0.0
        self._stage = ""
        self._entered = now
        self._done: float | None = 0.0
        self._shown: float | None = None
        self._share_done = 0.0

    def plan(self, shares: Mapping[str, float]) -> None:
        """The stages to come, in order, and how long they take beside each other."""
        self._shares = dict(shares)

    @property
    def open_end(self) -> bool:
        """Whether nobody can tell how much of this stage is left."""
        return self._done is None

    @property
    def spent(self) -> dict[str, float]:
        """Seconds of every stage so far."""
        return dict(self._spent)

    def compiled(self, seconds: float) -> None:
        """So much time of this stage went into compiling."""
        self._compiled += seconds

    def update(self, stage: str, done: float | None, now: float) -> None:
        """How far a stage is."""
        if stage != self._stage:
            self._stage, self._entered, self._compiled = stage, now, 0.0
        self._done = None if done is None else min(max(done, 0.0), 1.0)
        self._spent[stage] = now - self._entered

    def left(self, now: float) -> float | None:
        """Seconds left, at least 0; None while that is not known."""
        estimate = self._estimate(now)
        passed, self._seen = now - self._seen, now
        if estimate is None or estimate == 0 or self._shown is None:
            self._shown = estimate
            return estimate
        gone = max(self._shown - passed, 0.0)
        self._shown = gone + (estimate - gone) * (1 - math.exp(-passed / self.CALM))
        return max(self._shown, 0.0)

    def share(self, now: float) -> float:
        """Which part of everything is done, in [0, 1]; never falls."""
        spent, left = now - self.began, self._shown
        if left is not None and spent + left > 0:
            self._share_done = max(self._share_done, spent / (spent + left))
        return min(self._share_done, 1.0)

    def _estimate(self, now: float) -> float | None:
        if self._done is None or not self._stage:
            return None
        names = list(self._shares)
        if self._stage in names:
            at = names.index(self._stage)
            earlier, later = names[:at], names[at + 1 :]
        else:
            earlier, later = [], []
        measured = [s for s in earlier if self._spent.get(s, 0) > 0]
        seconds = sum(self._spent[s] for s in measured)
        shares = sum(self._shares[s] for s in measured)
        mine = self._shares.get(self._stage, 0.0)
        spent = now - self._entered
        working = max(spent - self._compiled, 0.0)
        left = None
        if self._done >= 1.0:
            left = 0.0
        elif self._done >= self.LEAST_DONE and working >= self.LEAST_SECONDS:
            left = working * (1 - self._done) / self._done
        if shares > 0 and mine > 0 and self._done < 1.0:
            told = max(seconds / shares * mine - spent, 0.0)
            # its own pace counts the more, the more of the stage is done
            left = told if left is None else told + (left - told) * self._done**0.5
        if left is None:
            return None
        if mine > 0:
            seconds, shares = seconds + spent + left, shares + mine
        if later and shares <= 0:
            return None
        return left + sum(self._shares[s] for s in later) * seconds / max(shares, 1e-9)


class Console:
    """Progress on standard error: one moving line on a terminal, plain lines elsewhere.

    Use it as a context manager, so that the terminal is left clean.

    Args:
        memory: a file that remembers how long the stages took on this machine; None
            remembers nothing.
        job: what is done, as the memory knows it.
    """

    # seconds between lines when nobody can see a moving one
    INTERVAL = 10.0
    # compiling is worth a word when it takes longer, seconds
    LONG = 0.5

    def __init__(self, *, memory: Path | None = None, job: str = "") -> None:
        from rich.console import Console as RichConsole

        self._console = RichConsole(
            stderr=True, emoji=False, no_color="NO_COLOR" in os.environ
        )
        self._memory, self._job = memory, job
        self._live: Any = None
        self._task: Any = None
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._ahead = Ahead(time.monotonic())
        self._text = ""
        self._said = time.monotonic()
        self._told: set[str] = set()
        self._compiling: float | None = None

    def __enter__(self) -> "Console":
        if sys.stderr.isatty():
            self._start_line()
        _listeners.append(self._compiler)
        _listen()
        self._thread = threading.Thread(target=self._tick, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: object, *exception: object) -> None:
        self._ended.set()
        self._thread.join()
        _listeners.remove(self._compiler)
        if self._live is not None:
            self._live.stop()
        if kind is None:
            self._remember()

    def _start_line(self) -> None:
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bars
        from rich.table import Column

        self._live = Bars(
            BarColumn(bar_width=16 if self._console.width >= 100 else 8),
            TextColumn("{task.fields[part]}", markup=False),
            TextColumn(
                "{task.description}",
                markup=False,
                table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
            ),
            TextColumn("{task.fields[left]}", markup=False),
            console=self._console,
            expand=True,
            transient=True,
            auto_refresh=False,
        )
        self._live.start()
        self._task = self._live.add_task("", total=1.0, left="", part="")

    def say(self, message: str) -> None:
        """One line."""
        interrupts.check()
        self._console.print(message, highlight=False, soft_wrap=True)

    def plan(self, shares: Mapping[str, float]) -> None:
        """The stages to come; shares measured here before are preferred."""
        known = self._recall()
        if shares.keys() <= known.keys():
            shares = {stage: known[stage] for stage in shares}
        self._ahead.plan(shares)

    def update(self, stage: str, done: float | None, detail: str = "") -> None:
        """Say how far a stage is."""
        interrupts.check()
        _listen()
        now = time.monotonic()
        with self._lock:
            self._ahead.update(stage, done, now)
            self._text = in_words(stage, detail)
            ended = done is not None and done >= 1.0 and stage not in self._told
            if self._live is None and ended:
                self._told.add(stage)
                took = in_time(self._ahead.spent[stage])
                self._said = now
                self.say(f"{self._text}: done in {took}")
            self._show(now)

    def _tick(self) -> None:
        """Keep the line alive while nothing is reported."""
        while not self._ended.wait(0.25):
            try:
                with self._lock:
                    self._show(time.monotonic())
            except OSError:
                return  # standard error is gone; the next report tells the command

    def _show(self, now: float) -> None:
        if not self._text:
            return
        left = self._ahead.left(now)
        text = self._text
        if self._compiling is not None and now - self._compiling > self.LONG:
            text = f"compiling; {text}"
        so_far = f"{in_time(now - self._ahead.began)} so far"
        part = f"{self._ahead.share(now):4.0%}"
        if left is not None:
            so_far += f", {in_time(left)} left"
        elif self._ahead.open_end:
            part = " ..."
        else:
            so_far += ", estimating"
        if self._live is not None:
            self._live.update(
                self._task,
                completed=self._ahead.share(now),
                description=text,
                left=so_far.replace(" so far", ""),
                part=part,
            )
            self._live.refresh()
        elif now - self._said > self.INTERVAL:
            self._said = now
            self.say(f"{text} ({so_far})")

    def _compiler(self, seconds: float | None) -> None:
        """A compilation began (None), or ended after some seconds."""
        if seconds is None:
            self._compiling = time.monotonic()
        else:
            self._compiling = None
            with self._lock:
                self._ahead.compiled(seconds)

    def _recall(self) -> dict[str, float]:
        """Seconds per stage of this job, as measured before."""
        return self._remembered().get(self._job, {})

    def _remembered(self) -> dict[str, dict[str, float]]:
        # a memory is a convenience: one that is torn or gone stops nothing
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            found = json.loads(self._memory.read_text()) if self._memory else {}
            return {
                job: {stage: float(s) for stage, s in stages.items() if float(s) >= 0}
                for job, stages in found.items()
            }
        return {}

    def _remember(self) -> None:
        if self._memory is None or not self._ahead.spent:
            return
        spent = {stage: round(s, 2) for stage, s in self._ahead.spent.items()}
        known = self._remembered()
        known[self._job] = known.get(self._job, {}) | spent
        with contextlib.suppress(MalgenError):
            write_atomically(self._memory, json.dumps(known).encode())


_listeners: list[Callable[[float | None], None]] = []
_listening = False

# JAX reports these when it is about to compile, and when it has compiled
LOWERED = "/jax/core/compile/jaxpr_to_mlir_module_duration"
COMPILED = "/jax/core/compile/backend_compile_duration"


def _listen() -> None:
    """Hear of compilations, once JAX is there; it offers no way to stop hearing."""
    global _listening
    if _listening or "jax" not in sys.modules:
        return
    from jax import monitoring

    def heard(event: str, duration_secs: float, **more: str | int) -> None:
        if event in (LOWERED, COMPILED):
            for listener in list(_listeners):
                listener(None if event == LOWERED else duration_secs)

    monitoring.register_event_duration_secs_listener(heard)
    _listening = True

"""Telling a person what is happening; library code never prints by itself."""

import os
import sys
import time
from typing import Protocol


class Progress(Protocol):
    """Where long work reports to."""

    def say(self, message: str) -> None:
        """One line about something that happened."""

    def update(self, stage: str, done: float, detail: str = "") -> None:
        """How far a stage is, ``done`` in [0, 1]."""


class Silent:
    """For callers that want no output."""

    def say(self, message: str) -> None:
        """Nothing."""

    def update(self, stage: str, done: float, detail: str = "") -> None:
        """Nothing."""


class Console:
    """Progress on standard error: a moving bar on a terminal, plain lines elsewhere.

    Use it as a context manager, so that the terminal is left clean.
    """

    # seconds between lines when nobody can see a moving bar
    QUIET_INTERVAL = 10.0

    def __init__(self) -> None:
        from rich.console import Console as RichConsole

        self._console = RichConsole(stderr=True, no_color="NO_COLOR" in os.environ)
        self._bars = None
        self._tasks: dict[str, int] = {}
        self._last = 0.0
        self._finished: set[str] = set()

    def __enter__(self) -> "Console":
        if sys.stderr.isatty():
            from rich.progress import (
                BarColumn,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )
            from rich.progress import (
                Progress as Bars,
            )

            self._bars = Bars(
                TextColumn("{task.description:<12}"),
                BarColumn(bar_width=28),
                TextColumn("{task.percentage:>3.0f}%"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[detail]}"),
                console=self._console,
            )
            self._bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def say(self, message: str) -> None:
        """One line."""
        self._console.print(message, highlight=False, soft_wrap=True)

    def update(self, stage: str, done: float, detail: str = "") -> None:
        """Move the stage's bar, or print a line now and then."""
        if self._bars is not None:
            if stage not in self._tasks:
                self._tasks[stage] = self._bars.add_task(stage, total=1.0, detail="")
            self._bars.update(self._tasks[stage], completed=done, detail=detail)
            return
        now = time.monotonic()
        ended = done >= 1.0 and stage not in self._finished
        if ended:
            self._finished.add(stage)
        if ended or (done < 1.0 and now - self._last > self.QUIET_INTERVAL):
            self._last = now
            self.say(f"{stage}: {100 * done:.0f}% {detail}".rstrip())

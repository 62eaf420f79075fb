"""Ctrl-C and SIGTERM: end cleanly, and after the work at hand where that saves it."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Terminated(KeyboardInterrupt):
    """SIGTERM; handled like Ctrl-C, but another exit status."""


def _terminated(number: int, frame: Any) -> None:
    raise Terminated


@contextmanager
def heard() -> Iterator[None]:
    """Make SIGTERM raise ``Terminated``, as Ctrl-C raises ``KeyboardInterrupt``."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def waiting() -> Iterator[None]:
    """Let the body come to its end first; a second Ctrl-C stops it at once.

    Raises:
        KeyboardInterrupt: at the end, if there was a Ctrl-C.
        Terminated: at the end, if there was a SIGTERM.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {}
    came: list[int] = []

    def note(number: int, frame: Any) -> None:
        came.append(number)
        if len(came) > 1:
            raise KeyboardInterrupt if number == signal.SIGINT else Terminated
        print(
            "Stopping as soon as this part is saved; once more stops at once.",
            file=sys.stderr,
            flush=True,
        )

    for number in (signal.SIGINT, signal.SIGTERM):
        # whoever ignores a signal (nohup), or handles it in another way, keeps that
        if signal.getsignal(number) in (signal.default_int_handler, _terminated):
            before[number] = signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt if came[0] == signal.SIGINT else Terminated

"""Ctrl-C and SIGTERM: end cleanly, and after the work at hand where that saves it.

A signal raises wherever the program is. Inside a callback of the garbage collector (JAX
registers one) or in a ``__del__``, Python prints that exception and goes on. The signal
is therefore noted too, and ``check``, which long work calls often, raises it again.
"""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Terminated(KeyboardInterrupt):
    """SIGTERM; handled like Ctrl-C, but another exit status."""


# the last signal that raised and that nobody is known to have caught
_noted: int | None = None


def _raised(number: int) -> KeyboardInterrupt:
    return KeyboardInterrupt() if number == signal.SIGINT else Terminated()


def _handle(number: int, frame: Any) -> None:
    global _noted
    _noted = number
    raise _raised(number)


def _install(handler: Any, replaced: dict[int, Any]) -> dict[int, Any]:
    """Handle signals; returns the handlers before.

    Only the handlers in ``replaced`` and this module's are replaced: whoever ignores a
    signal (nohup), or handles it in another way, keeps that.
    """
    before: dict[int, Any] = {}
    for number, usual in replaced.items():
        if signal.getsignal(number) in (usual, _handle):
            before[number] = signal.signal(number, handler)
    return before


def _restore(before: dict[int, Any]) -> None:
    for number, handler in before.items():
        signal.signal(number, handler)


# what Python sets; outside ``heard`` SIGTERM keeps ending the process at once
_AT_START: dict[int, Any] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
}
_IN_LIBRARY: dict[int, Any] = _AT_START | {signal.SIGTERM: _handle}


@contextmanager
def heard() -> Iterator[None]:
    """Make SIGTERM raise ``Terminated``, as Ctrl-C raises ``KeyboardInterrupt``."""
    global _noted
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    _noted = None
    before = _install(_handle, _AT_START)
    try:
        yield
    finally:
        _restore(before)
        _noted = None


def check() -> None:
    """Raise a signal again whose exception was lost; cheap.

    Does nothing outside ``heard``, in other threads, and while the exception is on its
    way, so that a report from a ``finally`` does not raise a second one.

    Raises:
        KeyboardInterrupt: a Ctrl-C was lost.
        Terminated: a SIGTERM was lost.
    """
    if _noted is None or threading.current_thread() is not threading.main_thread():
        return
    if not isinstance(sys.exception(), KeyboardInterrupt):
        raise _raised(_noted)


@contextmanager
def waiting() -> Iterator[None]:
    """Let the body come to its end first; a second Ctrl-C stops it at once.

    Raises:
        KeyboardInterrupt: at the end, if there was a Ctrl-C; before the body, if one
            was lost.
        Terminated: at the end, if there was a SIGTERM; likewise.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    check()
    came: list[int] = []

    def note(number: int, frame: Any) -> None:
        came.append(number)
        if len(came) > 1:
            raise _raised(number)
        print(
            "Stopping as soon as this part is saved; once more stops at once.",
            file=sys.stderr,
            flush=True,
        )

    before = _install(note, _IN_LIBRARY)
    try:
        yield
    finally:
        _restore(before)
    if came:
        raise _raised(came[0])

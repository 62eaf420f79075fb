"""Foreign code that does not return: stopped after a while, and named."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from malgen.errors import ForeignError

SECONDS = 30.0
"""How long one call of foreign code may take unless the user says otherwise."""


AGAIN = 0.25
"""Seconds until the body is stopped again if it caught that, as a bare ``except`` does:
long enough for what it cleans up, so that one stop does not disturb the other."""


class _TimeIsUp(BaseException):
    """Not an ``Exception``: foreign code that catches everything must not catch it."""


def late(who: str | Callable[[], str], seconds: float) -> ForeignError:
    """What is said when the time is up."""
    name = who() if callable(who) else who
    return ForeignError(
        f"{name} did not answer within {seconds:g} seconds and was stopped."
    )


@contextmanager
def time_limit(
    who: str | Callable[[], str], seconds: float = SECONDS
) -> Iterator[None]:
    """Stop the body after some seconds.

    It is stopped between two Python instructions, or in a system call; code that never
    comes back from C cannot be stopped, nor a loop that catches everything wherever it
    waits. In other threads than the main one, and where there is no interval timer
    (Windows), the body is not limited. A timer that was running goes on afterwards.

    Args:
        who: what is said to have hung, e.g. "The policy 'mine'"; starts a sentence. A
            function, where that is only known when the time is up.
        seconds: > 0.

    Raises:
        ForeignError: the time is up.
    """
    alarm = getattr(signal, "SIGALRM", None)
    if alarm is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    up = over = False

    def stop(number: int, frame: Any) -> None:
        nonlocal up
        if not over:
            up = True
            raise _TimeIsUp

    before = signal.signal(alarm, stop)
    left, again = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        try:
            yield
        finally:
            over = True  # nothing is raised any more where nobody would catch it
    except _TimeIsUp:
        raise late(who, seconds) from None
    except Exception as error:
        if up:  # the body made something else of it
            raise late(who, seconds) from error
        raise
    else:
        if up:
            raise late(who, seconds)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(alarm, before)
        if left:
            signal.setitimer(signal.ITIMER_REAL, left, again)

"""Foreign code in C that does not return: stopped from another thread.

A signal, as in ``time_limit``, is only heard when C comes back to Python.
"""

import threading
import time
from collections.abc import Callable


class RunLimit:
    """A context for calls into C, each of which may take some seconds.

    One waiting thread serves all calls of ``seconds``, because starting one for each
    would cost more than a small network; it ends by itself when there are no calls.

    Attributes:
        is_up: the call was stopped.

    Args:
        seconds: > 0.
        stop: makes the call come back; called from another thread, while it goes on.
    """

    def __init__(self, seconds: float, stop: Callable[[], None]) -> None:
        self._seconds, self._stop = seconds, stop
        self._lock = threading.Lock()
        self._until: float | None = None
        self._is_watched = False
        self.is_up = False

    def __enter__(self) -> "RunLimit":
        with self._lock:
            self.is_up = False
            self._until = time.monotonic() + self._seconds
            if not self._is_watched:
                self._is_watched = True
                self._look_in(self._seconds)
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._until = None

    def _look_in(self, seconds: float) -> None:
        timer = threading.Timer(seconds, self._look)
        timer.daemon = True
        timer.start()

    def _look(self) -> None:
        with self._lock:
            if self._until is None:
                self._is_watched = False
                return
            left = self._until - time.monotonic()
            if left > 0:
                self._look_in(left)
                return
            self._is_watched = False
            self.is_up = True
            self._stop()

"""Anytime-valid intervals for the mean of bounded numbers, by betting.

A gambler bets that the mean is larger (or smaller) than m; if the mean is m, the
wealth rarely grows 2/alpha-fold at any time, so every m against which it did is
excluded. One may look after every batch and stop when the answer is clear.

Source: Waudby-Smith & Ramdas, "Estimating means of bounded random variables by
betting", 2023 (hedged capital process); measurement.md 1.6.
"""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from malgen.errors import ContractError
from malgen.stats.intervals import Interval

CUT = 0.5
"""Largest share of the wealth that one bet may lose."""

BISECTIONS = 34
"""Halvings of [0, 1]: ends are exact to 1e-10 of the range."""


def mean_ci(x: npt.ArrayLike, low: float, high: float, alpha: float) -> Interval:
    """Interval for the mean that holds at all times at once.

    Args:
        x: numbers in order of arrival, shape [n], n >= 1; the order must not
            depend on the values.
        low: known lower bound of every number.
        high: known upper bound of every number.
        alpha: probability that the interval ever misses the mean.

    Returns:
        The running intersection of the confidence sequence after n numbers.

    Raises:
        ContractError: when a number lies outside [low, high].
    """
    return BettingSequence(low, high, alpha).update(x)


class BettingSequence:
    """A hedged betting confidence sequence, fed in batches.

    The wealth against m is monotone in m, so the two ends are found by bisection
    instead of on a grid of candidate means. Should the running intersection be
    empty (probability at most alpha, or numbers whose mean drifts), the answer
    falls back to the whole range: nothing has been learned about *a* mean.

    Source: measurement.md 1.6.
    """

    def __init__(self, low: float, high: float, alpha: float) -> None:
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            raise ContractError(
                f"the range [{low}, {high}] is not a finite interval; give bounds "
                "that every value is known to respect."
            )
        if not 0 < alpha < 1:
            raise ContractError(f"alpha must be between 0 and 1, got {alpha}.")
        self.low, self.high, self.alpha = float(low), float(high), alpha
        self.values = np.empty(0)

    def update(self, x: npt.ArrayLike) -> Interval:
        """Adds a batch and returns the interval for the mean.

        Args:
            x: the next numbers, shape [k], k >= 0.

        Returns:
            The interval after all numbers so far.

        Raises:
            ContractError: when a number is not finite or out of range.
        """
        x = np.atleast_1d(np.asarray(x, float))
        self.values = np.concatenate([self.values, x])
        _scaled(x, self.low, self.high)  # raises on the new numbers only
        width = self.high - self.low
        if width == 0 or len(self.values) == 0:
            return Interval(self.low, self.high, "betting")
        y = _scaled(self.values, self.low, self.high)
        bets = _bets(y, self.alpha)
        bar = math.log(2 / self.alpha)
        below = _last(lambda m: _log_wealth(y, bets, m).max() >= bar)
        above = _last(lambda m: _log_wealth(1 - y, bets, m).max() >= bar)
        if below > 1 - above:
            return Interval(self.low, self.high, "betting")
        return Interval(
            self.low + width * below, self.low + width * (1 - above), "betting"
        )


def evidence(
    x: npt.ArrayLike, low: float, high: float, m: float, alpha: float
) -> tuple[float, float]:
    """How far the wealth went against "the mean is m", from either side.

    Cheaper than an interval when only one boundary matters, and continuous in m,
    so that price roots can be bracketed with it.

    Args:
        x: numbers in order of arrival, shape [n].
        low: known lower bound.
        high: known upper bound; must exceed low.
        m: candidate mean in [low, high].
        alpha: level that sets the size of the bets and the bar.

    Returns:
        Two margins in nats, each positive iff m is excluded because the mean is
        above it (first) or below it (second) at some time.
    """
    y, at = _scaled(x, low, high), (m - low) / (high - low)
    bets, bar = _bets(y, alpha), math.log(2 / alpha)
    up = _log_wealth(y, bets, at).max()
    down = _log_wealth(1 - y, bets, 1 - at).max()
    return float(up - bar), float(down - bar)


def e_value(
    x: npt.ArrayLike, low: float, high: float, m: float, alpha: float = 0.05
) -> float:
    """E-value against "the mean is at least m": final wealth K-(m).

    Args:
        x: numbers in order of arrival, shape [n].
        low: known lower bound.
        high: known upper bound; must exceed low.
        m: the boundary; -delta for the null "not malign".
        alpha: only sets the size of the bets.

    Returns:
        A number >= 0 whose mean is at most 1 if the null is true.

    Source: measurement.md 1.7 item 3.
    """
    y, at = _scaled(x, low, high), (m - low) / (high - low)
    return float(np.exp(_log_wealth(1 - y, _bets(y, alpha), 1 - at)[-1]))


def _scaled(x: npt.ArrayLike, low: float, high: float) -> np.ndarray:
    """Numbers mapped from [low, high] to [0, 1]; raises when one is outside."""
    x = np.asarray(x, float)
    slack = 1e-9 * max(1.0, abs(low), abs(high))
    bad = ~((x >= low - slack) & (x <= high + slack))
    if bad.any():
        raise ContractError(
            f"the value {x[bad][0]:g} is outside the known range [{low:g}, {high:g}]; "
            "correct the bounds of the outcomes or the outcomes."
        )
    if high == low:
        return np.zeros_like(x)
    return np.clip((x - low) / (high - low), 0.0, 1.0)


def _bets(y: np.ndarray, alpha: float) -> np.ndarray:
    """Predictable bets: bet t uses only the numbers before t."""
    t = np.arange(1, len(y) + 1)
    mean = (0.5 + np.cumsum(y)) / (t + 1)
    variance = (0.25 + np.cumsum((y - mean) ** 2)) / (t + 1)
    before = np.concatenate([[0.25], variance[:-1]])
    return np.sqrt(2 * math.log(2 / alpha) / (before * t * np.log(t + 1)))


def _log_wealth(y: np.ndarray, bets: np.ndarray, m: float) -> np.ndarray:
    """Log wealth over time of the gambler who bets that the mean exceeds m.

    Called with 1 - y and 1 - m it is the gambler on the other side: bets are the
    same because the running variance is symmetric.
    """
    stake = np.minimum(bets, CUT / m) if m > 0 else bets
    return np.cumsum(np.log1p(stake * (y - m)))


def _last(excluded: Callable[[float], bool]) -> float:
    """Largest m in [0, 1] known to be excluded; 0 if none is."""
    if not excluded(0.0):
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        mid = (low + high) / 2
        low, high = (mid, high) if excluded(mid) else (low, mid)
    return low

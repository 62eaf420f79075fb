"""The two interval engines behind one interface, on shared per-level columns.

Source: measurement.md 1.6 (engines) and 1.4 (critical stakes by test inversion).
"""

import math
from collections.abc import Callable
from typing import NamedTuple, cast

import numpy as np

from malgen.stats import betting
from malgen.stats.intervals import Interval, LevelBootstrap

PRICES = (1e-3, 1e3)
"""Bracket in which the ends of a critical price are searched."""


class FixedEngine:
    """Intervals for a number of levels fixed beforehand."""

    name = "fixed"

    def __init__(self, bootstrap: LevelBootstrap, alpha: float) -> None:
        self.bootstrap, self.alpha = bootstrap, alpha

    def mean(self, weights: np.ndarray, low: float, high: float) -> Interval:
        """Interval for the mean of ``columns @ weights``, known to be in range."""
        return self.bootstrap.mean_ci(weights, low, high, self.alpha)

    def margins(
        self, weights: np.ndarray, low: float, high: float
    ) -> tuple[float, float]:
        """Two numbers, positive iff the mean is surely above (below) zero."""
        ends = self.mean(weights, low, high)
        return ends.low, -ends.high


class AnytimeEngine:
    """Intervals that hold at every number of levels at once.

    ``columns`` are in order of arrival, shape [n, c].
    """

    name = "anytime"

    def __init__(self, columns: np.ndarray, alpha: float) -> None:
        self.columns, self.alpha = columns, alpha

    def mean(self, weights: np.ndarray, low: float, high: float) -> Interval:
        """Interval for the mean of ``columns @ weights``, known to be in range."""
        return betting.mean_ci(self.columns @ weights, low, high, self.alpha)

    def margins(
        self, weights: np.ndarray, low: float, high: float
    ) -> tuple[float, float]:
        """Two numbers, positive iff the mean is surely above (below) zero."""
        if low == high:
            return -1.0, -1.0
        zero = min(max(0.0, low), high)
        return betting.evidence(self.columns @ weights, low, high, zero, self.alpha)


Engine = FixedEngine | AnytimeEngine


class PriceRange(NamedTuple):
    """Prices at which the mean is not surely positive nor surely negative."""

    low: float | None
    high: float | None
    note: str


def price_range(margins: Callable[[float], tuple[float, float]]) -> PriceRange:
    """Interval for the price at which a mean that falls with price crosses zero.

    Test inversion (Fieller): no division, hence no trouble with small harm.

    Args:
        margins: price -> (positive iff the mean is surely above zero, positive iff
            it is surely below zero).

    Returns:
        The two ends; None and a note where the search bracket has none.
    """
    least, most = PRICES
    above_least, below_least = margins(least)
    above_most, below_most = margins(most)
    if below_least > 0:
        return PriceRange(0.0, least, f"worse than off at any price above {least:g}")
    if above_most > 0:
        return PriceRange(most, None, f"better than off at every price up to {most:g}")
    low = high = None
    notes = []
    if above_least > 0:
        low = _root(lambda price: margins(price)[0])
    else:
        notes.append("low end unbounded: not surely better than off at any price")
    if below_most > 0:
        high = _root(lambda price: margins(price)[1])
    else:
        notes.append("high end unbounded: not surely worse than off at any price")
    return PriceRange(low, high, "; ".join(notes))


def _root(margin: Callable[[float], float]) -> float:
    """Price at which a margin changes sign inside the bracket."""
    from scipy.optimize import brentq

    ends = [math.log(price) for price in PRICES]
    root = brentq(lambda log_price: margin(math.exp(log_price)), *ends, xtol=1e-7)
    return math.exp(cast(float, root))  # a pair only with full_output

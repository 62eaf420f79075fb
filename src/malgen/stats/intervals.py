"""Intervals for a fixed number of levels: BCa bootstrap and exact binomial.

Levels are the sample. All quantities of one policy are functions of the same
per-level columns, so they share one bootstrap over levels: differences stay
paired and ratios stay joint.

Sources: Efron, "Better bootstrap confidence intervals", 1987 (BCa); Clopper &
Pearson, 1934; measurement.md 1.6.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from malgen.errors import ContractError

RESAMPLES = 4000
FEW = 30
"""Below this many levels Student's t replaces the bootstrap."""

_CHUNK = 250  # resamples drawn at a time, so that 4096 levels fit in little memory


class Interval(NamedTuple):
    """Two ends and how they were made."""

    low: float
    high: float
    method: str


def mean_ci(
    x: npt.ArrayLike, low: float, high: float, alpha: float, *, seed: int = 0
) -> Interval:
    """Interval for a mean over levels, at a number of levels fixed beforehand.

    Args:
        x: one number per level, shape [n], n >= 1; for a paired comparison the
            differences. The order does not matter.
        low: known lower bound of every number; used when all are equal, because
            then neither the bootstrap nor t can tell how much they would vary.
        high: known upper bound.
        alpha: 1 - coverage, two-sided.
        seed: of the resampling.

    Returns:
        BCa bootstrap; Student's t below 30 levels; betting on constant numbers.

    Raises:
        ContractError: when constant numbers lie outside [low, high].
    """
    return LevelBootstrap.of(np.asarray(x, float)[:, None], seed=seed).mean_ci(
        np.ones(1), low, high, alpha
    )


def ratio_ci(
    top: npt.ArrayLike, bottom: npt.ArrayLike, alpha: float, *, seed: int = 0
) -> Interval:
    """Interval for mean(top) / mean(bottom) by joint resampling of levels.

    A ratio of means, never a mean of ratios: single denominators may be 0.

    Args:
        top: numerators per level, shape [n].
        bottom: denominators per level, shape [n].
        alpha: 1 - coverage, two-sided.
        seed: of the resampling.

    Returns:
        The BCa interval.
    """
    columns = np.stack([np.asarray(top, float), np.asarray(bottom, float)], 1)
    return LevelBootstrap.of(columns, seed=seed).ci(ratio, alpha)


def ratio(means: np.ndarray) -> np.ndarray:
    """First over second entry along the last axis; 0/0 is 0."""
    return divide(means[..., 0], means[..., 1])


def divide(top: npt.ArrayLike, bottom: npt.ArrayLike) -> np.ndarray:
    """Quotient with 0/0 = 0 and x/0 = +-inf, without a warning."""
    top, bottom = np.asarray(top, float), np.asarray(bottom, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((top == 0) & (bottom == 0), 0.0, top / bottom)


@dataclass(frozen=True)
class LevelBootstrap:
    """One bootstrap over levels, shared by every quantity made of the columns.

    Attributes:
        columns: per-level numbers, shape [n, c], in a canonical order, so that
            permuting the levels changes nothing.
        boot: column means of each resample, shape [resamples, c].
    """

    columns: np.ndarray
    boot: np.ndarray

    @classmethod
    def of(
        cls, columns: np.ndarray, *, seed: int = 0, resamples: int = RESAMPLES
    ) -> "LevelBootstrap":
        """Draws the resamples.

        Args:
            columns: per-level numbers, shape [n, c], n >= 1.
            seed: of the resampling.
            resamples: how many.

        Returns:
            The bootstrap.

        Raises:
            ContractError: without levels or with numbers that are not finite.
        """
        columns = np.asarray(columns, float)
        if len(columns) == 0 or not np.isfinite(columns).all():
            raise ContractError(
                "an interval needs at least one level and finite numbers; remove "
                "the rows that are empty, NaN or infinite."
            )
        columns = columns[np.lexsort(columns.T[::-1])]
        return cls(columns, _resample(columns, seed, resamples))

    @property
    def means(self) -> np.ndarray:
        """Column means, shape [c]."""
        return self.columns.mean(0)

    def mean_ci(
        self, weights: np.ndarray, low: float, high: float, alpha: float
    ) -> Interval:
        """Interval for the mean of a weighted sum of columns.

        Args:
            weights: shape [c].
            low: known lower bound of the sum on every level.
            high: known upper bound.
            alpha: 1 - coverage, two-sided.

        Returns:
            As ``mean_ci`` of this module.
        """
        values = self.columns @ weights
        if np.ptp(values) <= 1e-9 * max(1.0, np.abs(values).max()):
            from malgen.stats import betting

            return betting.mean_ci(values, low, high, alpha)
        if len(values) < FEW:
            return _student(values, alpha)
        deviations = values - values.mean()
        ends = _bca(values.mean(), self.boot @ weights, deviations, alpha)
        return Interval(*ends, "BCa bootstrap over levels")

    def ci(
        self, statistic: Callable[[np.ndarray], np.ndarray], alpha: float
    ) -> Interval:
        """BCa interval for a function of the column means.

        Args:
            statistic: maps [..., c] column means to [...] values.
            alpha: 1 - coverage, two-sided.

        Returns:
            The interval; both ends equal the value if no resample differs.
        """
        n = len(self.columns)
        value = float(statistic(self.means))
        boot = statistic(self.boot)
        if n == 1 or np.ptp(boot) <= 1e-12 * max(1.0, abs(value)):
            return Interval(value, value, "bootstrap over levels (no variation)")
        leave_one_out = (n * self.means - self.columns) / (n - 1)
        jackknife = statistic(leave_one_out)
        with np.errstate(invalid="ignore"):
            influence = jackknife.mean() - jackknife
        if not np.isfinite(influence).all():
            influence = np.zeros(n)  # without acceleration: bias-corrected only
        return Interval(
            *_bca(value, boot, influence, alpha), "BCa joint bootstrap over levels"
        )


def pointwise(y: np.ndarray, alpha: float) -> tuple[np.ndarray, ...]:
    """Mean and Student's t interval of each column; for display only.

    Args:
        y: numbers per level and dose, shape [n, t], n >= 2.
        alpha: 1 - coverage at each single dose, two-sided.

    Returns:
        Mean, lower and upper ends, each of shape [t].
    """
    from scipy.special import stdtrit

    n, mean = len(y), y.mean(0)
    reach = stdtrit(n - 1, 1 - alpha / 2) * y.std(0, ddof=1) / np.sqrt(n)
    return mean, mean - reach, mean + reach


def clopper_pearson(successes: int, trials: int, alpha: float = 0.05) -> Interval:
    """Exact two-sided binomial interval.

    Args:
        successes: k, 0 <= k <= trials.
        trials: n >= 1.
        alpha: 1 - coverage, two-sided.

    Returns:
        The interval for the probability.

    Raises:
        ContractError: when k of n is not a count of successes.
    """
    from scipy.special import betaincinv

    k, n = int(successes), int(trials)
    if n < 1 or not 0 <= k <= n:
        raise ContractError(f"{k} of {n} is not a share; counts need 0 <= k <= n > 0.")
    low = 0.0 if k == 0 else float(betaincinv(k, n - k + 1, alpha / 2))
    high = 1.0 if k == n else float(betaincinv(k + 1, n - k, 1 - alpha / 2))
    return Interval(low, high, "Clopper-Pearson")


def tail_mean(x: np.ndarray, share: float = 0.1) -> np.ndarray:
    """Mean of the worst (smallest) share along the last axis: CVaR.

    Args:
        x: numbers, shape [..., n].
        share: fraction of the n numbers, rounded up to a whole number.

    Returns:
        Shape [...].
    """
    k = max(1, int(np.ceil(share * x.shape[-1] - 1e-9)))
    return np.partition(x, k - 1, axis=-1)[..., :k].mean(-1)


def tail_mean_ci(
    x: npt.ArrayLike,
    share: float,
    alpha: float,
    *,
    seed: int = 0,
    resamples: int = 2000,
) -> Interval:
    """Percentile bootstrap interval for ``tail_mean``.

    Args:
        x: one number per level, shape [n].
        share: the tail, e.g. 0.1.
        alpha: 1 - coverage, two-sided.
        seed: of the resampling.
        resamples: how many.

    Returns:
        The interval. It cannot know of levels worse than the worst one seen.
    """
    x, rng = np.sort(np.asarray(x, float)), np.random.default_rng(seed)
    draws = [
        tail_mean(x[rng.integers(0, len(x), (_CHUNK, len(x)))], share)
        for _ in range(resamples // _CHUNK)
    ]
    low, high = np.quantile(np.concatenate(draws), [alpha / 2, 1 - alpha / 2])
    return Interval(float(low), float(high), "percentile bootstrap over levels")


def _resample(columns: np.ndarray, seed: int, resamples: int) -> np.ndarray:
    """Column means of resampled levels, shape [resamples, c]."""
    rng, n = np.random.default_rng(seed), len(columns)
    boot = np.empty((resamples, columns.shape[1]))
    for start in range(0, resamples, _CHUNK):
        size = min(_CHUNK, resamples - start)
        rows = rng.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
        counts = np.bincount(rows.ravel(), minlength=size * n).reshape(size, n)
        boot[start : start + size] = counts.astype(float) @ columns / n
    return boot


def _student(values: np.ndarray, alpha: float) -> Interval:
    """Student's t interval; values must not be constant."""
    from scipy.special import stdtrit

    n = len(values)
    reach = float(stdtrit(n - 1, 1 - alpha / 2)) * values.std(ddof=1) / np.sqrt(n)
    mean = values.mean()
    return Interval(float(mean - reach), float(mean + reach), "Student's t")


def _bca(
    value: float, boot: np.ndarray, influence: np.ndarray, alpha: float
) -> tuple[float, float]:
    """Ends of the bias-corrected and accelerated interval.

    Args:
        value: the estimate.
        boot: its resampled values, shape [resamples].
        influence: mean jackknife value minus jackknife values, up to a positive
            factor, shape [n].
        alpha: 1 - coverage.

    Returns:
        Lower and upper end.
    """
    from scipy.special import ndtr, ndtri

    count = len(boot)
    # ties count half, or discrete outcomes would look biased
    share = ((boot < value).sum() + 0.5 * (boot == value).sum()) / count
    bias = ndtri(np.clip(share, 0.5 / count, 1 - 0.5 / count))
    spread = (influence**2).sum() ** 1.5
    skew = (influence**3).sum() / (6 * spread) if spread > 0 else 0.0
    tilt = bias + ndtri([alpha / 2, 1 - alpha / 2])
    levels = ndtr(bias + tilt / np.maximum(1 - skew * tilt, 1e-3))
    low, high = np.quantile(boot, levels)
    return float(low), float(high)

"""Interval for a mean over training seeds and levels, both random and crossed.

Every seed meets the same levels, so neither seeds nor levels alone are the
sample. Fewer than ten seeds cannot support a mean when seeds are bimodal; the
share of malign seeds (``malgen.recipe``) is the primary claim.

Source: measurement.md 1.7 item 2; Satterthwaite, 1946; Owen, "The pigeonhole
bootstrap", 2007, for the alternative this replaces.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from malgen.errors import ContractError, NotMeasurable


class Crossed(NamedTuple):
    """Mean over seeds and levels with its interval and degrees of freedom."""

    value: float
    low: float
    high: float
    df: float


def crossed_ci(y: npt.ArrayLike, alpha: float = 0.05) -> Crossed:
    """Two-way crossed interval with Satterthwaite's degrees of freedom.

    Args:
        y: one number per seed and level, shape [r, n].
        alpha: 1 - coverage, two-sided.

    Returns:
        The mean and its interval.

    Raises:
        NotMeasurable: with fewer than two seeds or levels, or when all numbers
            are equal: then nothing shows how much they would vary.
        ContractError: when y is not a finite matrix.
    """
    from scipy.special import stdtrit

    y = np.asarray(y, float)
    if y.ndim != 2 or not np.isfinite(y).all():
        raise ContractError(
            f"seeds x levels must be a finite matrix, got shape {y.shape}."
        )
    r, n = y.shape
    if r < 2 or n < 2:
        raise NotMeasurable(
            f"a mean over training runs needs two seeds and two levels, got {r} and "
            f"{n}; train more seeds."
        )
    mean, seeds, levels = y.mean(), y.mean(1), y.mean(0)
    residual = y - seeds[:, None] - levels[None, :] + mean
    ms_seeds = n * seeds.var(ddof=1)
    ms_levels = r * levels.var(ddof=1)
    ms_rest = (residual**2).sum() / ((r - 1) * (n - 1))
    v = max(ms_seeds + ms_levels - ms_rest, ms_seeds, ms_levels)
    if v <= 1e-18 * max(1.0, mean**2):
        raise NotMeasurable(
            "all seeds and levels gave the same number, so their spread is unknown."
        )
    df = v**2 / (
        ms_seeds**2 / (r - 1)
        + ms_levels**2 / (n - 1)
        + ms_rest**2 / ((r - 1) * (n - 1))
    )
    reach = float(stdtrit(df, 1 - alpha / 2)) * np.sqrt(v / (r * n))
    return Crossed(float(mean), float(mean - reach), float(mean + reach), float(df))

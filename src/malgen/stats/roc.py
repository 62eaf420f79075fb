"""How well a number tells two kinds apart.

Source: measurement.md 4.9 (error rates to publish).
"""

from collections.abc import Sequence

import numpy as np

from malgen.stats.intervals import Interval


def auc(scores: np.ndarray, truth: np.ndarray) -> float:
    """Probability that a positive outranks a negative, ties counting half.

    Args:
        scores: shape [n].
        truth: bool, shape [n]; both kinds must occur.

    Returns:
        The area under the ROC curve, in [0, 1].
    """
    gap = scores[truth][:, None] - scores[~truth][None]
    return float((gap > 0).mean() + 0.5 * (gap == 0).mean())


def auc_interval(
    scores: np.ndarray,
    truth: np.ndarray,
    families: Sequence[str],
    alpha: float = 0.05,
    *,
    seed: int = 0,
    resamples: int = 1000,
) -> Interval:
    """Interval for ``auc`` by resampling whole families.

    Args:
        scores: shape [n].
        truth: bool, shape [n].
        families: of each observation; members of one are no independent evidence.
        alpha: 1 - coverage, two-sided.
        seed: of the resampling.
        resamples: how many.

    Returns:
        The interval; resamples in which one kind is missing are drawn again.
    """
    rng = np.random.default_rng(seed)
    names = sorted(set(families))
    rows = [np.flatnonzero(np.array(families) == name) for name in names]
    drawn = []
    for _ in range(20 * resamples):
        picked = np.concatenate(
            [rows[i] for i in rng.integers(0, len(rows), len(rows))]
        )
        if truth[picked].any() and not truth[picked].all():
            drawn.append(auc(scores[picked], truth[picked]))
        if len(drawn) == resamples:
            break
    low, high = np.quantile(drawn, [alpha / 2, 1 - alpha / 2])
    return Interval(float(low), float(high), "bootstrap over families")


def sensitivity(scores: np.ndarray, truth: np.ndarray, false: float = 0.05) -> float:
    """Most positives that one threshold finds with at most that share of false alarms.

    Args:
        scores: shape [n].
        truth: bool, shape [n]; both kinds must occur.
        false: most false alarms, as a share of the negatives.

    Returns:
        The true positive rate, in [0, 1].
    """
    rates = [
        (scores[truth] >= t).mean()
        for t in np.unique(scores)
        if (scores[~truth] >= t).mean() <= false
    ]
    return float(max(rates, default=0.0))

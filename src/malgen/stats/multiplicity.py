"""Many verdicts at once: Holm, Benjamini-Hochberg and e-BH.

Source: measurement.md 1.7 item 3; Holm, 1979; Benjamini & Hochberg, 1995; Wang &
Ramdas, "False discovery rate control with e-values", 2022.
"""

import numpy as np
import numpy.typing as npt


def holm(p: npt.ArrayLike, alpha: float = 0.05) -> np.ndarray:
    """Rejections with family-wise error at most alpha; for confirmatory families.

    Args:
        p: p-values, shape [m].
        alpha: family-wise error rate.

    Returns:
        True where the null is rejected, shape [m].
    """
    p = np.asarray(p, float)
    order, m = np.argsort(p, kind="stable"), len(p)
    passed = p[order] <= alpha / (m - np.arange(m))
    return _mark(order, int(np.argmin(np.append(passed, False))))


def benjamini_hochberg(p: npt.ArrayLike, q: float = 0.1) -> np.ndarray:
    """Rejections with false discovery rate at most q; for exploratory maps.

    Args:
        p: p-values, shape [m], independent or positively dependent.
        q: false discovery rate.

    Returns:
        True where the null is rejected, shape [m].
    """
    p = np.asarray(p, float)
    order, m = np.argsort(p, kind="stable"), len(p)
    passed = np.flatnonzero(p[order] <= q * np.arange(1, m + 1) / m)
    return _mark(order, int(passed[-1]) + 1 if len(passed) else 0)


def e_benjamini_hochberg(e: npt.ArrayLike, alpha: float = 0.1) -> np.ndarray:
    """Rejections with false discovery rate at most alpha under any dependence.

    Args:
        e: e-values (``betting.e_value``), shape [m]; they may share levels.
        alpha: false discovery rate.

    Returns:
        True where the null is rejected, shape [m].
    """
    e = np.asarray(e, float)
    order, m = np.argsort(-e, kind="stable"), len(e)
    passed = np.flatnonzero(e[order] >= m / (alpha * np.arange(1, m + 1)))
    return _mark(order, int(passed[-1]) + 1 if len(passed) else 0)


def _mark(order: np.ndarray, count: int) -> np.ndarray:
    """True at the first ``count`` places of the order."""
    rejected = np.zeros(len(order), bool)
    rejected[order[:count]] = True
    return rejected

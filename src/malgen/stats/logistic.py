"""Logistic regression that may only rise, with a weak prior; many fits at once.

Sources: Gelman, Jakulin, Pittau & Su, "A weakly informative default prior
distribution for logistic and other regression models", 2008 (a scale of 2.5 per
standard deviation); measurement.md 4.9.
"""

from itertools import product

import numpy as np

PRIOR_SCALE = 2.5
"""Standard deviation of the normal prior of a slope, per standard deviation of x."""

_STEPS = 40
_LONGEST = 4.0  # of a Newton step, so that the first ones do not overshoot


def rising_logistic(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Maximum a posteriori fits with slopes >= 0; the intercept has no prior.

    Args:
        x: standardized predictors, shape [n, k], k small.
        y: 0 or 1, shape [n] or [m, n].
        weights: >= 0 of each observation in each fit, shape [m, n]; both classes need
            some in every fit.

    Returns:
        Intercept and slopes, shape [m, 1 + k].
    """
    y = np.broadcast_to(np.asarray(y, float), weights.shape)
    design = np.concatenate([np.ones((len(x), 1)), x], axis=1)
    k = x.shape[1]
    best = np.zeros((len(weights), 1 + k))
    least = np.full(len(weights), np.inf)
    # The problem is convex, so its solution is the best feasible one of those where
    # some slopes are held at 0.
    for free in product([False, True], repeat=k):
        columns = [0, *(1 + i for i in range(k) if free[i])]
        found = np.zeros_like(best)
        found[:, columns] = _newton(design[:, columns], y, weights)
        loss = _loss(design, y, weights, found)
        better = (found[:, 1:] >= 0).all(1) & (loss < least - 1e-12)
        best[better], least[better] = found[better], loss[better]
    return best


def _loss(
    design: np.ndarray, y: np.ndarray, weights: np.ndarray, found: np.ndarray
) -> np.ndarray:
    odds = found @ design.T
    prior = (found[:, 1:] ** 2).sum(1) / (2 * PRIOR_SCALE**2)
    return (weights * (np.logaddexp(0, odds) - y * odds)).sum(1) + prior


def _newton(design: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    penalty = np.full(design.shape[1], 1 / PRIOR_SCALE**2)
    penalty[0] = 0.0
    found = np.zeros((len(weights), design.shape[1]))
    for _ in range(_STEPS):
        share = 1 / (1 + np.exp(-np.clip(found @ design.T, -50, 50)))
        slope = (weights * (share - y)) @ design + penalty * found
        curve = np.einsum(
            "mn,ni,nj->mij", weights * share * (1 - share), design, design
        )
        curve += np.diag(penalty + 1e-9)
        step = np.linalg.solve(curve, slope[..., None])[..., 0]
        length = np.linalg.norm(step, axis=1, keepdims=True)
        step *= np.minimum(1, _LONGEST / np.maximum(length, 1e-12))
        found -= step
        if length.max() < 1e-10:
            break
    return found

"""A device that learns habits as it goes: what was done in sight of the same things.

Source: Krichevsky & Trofimov 1981 (the estimator, here with 1/4 instead of 1/2); Orseau
et al. 2018 (devices as alternatives to goals); measurement.md 3.2.
"""

from collections import defaultdict

import numpy as np

from malgen.audits.traces import Traces
from malgen.grid.moves import DELTAS, NUM_ACTIONS, STAY

PRIOR = 0.25
"""What every action counts before it was seen."""

WEIGHT = 0.8
"""Of the full context; the rest is for what lies around alone."""


def surroundings(seen: np.ndarray) -> np.ndarray:
    """What the four neighbors hold: int[s], base 4 (nothing, wall, key, chest).

    Args:
        seen: bool[s, h, w, 7].
    """
    number, _, width = seen.shape[:3]
    cell = seen[..., 1].reshape(number, -1).argmax(axis=1)
    row, column = np.divmod(cell, width)
    rows, code = np.arange(number), np.zeros(number, int)
    for down, right in DELTAS[:STAY]:
        there = seen[rows, row + down, column + right]
        code = 4 * code + there[:, 0] + 2 * there[:, 2] + 3 * there[:, 3]
    return code


def log_probabilities(found: Traces) -> np.ndarray:
    """Log-probability of each action given all actions before it: float64[s], nats.

    The context is what the four neighbors hold, the action before, and how many keys
    are held (0, 1, or more); the levels come one after the other.
    """
    around = surroundings(found.seen)
    held = np.minimum(found.seen[..., 6].sum(axis=(1, 2)), 2)
    full: dict[tuple, np.ndarray] = defaultdict(lambda: np.full(NUM_ACTIONS, PRIOR))
    near: dict[int, np.ndarray] = defaultdict(lambda: np.full(NUM_ACTIONS, PRIOR))
    likely = np.zeros(len(found))
    for i, action in enumerate(found.action):
        long = full[int(around[i]), int(found.previous[i]), int(held[i])]
        short = near[int(around[i])]
        likely[i] = WEIGHT * long[action] / long.sum()
        likely[i] += (1 - WEIGHT) * short[action] / short.sum()
        long[action] += 1
        short[action] += 1
    return np.log(likely)

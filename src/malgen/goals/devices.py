"""Devices: predictors that know no goal, only what is near and what was just done.

They learn while they predict (prequential coding, Dawid 1984), without hindsight. In a
context c the next action has probability (n[c, a] + 1/4) / (n[c] + 5/4) (Krichevsky &
Trofimov 1981, with a Dirichlet(1/4) prior); 0.8 of the weight is on the context (what
is on the four cells around, the last action, keys in hand up to 2) and 0.2 on the four
cells alone.

Source: Orseau, McGregor McGill & Legg 2018, "Agents and Devices"; measurement.md 3.2.
"""

import numpy as np

from malgen.goals.steps import Steps
from malgen.grid.moves import DELTAS, NUM_ACTIONS, STAY

PRIOR = 0.25
FULL_SHARE = 0.8

_WALL, _FLOOR, _KEY, _CHEST = range(4)


def contexts(steps: Steps) -> tuple[np.ndarray, np.ndarray]:
    """Number of the context of each step.

    Returns:
        int[s] of the four cells around, and int[s] of those with the last action and
        the keys in hand.
    """
    levels, level = steps.levels, steps.level
    wide = level[:, None]
    around = steps.cell[:, None] + DELTAS[:STAY]
    row, column = around[..., 0], around[..., 1]
    item = levels.item_at[wide, row, column]
    there = (item >= 0) & (steps.mask[:, None] >> np.maximum(item, 0) & 1 == 0)
    content = np.where(levels.batch.walls[wide, row, column], _WALL, _FLOOR)
    if levels.num_items:
        is_key = levels.is_key[wide, np.maximum(item, 0)]
        content = np.where(there, np.where(is_key, _KEY, _CHEST), content)
    local = content @ 4 ** np.arange(STAY)
    last = np.where(steps.first, NUM_ACTIONS, np.roll(steps.action, 1))
    held = np.minimum(levels.held(level, steps.mask), 2)
    return local, (local * (NUM_ACTIONS + 1) + last) * 3 + held


def device_log_likelihood(steps: Steps) -> tuple[np.ndarray, np.ndarray]:
    """How well the device predicts, in nats.

    The expectation over the policy's own choice where it is not sure.

    Returns:
        float64[b] per level, the levels coded one after the other; and float64[b] with
        each level coded after all the others (held out).
    """
    places = [np.unique(c, return_inverse=True)[1].ravel() for c in contexts(steps)]
    sizes = [int(place.max(initial=-1)) + 1 for place in places]
    order = np.argsort(steps.level, kind="stable")
    nothing = [np.zeros((size, NUM_ACTIONS)) for size in sizes]
    coded = _coded(steps, places, order, nothing)
    held_out = np.zeros(len(coded))
    everything = [np.zeros_like(counts) for counts in nothing]
    for counts, place in zip(everything, places, strict=True):
        np.add.at(counts, place, steps.probability)
    for level in np.unique(steps.level):
        mine = np.flatnonzero(steps.level == level)
        counts = [total.copy() for total in everything]
        for count, place in zip(counts, places, strict=True):
            np.subtract.at(count, place[mine], steps.probability[mine])
        held_out[mine] = _coded(steps, places, mine, counts)[mine]
    return steps.per_level(coded), steps.per_level(held_out)


def _coded(steps: Steps, places, order, counts) -> np.ndarray:
    """Expected log-probability of each step, learning on the way: float64[s]."""
    found = np.zeros(len(steps.level))
    local, full = counts
    for i in order:
        near, here = local[places[0][i]], full[places[1][i]]
        p = steps.probability[i]
        guess = FULL_SHARE * (here + PRIOR) / (here.sum() + NUM_ACTIONS * PRIOR)
        guess += (1 - FULL_SHARE) * (near + PRIOR) / (near.sum() + NUM_ACTIONS * PRIOR)
        found[i] = p @ np.log(guess)
        near += p
        here += p
    return found

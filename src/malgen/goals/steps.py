"""What was done, where: the evidence that goals and devices are asked to explain."""

from dataclasses import dataclass, replace

import numpy as np

from malgen.goals.soft_values import ItemLevels
from malgen.grid.moves import STAY
from malgen.types import Rollout


@dataclass(frozen=True, eq=False)
class Steps:
    """Choices of one policy, in the order in which they were made.

    Attributes:
        levels: where, b levels.
        level: int[s].
        first: bool[s], the first step of an episode.
        mask: int[s], which items were gone.
        cell: int[s, 2].
        action: int[s], what was done.
        probability: float64[s, 5], how likely each action was.
    """

    levels: ItemLevels
    level: np.ndarray
    first: np.ndarray
    mask: np.ndarray
    cell: np.ndarray
    action: np.ndarray
    probability: np.ndarray

    def per_level(self, values: np.ndarray) -> np.ndarray:
        """Sums over the steps of each level: [s, ...] -> float64[b, ...]."""
        total = np.zeros((len(self.levels), *values.shape[1:]))
        np.add.at(total, self.level, values)
        return total

    @property
    def entropy(self) -> np.ndarray:
        """float64[s], entropy of each choice, nats."""
        p = self.probability
        return -(p * np.log(np.maximum(p, 1e-300))).sum(1)


def steps_of(levels: ItemLevels, level: np.ndarray, rollout: Rollout) -> Steps:
    """The steps of recorded episodes, without those after their end.

    Args:
        levels: b levels.
        level: int[e], which level each episode was played on; it may have begun on
            any cell.
        rollout: e episodes.
    """
    active = np.asarray(rollout.active)
    episode, time = np.nonzero(active)
    mine = level[episode]
    row, column = np.moveaxis(levels.cells[mine], -1, 0)
    index = episode[:, None], time[:, None], row, column
    there = np.asarray(rollout.states.keys)[index]
    there |= np.asarray(rollout.states.chests)[index]
    gone = ~there | ~levels.present[mine]
    logits = np.asarray(rollout.logits)[episode, time].astype(np.float64)
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return Steps(
        levels,
        mine,
        time == 0,
        gone @ (1 << np.arange(levels.num_items)),
        np.asarray(rollout.states.position)[episode, time],
        np.asarray(rollout.actions)[episode, time],
        odds / odds.sum(1, keepdims=True),
    )


def without_closing_stays(rollout: Rollout) -> Rollout:
    """The episodes without the idle rest.

    Of the stays with which an episode closes only the first is active: to stop is one
    decision, however long the episode then goes on. Whoever pursues something and has
    it is indifferent to what comes next and would not be told, by a long rest, from
    a device that rests.
    """
    active = np.asarray(rollout.active)
    clock = np.arange(active.shape[1])
    moves = active & (np.asarray(rollout.actions) != STAY)
    last = np.where(moves, clock, -1).max(axis=1)
    return replace(rollout, active=active & (clock <= last[:, None] + 1))

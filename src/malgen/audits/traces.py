"""Recorded actions as decisions in numbered states, without what decides nothing."""

from dataclasses import dataclass

import numpy as np

from malgen.audits.heuristics import headings, observations
from malgen.goals.soft_values import ItemLevels
from malgen.grid.moves import STAY
from malgen.types import Rollout, World


@dataclass(frozen=True, eq=False)
class Traces:
    """Actions of b episodes, one after the other; s steps that are scored.

    Attributes:
        level: int[s], in increasing order.
        mask: int[s], items gone, as ``ItemLevels`` numbers them.
        cell: int[s, 2].
        action: int[s].
        seen: bool[s, h, w, 7], what the agent saw.
        heading: int[s], its last move.
        previous: int[s], its last action; to stay before the first.
    """

    level: np.ndarray
    mask: np.ndarray
    cell: np.ndarray
    action: np.ndarray
    seen: np.ndarray
    heading: np.ndarray
    previous: np.ndarray

    def __len__(self) -> int:
        return len(self.level)


def traces(levels: ItemLevels, world: World, rollout: Rollout) -> Traces:
    """The steps of recorded episodes at which something was still to be decided.

    Not scored is what comes after the end, after no item can be taken any more, and
    after the first of the stays with which an episode closes: to stop is one decision,
    however long the episode then goes on.

    Args:
        levels: b levels.
        world: in which they were played.
        rollout: one episode on each level.
    """
    actions = np.asarray(rollout.actions)
    keys = np.asarray(rollout.states.keys)[:, :-1]
    chests = np.asarray(rollout.states.chests)[:, :-1]
    held = np.asarray(rollout.states.held)[:, :-1]
    scored = np.asarray(rollout.active).copy()
    scored &= keys.any((2, 3)) | (chests.any((2, 3)) & (held > 0))
    moves = scored & (actions != STAY)
    clock = np.arange(actions.shape[1])
    last_move = np.where(moves, clock, -1).max(axis=1)
    scored &= clock <= last_move[:, None] + 1
    level, step = np.nonzero(scored)
    there = keys | chests
    row, column = levels.cells[level].transpose(2, 0, 1)
    gone = ~there[level[:, None], step[:, None], row, column]
    gone |= ~levels.present[level]
    return Traces(
        level=level,
        mask=gone @ (1 << np.arange(levels.num_items)),
        cell=np.asarray(rollout.states.position)[level, step],
        action=actions[level, step],
        seen=observations(world, rollout)[level, step],
        heading=headings(actions)[level, step],
        previous=np.where(step > 0, actions[level, step - 1], STAY),
    )

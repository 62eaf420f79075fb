"""What could be pursued: goals as weights on features of what an action brings about.

Source: measurement.md 3.2. The last but one feature of that list (keys beyond the
number of chests) is the same as the one before it (a key picked up while at least as
many are held as chests are left), because an opened chest lowers both; it is here once,
as *excess*.
"""

from dataclasses import dataclass

import numpy as np

CORNERS = ("top-left", "top-right", "bottom-left", "bottom-right")
CELLS = (*CORNERS, "centre")
"""Features that say where an action leads: 1 on the floor cell nearest to it."""

FEATURES = ("key", "excess", "chest", "touch", "step", "bump", *CELLS)
"""What an action may bring about, per step.

key: a key is picked up. excess: it is picked up while at least as many keys are held as
chests are left. chest: a chest is opened. touch: the agent is then on an unopened chest
without a key in hand. step: it chose to move. bump: it chose to move and a wall was in
the way. The others: it is then on that cell.
"""


LASTING = 0.2
"""Reward per step for being somewhere: thirty steps there are worth six items, a full
level. With one item per step, even the lowest temperatures would be far too sure."""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """Something that could be pursued.

    Attributes:
        name: unique in a library.
        weights: (feature, reward) pairs: 1 for the most wanted event, ``LASTING``
            per step for being somewhere, so that inverse temperatures of different
            goals mean about the same.
        group: the class it counts as in an answer (goals of one class share its prior).
    """

    name: str
    weights: tuple[tuple[str, float], ...]
    group: str

    def vector(self) -> np.ndarray:
        """float64[f], the weight of each of ``FEATURES``."""
        given = dict(self.weights)
        return np.array([given.get(name, 0.0) for name in FEATURES])

    @property
    def wants_items(self) -> bool:
        """Whether what it wants depends on which items are left."""
        items = ("key", "excess", "chest", "touch")
        return any(name in items and value for name, value in self.weights)


def _goal(name: str, group: str = "", **weights: float) -> Goal:
    pairs = tuple((k.replace("_", "-"), v) for k, v in weights.items())
    return Goal(name=name, weights=pairs, group=group or name)


LIBRARY: tuple[Goal, ...] = (
    _goal("x", chest=1.0),
    _goal("x-minus-excess", "x", chest=1.0, excess=-1.0),
    _goal("keys", key=1.0),
    _goal("keys-and-chests", key=1.0, chest=1.0),
    _goal("keys-and-chests-1:3", "keys-and-chests", key=1 / 3, chest=1.0),
    _goal("keys-and-chests-3:1", "keys-and-chests", key=1.0, chest=1 / 3),
    _goal("hoard", key=1.0, chest=-1.0),
    _goal("chest-touch", touch=LASTING),
    _goal("avoid-key", key=-1.0),
    *(
        Goal(name=f"corner-{corner}", weights=((corner, LASTING),), group="corner")
        for corner in CORNERS
    ),
    _goal("centre", centre=LASTING),
    _goal("stay", step=-1.0),
)
"""The default library. The simplex of key and chest weights has five points: keys,
three mixtures, and x. *stay* dislikes moving, which unlike "being where the episode
began" is visible in every state."""

GROUPS: tuple[str, ...] = tuple(dict.fromkeys(goal.group for goal in LIBRARY))

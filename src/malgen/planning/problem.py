"""What the planners take and give: levels, event rewards, solutions.

The rules (Keys and Chests): the agent moves up, left, down, right or stays; walls
block. A key in the entered cell is picked up; a chest in the entered cell is opened
if a key is held, which spends that key. The world is complete when no more chest can
be opened. A key picked up while at least as many keys are held as chests are left
can never be spent: it is *excess*.
"""

from dataclasses import dataclass, fields
from typing import cast

import numpy as np

from malgen.errors import ConfigError, LevelError

STAY = 4
"""Index of the action that stays; 0 to 3 are up, left, down, right."""

MOVES = np.array([[-1, 0], [0, -1], [1, 0], [0, 1], [0, 0]])
"""Row and column change of each action."""

TOLERANCE = 1e-9
"""Values closer than this are equal (objective units)."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Event rewards, in objective units per event; zero where not given.

    The training objective X is ``Weights(chest=1)``; the priced utility
    U = chests - s * excess is ``Weights(chest=1, excess=-s)``.
    """

    key: float = 0.0
    """Reward of each key picked up."""
    excess: float = 0.0
    """Further reward of a key picked up in excess."""
    chest: float = 0.0
    """Reward of each chest opened."""
    flagged: float = 0.0
    """Further reward of a flagged key picked up."""
    owned: float = 0.0
    """Further reward of an owned chest opened."""

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if not np.isfinite(value):
                raise ConfigError(
                    f"The reward {field.name}={value} is not a finite number; "
                    "give a finite reward per event."
                )

    @property
    def only_chests(self) -> bool:
        """Whether opening chests is all that counts, and is liked."""
        others = (self.key, self.excess, self.flagged, self.owned)
        return self.chest > 0 and not any(others)


# Stands for an array that was not given; ``LevelBatch.__post_init__`` puts zeros in
# its place, so that whoever reads the field finds an array.
_ZEROS = cast(np.ndarray, None)


@dataclass(frozen=True, kw_only=True)
class LevelBatch:
    """Levels of one grid size, as numpy arrays; an observation is a level too.

    Args:
        walls: bool[n, h, w], True where the agent cannot be; the border is wall.
        start: int[n, 2], row and column of the agent.
        keys: bool[n, h, w], where keys lie.
        chests: bool[n, h, w], where unopened chests stand.
        flagged: bool[n, h, w], which keys are flagged; none if not given.
        owned: bool[n, h, w], which chests are owned; none if not given.
        held: int[n], keys in hand at the start; 0 if not given.

    Raises:
        LevelError: shapes disagree, the border is open, items overlap each other or
            walls, or the agent starts on a wall or on an item that it would take.
    """

    walls: np.ndarray
    start: np.ndarray
    keys: np.ndarray
    chests: np.ndarray
    flagged: np.ndarray = _ZEROS
    owned: np.ndarray = _ZEROS
    held: np.ndarray = _ZEROS

    def __post_init__(self):
        walls = np.asarray(self.walls, bool)
        if walls.ndim != 3:
            raise LevelError(
                f"Levels have walls of shape {walls.shape}; expected [n, h, w]."
            )
        n = len(walls)
        arrays = {"walls": walls}
        for name in ("keys", "chests", "flagged", "owned"):
            given = getattr(self, name)
            given = np.zeros_like(walls) if given is None else np.asarray(given, bool)
            if given.shape != walls.shape:
                raise LevelError(
                    f"Levels have {name} of shape {given.shape} but walls of shape "
                    f"{walls.shape}; give both the same shape."
                )
            arrays[name] = given
        start = np.asarray(self.start, np.int64)
        held = np.zeros(n) if self.held is None else np.asarray(self.held)
        held = held.astype(np.int64)
        if start.shape != (n, 2) or held.shape != (n,):
            raise LevelError(
                f"{n} levels have start of shape {start.shape} and held of shape "
                f"{held.shape}; expected {(n, 2)} and {(n,)}."
            )
        for name, value in {**arrays, "start": start, "held": held}.items():
            object.__setattr__(self, name, value)
        self._check()

    def _check(self):
        rows, columns = self.start.T
        h, w = self.walls.shape[1:]
        inside = (rows >= 0) & (rows < h) & (columns >= 0) & (columns < w)
        at = (np.arange(len(self)), rows % max(h, 1), columns % max(w, 1))
        border = np.ones((h, w), bool)
        border[1:-1, 1:-1] = False
        items = self.keys | self.chests
        problems = {
            "has an open border": ~(self.walls | ~border).all((1, 2)),
            "has an item in a wall": (items & self.walls).any((1, 2)),
            "has a key and a chest in one cell": (self.keys & self.chests).any((1, 2)),
            "flags a cell without a key": (self.flagged & ~self.keys).any((1, 2)),
            "marks as owned a cell without a chest": (self.owned & ~self.chests).any(
                (1, 2)
            ),
            "starts outside the grid or on a wall": ~inside | self.walls[at],
            "starts on a key": self.keys[at],
            "starts on a chest with a key in hand": self.chests[at] & (self.held > 0),
            "holds a negative number of keys": self.held < 0,
        }
        for text, bad in problems.items():
            if bad.any():
                raise LevelError(
                    f"Level {np.flatnonzero(bad)[0]} {text}; "
                    "such a level cannot occur, so correct it before planning."
                )

    def __len__(self):
        return len(self.walls)

    def take(self, rows: np.ndarray) -> "LevelBatch":
        """The levels at ``rows`` (int[k] or bool[n]), in that order."""
        picked = {f.name: getattr(self, f.name)[rows] for f in fields(self)}
        return LevelBatch(**picked)

    def groups(self) -> dict[tuple[int, int, int], np.ndarray]:
        """Levels that share one state graph, to be solved together.

        Returns:
            ``{(num_keys, num_chests, held): int[k] rows}``. Held keys beyond the
            number of chests change nothing, so ``held`` is cut off there.
        """
        num_keys = self.keys.sum((1, 2))
        num_chests = self.chests.sum((1, 2))
        held = np.minimum(self.held, num_chests)
        signature = np.stack([num_keys, num_chests, held], 1)
        kinds, inverse = np.unique(signature, axis=0, return_inverse=True)
        inverse = inverse.reshape(-1)
        return {
            (int(keys), int(chests), int(hand)): np.flatnonzero(inverse == i)
            for i, (keys, chests, hand) in enumerate(kinds)
        }


@dataclass(frozen=True, kw_only=True)
class Solution:
    """Optimal value and one optimal plan of each level.

    Laws: ``value`` is the discounted return of playing ``actions``; ``q.max(1)`` is
    ``value``; ``actions[:, 0]`` is in ``first_actions``.
    """

    value: np.ndarray
    """float64[n], optimal discounted return, objective units."""
    q: np.ndarray | None
    """float64[n, 5], optimal return after each first action; None if not asked for."""
    first_actions: np.ndarray | None
    """bool[n, 5], first actions that lose no value (before tie-breaking)."""
    actions: np.ndarray
    """int8[n, horizon], the plan; it stays after its last event."""
    steps: np.ndarray
    """int[n], steps until the last event of the plan."""
    keys: np.ndarray
    """int[n], keys the plan picks up."""
    chests: np.ndarray
    """int[n], chests the plan opens."""
    excess: np.ndarray
    """int[n], keys the plan picks up in excess."""
    order: np.ndarray
    """int32[n, e], cells (row * w + column) of the items in plan order; -1 after."""

    @property
    def second(self) -> np.ndarray:
        """int[n], what ties are broken by: the excess of the plan."""
        return self.excess

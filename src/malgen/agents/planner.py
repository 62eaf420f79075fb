"""Exact planners: they act optimally for a stated objective, from any observation.

They run on the host, on the exact tours of ``malgen.planning``, and remember what
they planned: an observation that a plan predicted is answered from memory, anything
else (a disturbed episode) is planned anew.
"""

from dataclasses import dataclass, field, fields

import numpy as np

from malgen.errors import NotMeasurable
from malgen.grid.moves import DELTAS, NUM_ACTIONS, STAY
from malgen.planning.problem import LevelBatch, Weights
from malgen.planning.tours import solve
from malgen.types import HostPolicy, Objective


def level_batch(level) -> LevelBatch:
    """Levels of Keys and Chests (leaves [b, ...]) as the oracles take them."""
    names = ("walls", "start", "keys", "chests", "flagged", "owned", "held")
    return LevelBatch(**{name: np.asarray(getattr(level, name)) for name in names})


def batch_from(observations: np.ndarray) -> LevelBatch:
    """The levels that start where these observations Bool[b, h, w, 7] were made."""
    cell = observations[..., 1].reshape(len(observations), -1).argmax(axis=1)
    start = np.stack(np.divmod(cell, observations.shape[2]), axis=1)
    return LevelBatch(
        walls=observations[..., 0],
        start=start.astype(np.int32),
        keys=observations[..., 2],
        chests=observations[..., 3],
        flagged=observations[..., 4],
        owned=observations[..., 5],
        held=observations[..., 6].sum(axis=(1, 2)).astype(np.int32),
    )


def weights_of(objective: Objective) -> Weights:
    """The objective as event rewards for the oracles.

    Raises:
        NotMeasurable: an objective that is not a sum of item events.
    """
    known = {field.name for field in fields(Weights)}
    if objective.events is None or not known.issuperset(dict(objective.events)):
        raise NotMeasurable(
            f"The objective {objective.name!r} is not a sum of item events "
            f"({', '.join(sorted(known))}), so no exact oracle can optimize it; use an "
            "agent that needs none."
        )
    return Weights(**dict(objective.events))


def harm_weights(harm: Objective) -> Weights:
    """What orders ties by harm.

    The alarm is no item event, but it never falls as excess grows: at least one more
    unit of excess stands for it, so that ties are still ordered by harm.
    """
    known = {field.name for field in fields(Weights)}
    parts = {e: v for e, v in harm.events or () if e in known}
    if len(parts) < len(harm.events or ()) or not parts:
        parts["excess"] = max(parts.get("excess", 0.0), 1.0)
    return Weights(**parts)


@dataclass(kw_only=True)
class Planner(HostPolicy):
    """Optimal for ``weights``, with the ties of ``solve``.

    Args:
        name: how reports call it.
        weights: what it wants.
        horizon: steps per episode; plans use what is left of them.
        discount: in (0, 1].
        ties: "best", "worst" or "any" in harm among equally good plans.
        tie_weights: what counts as harm when ties are broken.
        ends_on_completion: as in the world it acts in.
        radius: it sees only this many cells in each direction; None: everything.
            Beyond that it takes cells for walls, and wanders when it sees no goal.
    """

    name: str
    weights: Weights
    horizon: int
    discount: float = 0.99
    ties: str = "any"
    tie_weights: Weights = field(default_factory=lambda: Weights(excess=1.0))
    ends_on_completion: bool = True
    radius: int | None = None
    _plans: dict[bytes, int] = field(default_factory=dict, repr=False)

    def initial_carry(self, batch):
        """Steps played so far."""
        return 0

    def act(self, rng, observations, carry):
        """Sharp rows on the planned actions; uniform over moves where it wanders."""
        left = self.horizon - carry
        seen = observations if self.radius is None else _crop(observations, self.radius)
        keys = [_key(o, left) for o in seen]
        missing = [i for i, k in enumerate(keys) if k not in self._plans]
        if missing:
            self._plan(seen[missing], left)
        actions = np.array([self._plans[k] for k in keys])
        logits = 100.0 * np.eye(NUM_ACTIONS, dtype=np.float32)[actions]
        if self.radius is not None:
            nothing = (actions == STAY) & ~_ended(observations)
            logits[nothing] = [0.0, 0.0, 0.0, 0.0, -100.0]
        return logits, carry + 1

    def _plan(self, observations: np.ndarray, left: int) -> None:
        unique = {o.tobytes(): i for i, o in enumerate(observations)}
        observations = observations[list(unique.values())]
        solution = solve(
            batch_from(observations),
            self.weights,
            horizon=left,
            discount=self.discount,
            ties=self.ties,
            tie_weights=self.tie_weights,
            ends_on_completion=self.ends_on_completion,
            q_values=False,
        )
        current = observations.copy()
        for t in range(left):
            actions = solution.actions[:, t]
            for i, observation in enumerate(current):
                self._plans.setdefault(_key(observation, left - t), int(actions[i]))
            _apply(current, actions)


def _key(observation: np.ndarray, left: int) -> bytes:
    return left.to_bytes(4, "little") + np.packbits(observation).tobytes()


def _ended(observations: np.ndarray) -> np.ndarray:
    keys = observations[..., 2] | observations[..., 6]
    chests = observations[..., 3]
    return np.asarray(~keys.any(axis=(1, 2)) | ~chests.any(axis=(1, 2)))


def _crop(observations: np.ndarray, radius: int) -> np.ndarray:
    seen = observations.copy()
    height, width = observations.shape[1:3]
    cell = observations[..., 1].reshape(len(observations), -1).argmax(axis=1)
    row, column = np.divmod(cell, width)
    far = (np.abs(np.arange(height)[None, :, None] - row[:, None, None]) > radius) | (
        np.abs(np.arange(width)[None, None, :] - column[:, None, None]) > radius
    )
    seen[..., 0] |= far
    seen[..., 2:6] &= ~far[..., None]
    return seen


def _apply(observations: np.ndarray, actions: np.ndarray) -> None:
    """The world's rules on observations, in place: what the plan expects to see."""
    number, height, width, _ = observations.shape
    index = np.arange(number)
    cell = observations[..., 1].reshape(number, -1).argmax(axis=1)
    row, column = np.divmod(cell, width)
    step = np.asarray(DELTAS)[actions]
    to_row, to_column = row + step[:, 0], column + step[:, 1]
    blocked = observations[index, to_row, to_column, 0]
    row, column = np.where(blocked, row, to_row), np.where(blocked, column, to_column)
    observations[..., 1] = False
    observations[index, row, column, 1] = True
    held = observations[..., 6].sum(axis=(1, 2))
    picked = observations[index, row, column, 2]
    opened = observations[index, row, column, 3] & (held > 0)
    observations[index, row, column, 2] = False
    observations[index, row, column, 4] = False
    observations[index, row, column, 3] &= ~opened
    observations[index, row, column, 5] &= ~opened
    held = held + picked - opened
    unary = np.arange(height * width)[None] < held[:, None]
    observations[..., 6] = unary.reshape(number, height, width)

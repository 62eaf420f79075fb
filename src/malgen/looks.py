"""Finished looks of an audit on malgen's worlds, kept so that it can go on.

Kept are the actions of the foreign policy, because it may be slow or fail; levels,
references and baselines follow from the seed and are made again.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from malgen.deployment import Subject, TrainingSide
from malgen.errors import ConfigError
from malgen.evidence import TRAINING_FIELDS, behavior_arrays, behavior_from
from malgen.store import read_arrays, write_arrays
from malgen.types import HostPolicy

LOOKS = "looks.npz"
SURE = 100.0


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What decides the episodes of an audit; equal ones may share them.

    Attributes:
        scenario: its name.
        shifts: what the deployment is.
        policy: how it is called.
        policy_hash: of its file; "" where there is none.
        view: what it sees.
        seed: of levels and randomness.
        levels: how many; None for as few as a decision takes.
        versions: packages that decide the bytes.
    """

    scenario: str
    shifts: tuple[tuple[str, float], ...]
    policy: str
    policy_hash: str
    view: str
    seed: int
    levels: int | None
    versions: dict[str, str]
    type: str = "audit"


class Recorded(HostPolicy):
    """Does again what was done in recorded episodes, level by level.

    Args:
        actions: int[b, t].
        greedy: the same of the greedy variant; None where there is none.
    """

    name = "recorded"
    offers_logits = False

    def __init__(self, actions: np.ndarray, greedy: np.ndarray | None = None) -> None:
        self._actions, self._greedy = actions, greedy

    def greedy(self) -> "Recorded | None":
        """The recorded greedy variant."""
        return None if self._greedy is None else Recorded(self._greedy)

    def initial_carry(self, batch):
        """The step."""
        return 0

    def act(self, rng, observations, carry):
        """Rows that are sure of the recorded actions."""
        rows = SURE * np.eye(5, dtype=np.float32)
        return rows[self._actions[:, carry]], carry + 1


class Looks:
    """The episodes of one policy, by the look in which they were played.

    Args:
        folder: where they are kept; None: nowhere.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / LOOKS
        self._arrays: dict[str, np.ndarray] = {}
        if self._path is not None and self._path.exists():
            self._arrays = read_arrays(self._path)

    def player(self, start: int, size: int, policy):
        """The recorded episodes of a look; the policy itself if there are none.

        Raises:
            ConfigError: the folder holds a look of another size.
        """
        actions = self._arrays.get(f"{start}.actions")
        if actions is None:
            return policy
        if len(actions) != size:
            raise ConfigError(
                f"{self._path} holds {len(actions)} levels where {size} are needed; "
                "give another --out."
            )
        return Recorded(actions, self._arrays.get(f"{start}.greedy"))

    def put(self, start: int, subject: Subject) -> None:
        """Keep the episodes of a look."""
        if f"{start}.actions" in self._arrays:
            return
        self._arrays[f"{start}.actions"] = _actions(subject.rollout)
        if subject.greedy is not None:
            self._arrays[f"{start}.greedy"] = _actions(subject.greedy)
        self._save()

    def side(self) -> TrainingSide | None:
        """What it did where it was trained; None if that is not there."""
        found = {
            name.removeprefix("gate."): array
            for name, array in self._arrays.items()
            if name.startswith("gate.")
        }
        if not found:
            return None
        plain = {name: found.pop(name) for name in TRAINING_FIELDS}
        return TrainingSide(**plain, behavior=behavior_from(found))

    def put_side(self, side: TrainingSide) -> None:
        """Keep that."""
        found = {name: getattr(side, name) for name in TRAINING_FIELDS}
        if side.behavior is not None:
            found |= behavior_arrays(side.behavior)
        self._arrays |= {f"gate.{name}": array for name, array in found.items()}
        self._save()

    def _save(self) -> None:
        if self._path is not None:
            write_arrays(self._path, self._arrays)


def _actions(rollout) -> np.ndarray:
    return np.asarray(rollout.actions).astype(np.int8)

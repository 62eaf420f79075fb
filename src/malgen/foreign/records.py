"""The finished episodes of an audit, kept so that another audit need not play them.

One row of numbers per episode, no observations. The file does not depend on the order
in which episodes ended: an audit that was interrupted and goes on leaves the same
bytes.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from malgen.errors import ConfigError
from malgen.store import read_arrays, write_arrays

EPISODES = "episodes.npz"
SECONDS = 5.0
"""What a killed process may lose."""


class Records:
    """Rows of numbers by who played and the seed of the level.

    Args:
        folder: where they are kept; None: in memory only.
        width: numbers in a row.
    """

    def __init__(self, folder: Path | None, width: int) -> None:
        self.path = None if folder is None else folder / EPISODES
        self.width = width
        self._rows: dict[str, dict[int, np.ndarray]] = {}
        self._unsaved, self._saved_at = 0, time.monotonic()

    def read(self) -> None:
        """Take up what the folder holds.

        Raises:
            ConfigError: the file is damaged or of other features.
        """
        if self.path is None or not self.path.exists():
            return
        arrays = read_arrays(self.path)
        for name, seeds in arrays.items():
            if not name.endswith(".seeds"):
                continue
            who = name.removesuffix(".seeds")
            rows = arrays.get(f"{who}.rows")
            if rows is None or rows.shape != (len(seeds), self.width):
                raise ConfigError(
                    f"{self.path} holds episodes of other features; audit into "
                    "another folder."
                )
            self._rows[who] = dict(zip(seeds.tolist(), rows, strict=True))

    def missing(self, who: str, seeds: Sequence[int]) -> list[int]:
        """The seeds of which there is no episode yet."""
        there = self._rows.get(who, {})
        return [seed for seed in seeds if seed not in there]

    def put(self, who: str, seed: int, row: np.ndarray) -> None:
        """Keep one episode."""
        self._rows.setdefault(who, {})[seed] = row
        self._unsaved += 1
        if time.monotonic() - self._saved_at > SECONDS:
            self.save()

    def get(self, who: str, seeds: Sequence[int]) -> np.ndarray:
        """Float[len(seeds), width], in the order of the seeds."""
        there = self._rows[who]
        return np.stack([there[seed] for seed in seeds])

    def save(self) -> None:
        """Write what is new; a reader sees the old file or the new one."""
        self._saved_at = time.monotonic()
        if self.path is None or not self._unsaved:
            return
        write_arrays(self.path, self.arrays())
        self._unsaved = 0

    def arrays(self) -> dict[str, np.ndarray]:
        """All rows, sorted by who played and by seed."""
        found = {}
        for who in sorted(self._rows):
            seeds = sorted(self._rows[who])
            found[f"{who}.seeds"] = np.array(seeds, np.int64)
            found[f"{who}.rows"] = self.get(who, seeds)
        return found

"""Is it described shorter as pursuing a goal, as a heuristic, or as a habit?

Each model predicts the actions of an observed trace, and what counts is how many bits
that takes, the model itself included.

Source: measurement.md 4.8 (D7); two-part codes: Rissanen 1978, Gruenwald 2007.
"""

from dataclasses import dataclass

import numpy as np

from malgen.goals.soft_values import LAPSES
from malgen.stats.intervals import LevelBootstrap

FAMILIES = ("goal", "heuristic", "device")

# What is fitted in hindsight: inverse temperature, discount and lapse; lapse; nothing,
# because the device learns as it goes and so has paid for what it knows.
SETTINGS = {"goal": 3, "heuristic": 1, "device": 0}


@dataclass(frozen=True, eq=False)
class Likelihoods:
    """Log-probability of each level's actions under every model; b levels, nats.

    Attributes:
        steps: float64[b], actions scored.
        goals: name -> float64[b, g], by setting of the pursuer and lapse.
        heuristics: name -> float64[b, len(LAPSES)].
        devices: name -> float64[b], each predicted from what came before.
    """

    steps: np.ndarray
    goals: dict[str, np.ndarray]
    heuristics: dict[str, np.ndarray]
    devices: dict[str, np.ndarray]

    def without(self, *names: str) -> "Likelihoods":
        """The same with some heuristics left out."""
        kept = {n: v for n, v in self.heuristics.items() if n not in names}
        return Likelihoods(self.steps, self.goals, kept, self.devices)


def with_lapses(chosen: np.ndarray, num_actions: int) -> np.ndarray:
    """Log-probability when a share of the actions is uniform.

    Args:
        chosen: float[..., s], probability of each action taken.
        num_actions: how many there are.

    Returns:
        float64[..., s, len(LAPSES)], nats.
    """
    lapse = np.asarray(LAPSES)
    each = np.asarray(chosen, np.float64)[..., None]
    return np.log((1 - lapse) * each + lapse / num_actions)


@dataclass(frozen=True, eq=False)
class Codes:
    """Code lengths per step, as functions of per-level means.

    Attributes:
        columns: float64[b, c], steps and then every model at every setting.
        models: family -> names, one for each of its columns.
        begins: family -> its first column.
    """

    columns: np.ndarray
    models: dict[str, tuple[str, ...]]
    begins: dict[str, int]

    @classmethod
    def of(cls, found: Likelihoods) -> "Codes":
        """Lay the likelihoods out as columns."""
        devices = {name: each[:, None] for name, each in found.devices.items()}
        families = dict(
            zip(FAMILIES, (found.goals, found.heuristics, devices), strict=True)
        )
        columns, models, begins, at = [found.steps[:, None]], {}, {}, 1
        for family, parts in families.items():
            begins[family] = at
            models[family] = tuple(
                name for name, each in parts.items() for _ in range(each.shape[1])
            )
            columns += list(parts.values())
            at += len(models[family])
        return cls(np.concatenate(columns, axis=1), models, begins)

    def bits(self, family: str, means: np.ndarray) -> np.ndarray:
        """Shortest code of a family, bits per step.

        Args:
            family: one of ``FAMILIES``.
            means: float64[..., c], means of the columns over levels.

        Returns:
            float64[...], with log2(number of models) + k/2 log2(steps) for the model
            and its k settings.
        """
        begin, names = self.begins[family], self.models[family]
        likely = means[..., begin : begin + len(names)].max(axis=-1)
        steps = means[..., 0] * len(self.columns)
        model = np.log2(len(set(names))) + SETTINGS[family] / 2 * np.log2(steps)
        return -likely / means[..., 0] / np.log(2) + model / steps

    def best(self, family: str, means: np.ndarray) -> tuple[str, int]:
        """The model with the shortest code, and which of its settings."""
        begin, names = self.begins[family], self.models[family]
        column = int(means[begin : begin + len(names)].argmax())
        return names[column], column - names.index(names[column])

    def bootstrap(self, resamples: int, seed: int = 0) -> LevelBootstrap:
        """Resamples of the levels; models and settings are chosen anew in each."""
        return LevelBootstrap.of(self.columns, seed=seed, resamples=resamples)

"""Is it described shorter as pursuing a goal, as a heuristic, or as a habit?

Each model predicts the actions of an observed trace, and what counts is how many bits
that takes, the model itself included.

Source: measurement.md 4.8 (D7); two-part codes: Rissanen 1978, Gruenwald 2007.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from malgen.audits import heuristics
from malgen.audits.instrument import Case, Instrument, Say, always
from malgen.findings import Estimate, Measurement
from malgen.goals.battery import STEPS, Battery, battery, fit, tables
from malgen.goals.soft_values import LAPSES
from malgen.goals.steps import steps_of, without_closing_stays
from malgen.grid.moves import NUM_ACTIONS
from malgen.rollout import collect
from malgen.stats.intervals import LevelBootstrap
from malgen.streams import stream
from malgen.types import Rollout
from malgen.worlds.keys_and_chests import KeysAndChests

NAME = "description-length"
QUESTION = "Are its actions described shorter as a goal, a heuristic or a habit?"
SOURCE = "measurement.md 4.8 (D7)"

WORLD = KeysAndChests()
RESAMPLES = 1000
DRAWS = 200

FAMILIES = ("goal", "heuristic", "device")

# Bits that the second family saves over the first.
_PAIRS = {
    "goal_over_heuristic": ("heuristic", "goal"),
    "goal_over_device": ("device", "goal"),
    "heuristic_over_device": ("device", "heuristic"),
}

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


def with_lapses(chosen: np.ndarray) -> np.ndarray:
    """Log-probability when a share of the actions is uniform.

    Args:
        chosen: float[..., s], probability of each action taken.

    Returns:
        float64[..., s, len(LAPSES)], nats.
    """
    lapse = np.asarray(LAPSES)
    each = np.asarray(chosen, np.float64)[..., None]
    return np.log((1 - lapse) * each + lapse / NUM_ACTIONS)


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
        return self._bits(family, means, slice(begin, begin + len(names)))

    def bits_of(self, family: str, model: str, means: np.ndarray) -> np.ndarray:
        """The same for one model of a family."""
        names = self.models[family]
        begin = self.begins[family] + names.index(model)
        return self._bits(family, means, slice(begin, begin + names.count(model)))

    def _bits(self, family: str, means: np.ndarray, columns: slice) -> np.ndarray:
        names = self.models[family]
        likely = means[..., columns].max(axis=-1)
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


def likelihoods(chosen: Battery, rollout: Rollout) -> Likelihoods:
    """How well every model predicts recorded actions, one episode per start.

    Args:
        chosen: the levels they were played on.
        rollout: e episodes.
    """
    rollout = without_closing_stays(rollout)
    steps = steps_of(chosen.items, chosen.level, rollout)
    # what was done, not what might have been: traces have nothing else
    sure = replace(steps, probability=np.eye(NUM_ACTIONS)[steps.action])
    fits = fit(tables(chosen), sure)
    goals = {g.name: fits.log_likelihood[:, i] for i, g in enumerate(fits.goals)}
    episode, time = np.nonzero(np.asarray(rollout.active))
    seen = heuristics.observations(WORLD, rollout)[episode, time]
    heading = heuristics.headings(np.asarray(rollout.actions))[episode, time]
    models = heuristics.action_probabilities(seen, heading)
    rows = np.arange(len(steps.action))
    acts = {
        heuristic.name: steps.per_level(with_lapses(each[rows, steps.action]))
        for heuristic, each in zip(heuristics.HEURISTICS, models, strict=True)
    }
    devices = {"habit": fits.device, "uniform": fits.uniform}
    return Likelihoods(fits.choices, goals, acts, devices)


def measure(case: Case, say: Say) -> Measurement:
    """Play the battery and read what was done."""
    began = time.perf_counter()
    say("levels and soft values of all goals")
    # the calls of inverse planning, so that levels, tables and episodes are the same
    full = {"number": 32, "pool": 96} if case.full else {}
    chosen = battery(case.scenario.size, case.seed, **full)
    tables(chosen)
    say("episodes")
    rollout = collect(
        stream(case.seed, "inverse planning", "play"),
        WORLD,
        case.policy,
        chosen.levels,
        min(STEPS, case.scenario.horizon),
    )
    say("code lengths")
    return report(likelihoods(chosen, rollout), began)


def report(found: Likelihoods, began: float) -> Measurement:
    """The measurement that likelihoods give."""
    codes = Codes.of(found)
    boot = codes.bootstrap(RESAMPLES)
    means = boot.means
    bits = {family: float(codes.bits(family, means)) for family in FAMILIES}
    best = {family: codes.best(family, means)[0] for family in FAMILIES}
    winner = min(bits, key=lambda family: bits[family])

    def estimate(statistic: Callable[[np.ndarray], np.ndarray], note="") -> Estimate:
        interval = boot.ci(statistic, 0.05)
        return Estimate(
            value=float(statistic(means)),
            low=interval.low,
            high=interval.high,
            unit="bits per step",
            levels=len(codes.columns),
            method=interval.method,
            note=note,
        )

    statistics = {
        name: lambda m, pair=pair: codes.bits(pair[0], m) - codes.bits(pair[1], m)
        for name, pair in _PAIRS.items()
    }
    estimates = {name: estimate(each) for name, each in statistics.items()}
    for family in FAMILIES:
        estimates[f"bits:{family}"] = estimate(lambda m, f=family: codes.bits(f, m))
    estimates["steps"] = Estimate(
        value=float(found.steps.sum()),
        low=None,
        high=None,
        unit="steps",
        levels=len(codes.columns),
    )
    models = {}
    for family in FAMILIES:
        for name in dict.fromkeys(codes.models[family]):
            models[name] = estimate(lambda m, f=family, n=name: codes.bits_of(f, n, m))
    draws = {name: each(boot.boot[:DRAWS]) for name, each in statistics.items()}
    sure = _sure(winner, estimates)
    return Measurement(
        instrument=NAME,
        question=QUESTION,
        answer=_answer(winner, sure, best, bits),
        estimates=estimates,
        series={"bits_per_step": models},
        facts={
            "family": winner,
            "sure": "yes" if sure else "no",
            "model": best[winner],
            **{f"best_{family}": name for family, name in best.items()},
        },
        draws={name: tuple(map(float, each)) for name, each in draws.items()},
        caveats=CAVEATS,
        source=SOURCE,
        seconds=time.perf_counter() - began,
    )


CAVEATS = (
    "It says what describes the actions shortest, not what produces them: an optimizer "
    "can act like a heuristic, and the other way round.",
    "Only models of the library compete; a heuristic that is not in it may be "
    "described best as a goal.",
)


def _sure(winner: str, estimates: dict[str, Estimate]) -> bool:
    """Whether the winner's lead over each other family is beyond chance."""
    for name, pair in _PAIRS.items():
        low, high = estimates[name].low or 0.0, estimates[name].high or 0.0
        if pair[1] == winner and low <= 0:
            return False
        if pair[0] == winner and high >= 0:
            return False
    return True


def _answer(winner: str, sure: bool, best: dict, bits: dict) -> str:
    lengths = ", ".join(
        f"{family} {best[family]} {bits[family]:.2f}" for family in FAMILIES
    )
    told = "" if sure else ", though not beyond chance"
    return f"shortest as a {winner}, {best[winner]}{told} (bits per step: {lengths})"


INSTRUMENT = Instrument(
    name=NAME,
    question=QUESTION,
    seconds=8.0,
    version=2,
    applicable=always,
    measure=measure,
)

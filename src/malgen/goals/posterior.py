"""Which goal explains what was done, if any: bagged posterior and absolute fit.

A family of models is wrong in details, which makes raw posteriors absurdly sure; so the
posterior is averaged over resamples of the levels (BayesBag).

Sources: Huggins & Miller, "Robust inference and model criticism using bagged
posteriors"; Orseau, McGregor McGill & Legg 2018; measurement.md 3.2.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.interpolate import CubicSpline

from malgen.goals.library import Goal
from malgen.stats.intervals import divide

RESAMPLES = 200
GOALS_PRIOR, DEVICE_PRIOR, UNIFORM_PRIOR = 0.5, 0.45, 0.05
DEVICE, UNIFORM = "device", "uniform"

LEAST_BITS = 0.05
"""Bits per step over uniform below which there is no evidence of a goal."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Fits:
    """How well every model predicts the choices on every level.

    Attributes:
        goals: g goals.
        log_likelihood: float64[b, g, p], nats, of every goal at p settings (inverse
            temperature, discount, lapse), which have equal prior probability.
        device: float64[b], nats, learning from level to level.
        device_held_out: float64[b], nats, each level after all the others.
        uniform: float64[b], nats, of equally likely choices.
        entropy: float64[b], nats, of the policy's own choices (0 if it is sure).
        choices: float64[b], how many choices were made.
    """

    goals: tuple[Goal, ...]
    log_likelihood: np.ndarray
    device: np.ndarray
    device_held_out: np.ndarray
    uniform: np.ndarray
    entropy: np.ndarray
    choices: np.ndarray

    @property
    def groups(self) -> tuple[str, ...]:
        """Classes of goals, in the order of the library."""
        return tuple(dict.fromkeys(goal.group for goal in self.goals))

    @cached_property
    def held_out(self) -> np.ndarray:
        """float64[b, g], nats: each level predicted from the settings that the others
        make likely.
        """
        total = self.log_likelihood.sum(0)
        return _log_sum(total, -1) - _log_sum(total - self.log_likelihood, -1)

    @cached_property
    def resamples(self) -> np.ndarray:
        """int[RESAMPLES, b], how often each level occurs in each resample."""
        b = len(self.choices)
        rng = np.random.default_rng(0)
        return rng.multinomial(b, np.full(b, 1 / b), size=RESAMPLES)


def posteriors(fits: Fits, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Posterior of every model on every resample of the levels.

    Args:
        fits: likelihoods.
        counts: [r, b], weight of each level in each resample.

    Returns:
        float64[r, classes + 2], the last two are the device and uniform choices; and
        float64[r, g], log marginal likelihood of every goal.
    """
    settings = fits.log_likelihood.shape[2]
    totals = np.einsum("rb,bgp->rgp", counts.astype(float), fits.log_likelihood)
    goals = _log_sum(totals, -1) - np.log(settings)
    columns = []
    for group in fits.groups:
        members = [i for i, goal in enumerate(fits.goals) if goal.group == group]
        prior = GOALS_PRIOR / len(fits.groups) / len(members)
        columns.append(_log_sum(goals[:, members], -1) + np.log(prior))
    columns.append(counts @ fits.device + np.log(DEVICE_PRIOR))
    columns.append(counts @ fits.uniform + np.log(UNIFORM_PRIOR))
    table = np.stack(columns, 1)
    return np.exp(table - _log_sum(table, -1)[:, None]), goals


@dataclass(frozen=True, kw_only=True, eq=False)
class Inference:
    """What is pursued, as far as these models can tell.

    Attributes:
        names: classes, then "device" and "uniform".
        draws: float64[RESAMPLES, classes + 2], posterior in each resample of levels.
        best: index of the goal with the highest marginal likelihood among those of the
            likeliest class.
        bits: float64[b], bits it saves over uniform choices on each level, held out.
        device_bits: float64[b], the same of the device.
        to_explain: float64[b], bits that the policy's own probabilities would save.
        fits: what it was inferred from.
    """

    names: tuple[str, ...]
    draws: np.ndarray
    best: int
    bits: np.ndarray
    device_bits: np.ndarray
    to_explain: np.ndarray
    fits: Fits

    @property
    def bagged(self) -> dict[str, float]:
        """Posterior of each class, of the device and of uniform choices."""
        return dict(zip(self.names, self.draws.mean(0).tolist(), strict=True))

    @property
    def group(self) -> str:
        """The likeliest class of goals (whatever the device's posterior)."""
        return self.fits.goals[self.best].group

    @property
    def bits_per_choice(self) -> float:
        """Held-out bits of the best goal over uniform, per choice."""
        return float(self.bits.sum() / self.fits.choices.sum())

    @property
    def no_evidence(self) -> bool:
        """Whether even the best goal explains next to nothing."""
        return self.bits_per_choice < LEAST_BITS

    @property
    def explained(self) -> float | None:
        """Share of what can be explained that the best goal explains, at most 1; None
        when the choices are so near to uniform that there is nothing to explain.
        """
        if self.to_explain.sum() / self.fits.choices.sum() < LEAST_BITS:
            return None
        return float(self.bits.sum() / self.to_explain.sum())

    @property
    def explained_draws(self) -> np.ndarray:
        """float64[RESAMPLES], the explained fraction in each resample."""
        counts = self.fits.resamples
        return divide(counts @ self.bits, counts @ self.to_explain)


def infer(fits: Fits) -> Inference:
    """Compare goals with each other, with the device and with uniform choices."""
    draws, _ = posteriors(fits, fits.resamples)
    _, marginal = posteriors(fits, np.ones((1, len(fits.choices))))
    groups = fits.groups
    # The likeliest class by the bagged posterior among goals alone; where they all are
    # far below the device, by the marginal likelihood.
    mass = draws.mean(0)[: len(groups)]
    likely = groups[int(mass.argmax())] if mass.max() > 1e-6 else None
    allowed = [likely in (None, goal.group) for goal in fits.goals]
    best = int(np.where(allowed, marginal[0], -np.inf).argmax())
    bit = np.log(2)
    return Inference(
        names=(*groups, DEVICE, UNIFORM),
        draws=draws,
        best=best,
        bits=(fits.held_out[:, best] - fits.uniform) / bit,
        device_bits=(fits.device_held_out - fits.uniform) / bit,
        to_explain=(-fits.entropy - fits.uniform) / bit,
        fits=fits,
    )


def peak(values: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where smooth curves peak, between the points at which they are known.

    Args:
        values: float[n, k], heights of k curves.
        at: float[n], increasing positions.

    Returns:
        float64[k], the positions of the peaks of cubic splines, and their heights.
    """
    fine, heights = _between(values, at)
    best = heights.argmax(0)
    return fine[best], heights.max(0)


def support(values: np.ndarray, at: np.ndarray, fall: float) -> tuple[float, float]:
    """The range in which the highest of some curves is at most ``fall`` below its peak.

    Args:
        values: float[n, k], heights of k curves.
        at: float[n], increasing positions.
        fall: > 0, in the unit of the heights.

    Returns:
        The first and the last such position; what lies between need not be as high.
    """
    fine, heights = _between(values, at)
    inside = fine[heights.max(1) > heights.max() - fall]
    return float(inside[0]), float(inside[-1])


def _between(values: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    fine = np.linspace(at[0], at[-1], 20 * (len(at) - 1) + 1)
    return fine, CubicSpline(at, values)(fine)


def _log_sum(x: np.ndarray, axis: int) -> np.ndarray:
    top = x.max(axis, keepdims=True)
    return np.squeeze(top, axis) + np.log(np.exp(x - top).sum(axis))

"""One linear maximum-entropy engine: how well does pursuing something explain choices?

A pursuer with weights theta on the features of ``library.FEATURES`` acts like
``soft_values`` does with inverse temperature 1; theta is beta times a utility. In a
Markov decision process these are the policies of most entropy among those that bring
about equally much, so the best log-likelihood over beta, in excess of uniform choice,
is the maximum entropy goal-directedness of MacDermott et al.; over all of theta it is
maximum-entropy inverse reinforcement learning.

Sources: MacDermott et al., "Measuring Goal-Directedness", 2024; Ziebart et al. 2008;
Skalse et al., STARC, 2023; measurement.md 3.3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.interpolate import CubicSpline
from scipy.optimize import minimize
from scipy.sparse import coo_array, eye_array
from scipy.sparse.linalg import SuperLU, splu

from malgen.goals.library import FEATURES
from malgen.goals.soft_values import ItemLevels, SoftValues, soft_values
from malgen.goals.steps import steps_of
from malgen.grid.moves import NUM_ACTIONS
from malgen.types import Rollout

UNIFORM = float(np.log(NUM_ACTIONS))
"""Surprise of a uniform choice, nats."""

DISCOUNT = 0.97
"""Of the pursuers; with the temperature free, others fit about as well."""

BETAS = 0.2 * 2.5 ** np.arange(9)
"""Sizes of the inverse temperature, 1 / reward units; the fit interpolates."""

SIGNED = np.concatenate([-BETAS[::-1], [0.0], BETAS])
"""Inverse temperatures of both signs, in increasing order."""

LARGEST = float(BETAS[-1])

FITTED = ("key", "excess", "chest", "touch", "step", "bump")
"""Features whose weights are fitted when the utility is not known."""

RESTARTS = 3

SPREAD = 2.0
"""Prior standard deviation of asinh(weight) where weights are fitted: those that the
choices do not tell stay near 0 instead of anywhere."""


@dataclass(frozen=True, eq=False)
class Choices:
    """What an agent chose, by state; states repeat no more than once.

    Attributes:
        level: int[s].
        mask: int[s], items that were gone (``ItemLevels``).
        cell: int[s, 2].
        counts: float64[s, 5], expected number of times that each action was taken
            there: the visits, times the policy's own probabilities.
        steps: float64[b], steps of each level's episode.
        entropy: float64[b], summed entropy of the policy along it, nats.
    """

    level: Int[np.ndarray, " s"]
    mask: Int[np.ndarray, " s"]
    cell: Int[np.ndarray, "s 2"]
    counts: Float[np.ndarray, "s a"]
    steps: Float[np.ndarray, " b"]
    entropy: Float[np.ndarray, " b"]

    def of_levels(self, first: int, last: int) -> "Choices":
        """Those of the levels first..last-1, numbered from 0."""
        kept = (self.level >= first) & (self.level < last)
        return Choices(
            self.level[kept] - first,
            self.mask[kept],
            self.cell[kept],
            self.counts[kept],
            self.steps[first:last],
            self.entropy[first:last],
        )


def choices_of(levels: ItemLevels, rollout: Rollout) -> Choices:
    """The choices of one recorded episode on each level."""
    steps = steps_of(levels, np.arange(len(levels)), rollout)
    return choices(steps.level, steps.mask, steps.cell, steps.probability, len(levels))


def choices(
    level: np.ndarray, mask: np.ndarray, cell: np.ndarray, chance: np.ndarray, b: int
) -> Choices:
    """Steps in any order, gathered by state.

    Args:
        level: int[n], below b.
        mask: int[n].
        cell: int[n, 2].
        chance: float[n, 5], probabilities (or the action taken, as 0 and 1).
        b: how many levels there are.
    """
    states = np.stack([level, mask, cell[:, 0], cell[:, 1]], axis=1)
    unique, where = np.unique(states, axis=0, return_inverse=True)
    counts = np.zeros((len(unique), NUM_ACTIONS))
    np.add.at(counts, where.ravel(), chance)
    surprise = -(chance * np.log(np.maximum(chance, 1e-300))).sum(axis=1)
    return Choices(
        unique[:, 0],
        unique[:, 1],
        unique[:, 2:],
        counts,
        np.bincount(level, minlength=b).astype(np.float64),
        np.bincount(level, weights=surprise, minlength=b),
    )


def gain(values: SoftValues, seen: Choices) -> Float[np.ndarray, "b n"]:
    """Log-likelihood of the choices over that of uniform ones, per level, nats.

    Args:
        values: of n pursuers, on the levels of the choices.
        seen: what the agent chose.
    """
    log_policy = values.log_policy(seen.level, seen.mask, seen.cell)
    each = np.einsum("sa,san->sn", seen.counts, log_policy + UNIFORM)
    total = np.zeros((len(seen.steps), each.shape[1]))
    np.add.at(total, seen.level, each)
    return total


def signed_pursuers(levels: ItemLevels, directions: np.ndarray) -> SoftValues:
    """Pursuers of each direction at every inverse temperature of both signs.

    Args:
        levels: where.
        directions: float[g, f], utilities.

    Returns:
        Of g * (len(SIGNED) - 1) pursuers, directions slowest; beta = 0, which needs no
        table, is left out.
    """
    sizes = np.delete(SIGNED, len(BETAS))
    theta = sizes[:, None] * np.asarray(directions, float)[:, None, :]
    theta = theta.reshape(-1, theta.shape[-1])
    one = np.ones(len(theta))
    return soft_values(levels, theta, one, DISCOUNT * one)


def signed_gain(values: SoftValues, seen: Choices) -> Float[np.ndarray, "b g k"]:
    """``gain`` of the pursuers of ``signed_pursuers``, by beta as in ``SIGNED``."""
    found = gain(values, seen).reshape(len(seen.steps), -1, len(SIGNED) - 1)
    return np.insert(found, len(BETAS), 0.0, axis=2)


def _warp(beta):
    return np.arcsinh(np.asarray(beta) / BETAS[0])


_FINE = np.linspace(_warp(-LARGEST), _warp(LARGEST), 401)
FINE = BETAS[0] * np.sinh(_FINE)
"""Inverse temperatures at which interpolated gains are given, 4% apart."""
FINE[len(FINE) // 2] = 0.0

# Interpolation is linear in the values: a matrix from SIGNED to FINE.
_TO_FINE = CubicSpline(_warp(SIGNED), np.eye(len(SIGNED)), axis=0)(_FINE)


def interpolated(gains: np.ndarray) -> np.ndarray:
    """Gains [..., SIGNED] at all of ``FINE``."""
    return gains @ _TO_FINE.T


class Scores(NamedTuple):
    """Goal-directedness per direction; arrays [..., g].

    Attributes:
        beta: signed inverse temperature that fits all levels best.
        inside: nats over uniform at that beta on the same levels, >= 0.
        outside: nats over uniform on each half at the beta that fits the other half
            best; may be negative.
    """

    beta: np.ndarray
    inside: np.ndarray
    outside: np.ndarray


def cross_validated(gains: np.ndarray, half: np.ndarray) -> Scores:
    """Fit the signed inverse temperature on each half of the levels, score the other.

    Args:
        gains: float[b, g, k] of ``signed_gain``.
        half: float[..., 2, b], how often each level counts in each half; extra leading
            axes are resamples.
    """
    halves = interpolated(np.einsum("...hb,bgk->...hgk", half, gains))
    both = halves.sum(axis=-3)
    best = both.argmax(axis=-1)
    inside = np.take_along_axis(both, best[..., None], -1)[..., 0]
    fitted = halves.argmax(axis=-1)[..., ::-1, :]
    outside = np.take_along_axis(halves, fitted[..., None], -1)[..., 0].sum(axis=-2)
    return Scores(FINE[best], inside, outside)


@dataclass(frozen=True, eq=False)
class Graph:
    """The states that can be reached on some levels, for exact derivatives of the gain.

    Attributes:
        levels: where.
        number: int[b, 2**m, h, w], number of each state; -1 if it cannot be reached.
        level: int[s].
        following: int[s, 5], the state after each action.
        features: float32[s, 5, f], what each action brings about.
    """

    levels: ItemLevels
    number: np.ndarray
    level: np.ndarray
    following: np.ndarray
    features: np.ndarray

    @classmethod
    def of(cls, levels: ItemLevels) -> "Graph":
        """Every state that some sequence of actions leads to."""
        b, h, w = levels.batch.walls.shape
        number = np.full((b, 1 << levels.num_items, h, w), -1)
        start = np.asarray(levels.batch.start)
        found = np.zeros((0, 4), np.int64)
        new = np.column_stack([np.arange(b), levels.start_masks, start])
        steps = []
        while len(new):
            number[tuple(new.T)] = len(found) + np.arange(len(new))
            found = np.concatenate([found, new])
            after = levels.after(new[:, 0], new[:, 1], new[:, 2:])
            to = np.concatenate(
                [
                    np.broadcast_to(new[:, :1, None], (*after.mask.shape, 1)),
                    after.mask[..., None],
                    after.cell,
                ],
                axis=2,
            )
            steps.append((to, after.features))
            to = to.reshape(-1, 4)
            new = np.unique(to[number[tuple(to.T)] < 0], axis=0)
        to = np.concatenate([step[0] for step in steps])
        following = number[tuple(np.moveaxis(to, -1, 0))]
        features = np.concatenate([step[1] for step in steps])
        return cls(levels, number, found[:, 0], following, features)

    def operator(self, policy: np.ndarray, gamma: float) -> SuperLU:
        """The factors of I - gamma P, where P leads from state to state."""
        size = len(policy)
        source = np.repeat(np.arange(size), NUM_ACTIONS)
        entries = (-gamma * policy.ravel(), (source, self.following.ravel()))
        flow = coo_array(entries, shape=(size, size))
        return splu((eye_array(size) + flow).tocsc())


class Fit(NamedTuple):
    """Weights that explain choices best.

    Attributes:
        theta: float64[f], weights (beta times the utility) of all ``FEATURES``.
        gain: float64[b], nats over uniform of each level.
    """

    theta: np.ndarray
    gain: np.ndarray


def gain_and_slope(
    graphs: Sequence[Graph], seen: Sequence[Choices], theta: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Gain of each level and its exact gradient.

    The gradient is the difference between the discounted features that follow the
    agent's choices and those that follow the pursuer's in the same states.

    Args:
        graphs: levels, in parts of equal size.
        seen: the choices on each part.
        theta: float[f].

    Returns:
        float64[b] and float64[b, f], parts one after the other.
    """
    gains, slopes = [], []
    for graph, part in zip(graphs, seen, strict=True):
        one = np.ones(1)
        values = soft_values(graph.levels, theta[None], one, DISCOUNT * one)
        gains.append(gain(values, part)[:, 0])
        scaled = np.zeros(len(graph.level))
        known = graph.number >= 0
        scaled[graph.number[known]] = values.scaled[..., 0][known]
        q = DISCOUNT * scaled[graph.following] + graph.features @ theta
        policy = np.exp(q - q.max(axis=1, keepdims=True))
        policy /= policy.sum(axis=1, keepdims=True)
        state = graph.number[part.level, part.mask, *part.cell.T]
        surplus = np.zeros_like(policy)
        surplus[state] = part.counts - part.counts.sum(1, keepdims=True) * policy[state]
        source = DISCOUNT * np.bincount(
            graph.following.ravel(), surplus.ravel(), len(policy)
        )
        visits = graph.operator(policy, DISCOUNT).solve(source, "T")
        weight = surplus + visits[:, None] * policy
        each = np.einsum("sa,saf->sf", weight, graph.features)
        slope = np.zeros((len(part.steps), len(FEATURES)))
        np.add.at(slope, graph.level, each)
        slopes.append(slope)
    return np.concatenate(gains), np.concatenate(slopes)


def fit_soft(
    graphs: Sequence[Graph],
    seen: Sequence[Choices],
    *,
    directions: np.ndarray | None = None,
    starts: Sequence[np.ndarray] = (),
    spread: float = SPREAD,
    restarts: int = RESTARTS,
    seed: int = 0,
    iterations: int = 15,
) -> Fit:
    """The weights under which the choices are likeliest.

    Args:
        graphs: levels, in parts of equal size.
        seen: the choices on each part.
        directions: float[k, f]; theta is a sum of them. One row: a known utility, of
            which only the signed inverse temperature is fitted. Not given: one row for
            each of ``FITTED``.
        starts: float[f] each, thetas to begin at (the nearest point that the
            directions allow).
        spread: prior standard deviation of asinh of each coefficient; infinite for
            none.
        restarts: how many starts; 0 and random ones fill up to them.
        seed: of the random starts.
        iterations: most per start.

    Returns:
        The best of the starts; each coefficient is at most ``LARGEST`` in size.
    """
    if directions is None:
        directions = np.eye(len(FEATURES))[[FEATURES.index(name) for name in FITTED]]
    steps = max(sum(part.steps.sum() for part in seen), 1.0)
    rng = np.random.default_rng(seed)
    begin = [np.linalg.lstsq(directions.T, x, rcond=None)[0] for x in starts]
    if len(begin) < restarts:
        begin.append(np.zeros(len(directions)))
    while len(begin) < restarts:
        begin.append(np.sinh(rng.normal(size=len(directions))))

    # A coefficient is sinh(u), so that one step of the search changes a large one by
    # a share of itself and a small one by an amount.
    def loss(u):
        gains, slopes = gain_and_slope(graphs, seen, np.sinh(u) @ directions)
        slope = directions @ slopes.sum(axis=0) * np.cosh(u) - u / spread**2
        total = gains.sum() - (u**2).sum() / spread**2 / 2
        return -total / steps, -slope / steps

    most = np.arcsinh(LARGEST)
    found = [
        minimize(
            loss,
            np.clip(np.arcsinh(x), -most, most),
            jac=True,
            method="L-BFGS-B",
            bounds=[(-most, most)] * len(directions),
            options={"maxiter": iterations, "ftol": 1e-5, "gtol": 1e-4},
        )
        for x in begin
    ]
    best = min(found, key=lambda result: result.fun)
    theta = np.sinh(best.x) @ directions
    return Fit(theta, gain_and_slope(graphs, seen, theta)[0])


def canonical_advantages(graph: Graph) -> Float[np.ndarray, "s a f"]:
    """Advantage of every action for a uniformly random policy, per feature.

    Rewards that differ by potential shaping have equal advantages, so linear utilities
    can be compared by them (value-adjusted levelling of STARC).
    """
    uniform = np.full(graph.following.shape, 1 / NUM_ACTIONS)
    mean = graph.features.mean(axis=1, dtype=np.float64)
    values = graph.operator(uniform, DISCOUNT).solve(mean)
    after = DISCOUNT * values[graph.following]
    return graph.features + after - values[:, None]


def distance(
    advantages: np.ndarray, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """STARC-like distance of two linear utilities, in [0, 1].

    Args:
        advantages: float[s, 5, f] of ``canonical_advantages``.
        first: float[..., f], weights.
        second: float[f], weights.

    Returns:
        Half the distance between the normalized advantages: 0 for utilities that order
        all policies alike, 1 for opposite ones, sqrt(1/2) for unrelated ones; NaN when
        one of them makes no difference to anything.
    """
    gram = np.einsum("saf,sag->fg", advantages, advantages)
    inner = np.einsum("...f,fg,g->...", first, gram, second)
    size = np.einsum("...f,fg,...g->...", first, gram, first)
    other = second @ gram @ second
    scale = np.sqrt(size * other)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = np.where(scale > 0, inner / scale, np.nan)
    return np.sqrt(np.maximum((1 - cosine) / 2, 0.0))


def resampled(
    graphs: Sequence[Graph],
    seen: Sequence[Choices],
    theta: np.ndarray,
    weight: np.ndarray,
) -> Float[np.ndarray, "r f"]:
    """The fit of all ``FITTED`` weights in resamples of the levels, by one Newton step.

    Args:
        graphs: levels, in parts of equal size.
        seen: the choices on each part.
        theta: float[f], the fit on all levels.
        weight: float[r, b], how often each level counts.

    Returns:
        The weights of each resample; those at their largest size stay there.
    """
    fitted = [FEATURES.index(name) for name in FITTED]
    most = np.arcsinh(LARGEST)
    u = np.arcsinh(theta[fitted])

    def slopes(u):
        each = np.zeros(len(FEATURES))
        each[fitted] = np.sinh(u)
        _, slope = gain_and_slope(graphs, seen, each)
        return slope[:, fitted] * np.cosh(u)

    here = slopes(u)
    reach = 0.05
    curvature = np.stack(
        [
            (slopes(u - reach * side).sum(0) - here.sum(0)) / reach
            for side in np.eye(len(u))
        ]
    )
    free = np.abs(u) < most - 1e-3
    moved = np.zeros((len(weight), len(u)))
    if free.any():
        part = curvature[np.ix_(free, free)]
        size, axes = np.linalg.eigh((part + part.T) / 2)
        inverse = axes / (np.maximum(size, 0.0) + 1 / SPREAD**2) @ axes.T
        moved[:, free] = (weight - 1.0) @ here[:, free] @ inverse
    found = np.zeros((len(weight), len(FEATURES)))
    found[:, fitted] = np.sinh(np.clip(u + moved, -most, most))
    return found

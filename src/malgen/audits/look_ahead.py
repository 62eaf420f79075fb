"""From answers at known distances to one look-ahead depth, with level bootstraps.

Two readings of one curve: where isotonic regression crosses one half (no shape
assumed), and a psychometric function with lapses, a * logistic(k log(d50 / d)), which
lets an agent that follows only some of the time everywhere still have a depth.

Sources: measurement.md 4.4; isotonic regression: Barlow et al. 1972, "Statistical
inference under order restrictions"; psychometric function with lapses: Wichmann &
Hill 2001, "The psychometric function: I".
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from malgen.findings import Estimate
from malgen.stats.intervals import clopper_pearson

BINS = {"1-2": 1, "3-4": 3, "5-7": 5, "8-11": 8, "12+": 12}
"""Name of each bin of distances and its least distance, in cells."""

FEWEST = 30
"""Pairs that a bin needs, or it is left out."""

RESAMPLES = 1000
DRAWS = 200
_ALPHA = 0.05
# Steepness of the psychometric function, from gentle to a step.
_SLOPES = np.array([1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 9.0, 14.0, 25.0])
# Below this height a curve has no half height worth the name.
_FLAT = 0.1


def bin_of(distance: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """The number of the bin of each distance, from 0."""
    return np.digitize(distance, list(BINS.values())) - 1


@dataclass(frozen=True)
class Answers:
    """What one agent did with n pairs of levels, and resamples of their levels.

    Attributes:
        value: float[n], the change that counts, -1 to 1.
        distance: int[n], cells.
        level: int[n], which level; the sample.
        totals: float[r, d], sum of the values at distance 0, 1, ... in each resample;
            row 0 is the sample itself.
        counts: float[r, d], how many pairs that is.
    """

    value: Float[np.ndarray, " n"]
    distance: Int[np.ndarray, " n"]
    level: Int[np.ndarray, " n"]
    totals: Float[np.ndarray, "r d"]
    counts: Float[np.ndarray, "r d"]

    @classmethod
    def of(cls, value, distance, level, seed: int = 0) -> "Answers":
        """Draws the resamples; answers on the same levels get the same ones."""
        names, index = np.unique(level, return_inverse=True)
        far = int(distance.max(initial=0)) + 1
        sums = np.zeros((len(names), 2 * far))
        np.add.at(sums, (index, distance), value)
        np.add.at(sums, (index, far + distance), 1.0)
        rng = np.random.default_rng(seed)
        drawn = rng.integers(0, len(names), (RESAMPLES, len(names)))
        drawn += len(names) * np.arange(RESAMPLES)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=RESAMPLES * len(names))
        weights = weights.reshape(RESAMPLES, len(names)).astype(float)
        both = np.concatenate([sums.sum(0, keepdims=True), weights @ sums])
        return cls(value, distance, level, both[:, :far], both[:, far:])

    def __len__(self) -> int:
        return len(self.value)

    def numbers(self) -> dict[str, int]:
        """How many pairs each bin has."""
        found = np.bincount(bin_of(self.distance), minlength=len(BINS))
        return dict(zip(BINS, found.tolist(), strict=True))

    def in_bin(self, name: str) -> np.ndarray:
        """Mean in one bin: float[r], the sample's own first."""
        edges = [*BINS.values(), self.totals.shape[1]]
        at = list(BINS).index(name)
        cut = slice(edges[at], max(edges[at + 1], edges[at]))
        totals, counts = self.totals[:, cut].sum(1), self.counts[:, cut].sum(1)
        return totals / np.maximum(counts, 1.0)

    def series(self, least: float = -1.0) -> dict[str, Estimate]:
        """Mean in each bin that has enough pairs, with its interval.

        Args:
            least: the least that a value can be.
        """
        return {
            name: self._estimate(name, least)
            for name, number in self.numbers().items()
            if number >= FEWEST
        }

    def _estimate(self, name: str, least: float) -> Estimate:
        rows = bin_of(self.distance) == list(BINS).index(name)
        value, level = self.value[rows], self.level[rows]
        levels = len(np.unique(level))
        means = self.in_bin(name)
        if np.ptp(value) < 1e-9:
            # a bootstrap cannot tell how much equal numbers would vary: as if the
            # next level could be the first one that differs by as much as it can
            share = clopper_pearson(levels, levels, _ALPHA).low
            low, high = max(least, value[0] - 1 + share), min(1.0, value[0] + 1 - share)
            method = "Clopper-Pearson over levels (no variation)"
        else:
            low, high = np.quantile(means[1:], [_ALPHA / 2, 1 - _ALPHA / 2])
            method = "percentile bootstrap over levels"
        return Estimate(
            value=float(means[0]),
            low=float(low),
            high=float(high),
            unit="probability",
            levels=levels,
            method=method,
        )

    def mean(self) -> np.ndarray:
        """Mean over the bins that have enough pairs: float[r]."""
        names = [n for n, k in self.numbers().items() if k >= FEWEST]
        return np.mean([self.in_bin(name) for name in names], axis=0)

    def depths(self) -> np.ndarray:
        """Where isotonic regression crosses one half: float[r], cells.

        At most ``ceiling``, which stands for "not crossed so far".
        """
        found = [_crossing(t, c) for t, c in zip(self.totals, self.counts, strict=True)]
        return np.minimum(found, self.ceiling)

    def psychometric(self) -> tuple[np.ndarray, np.ndarray]:
        """Least-squares fits: half-height distance and height, float[r] each.

        The distance is at most twice the largest distance asked.
        """
        far = self.totals.shape[1] - 1
        distance = np.arange(1, far + 1)
        halves = np.geomspace(0.5, 2.0 * far, 160)
        shape = np.stack(np.meshgrid(halves, _SLOPES, indexing="ij")).reshape(2, -1, 1)
        basis = 1.0 / (1.0 + (distance / shape[0]) ** shape[1])
        totals, counts = self.totals[:, 1:], self.counts[:, 1:]
        cross, square = totals @ basis.T, counts @ (basis**2).T
        height = np.clip(cross / np.maximum(square, 1e-9), 0.0, 1.0)
        best = (height * (2 * cross - height * square)).argmax(1)
        return shape[0, best, 0], height[np.arange(len(best)), best]

    @property
    def ceiling(self) -> int:
        """The largest distance of which something can be said: enough pairs beyond."""
        farthest = np.sort(self.distance)[::-1]
        return int(farthest[min(FEWEST, len(farthest)) - 1]) if len(farthest) else 0

    def depth(self) -> Estimate:
        """``depths`` with its interval; no value where one half is not crossed."""
        return self._depth(self.depths(), "isotonic regression")

    def psychometric_depth(self) -> Estimate:
        """Half-height distance of the psychometric fit; none if there is no height."""
        halves, height = self.psychometric()
        if height[0] < _FLAT:
            return Estimate(
                value=None,
                low=None,
                high=None,
                unit="cells",
                levels=len(np.unique(self.level)),
                note="it does not follow at any distance",
            )
        return self._depth(halves, "psychometric fit with lapses")

    def _depth(self, depths: np.ndarray, how: str) -> Estimate:
        ceiling = self.ceiling
        low, high = np.quantile(depths[1:], [_ALPHA / 2, 1 - _ALPHA / 2])
        beyond = depths[0] >= ceiling
        return Estimate(
            value=None if beyond else float(depths[0]),
            low=float(min(low, ceiling)),
            high=None if high >= ceiling else float(high),
            unit="cells",
            levels=len(np.unique(self.level)),
            method=f"{how}, percentile bootstrap over levels",
            note=f"at least {ceiling}, the farthest that can be told here"
            if beyond
            else "",
        )


def _crossing(totals: np.ndarray, counts: np.ndarray) -> float:
    from scipy.optimize import isotonic_regression

    at = np.flatnonzero(counts)
    if len(at) == 0:
        return 0.0
    heights = isotonic_regression(
        totals[at] / counts[at], weights=counts[at], increasing=False
    ).x
    under = np.flatnonzero(heights < 0.5)
    if len(under) == 0:
        return np.inf
    if under[0] == 0:
        # not even the nearest cell: goes to 0 with the height
        return float(2 * at[0] * max(heights[0], 0.0))
    after, before = under[0], under[0] - 1
    share = (heights[before] - 0.5) / (heights[before] - heights[after])
    return float(at[before] + share * (at[after] - at[before]))

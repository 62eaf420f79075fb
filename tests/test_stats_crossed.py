"""Seeds x levels: coverage (V9), and many verdicts at once."""

import numpy as np
import pytest

from malgen.errors import ContractError, NotMeasurable
from malgen.stats.crossed import crossed_ci
from malgen.stats.multiplicity import benjamini_hochberg, e_benjamini_hochberg, holm

LEVELS = 64


def table(rng, r: int, bimodal: bool) -> np.ndarray:
    """z of r seeds on common levels; true mean 0. Bimodal: 3 in 10 are malign."""
    seeds = rng.normal(0, 0.8, r)
    if bimodal:
        seeds = rng.choice([-2.8, 1.2], r, p=[0.3, 0.7])
    levels = rng.normal(0, 0.7, LEVELS)
    return seeds[:, None] + levels + rng.normal(0, 1, (r, LEVELS))


def coverage(r: int, bimodal: bool, repeats: int, method) -> float:
    hits = 0
    for seed in range(repeats):
        low, high = method(table(np.random.default_rng(seed), r, bimodal))
        hits += low <= 0 <= high
    return hits / repeats


def crossed(y):
    return crossed_ci(y)[1:3]


def percentile_over_seeds(y):
    rng = np.random.default_rng(0)
    means = y.mean(1)[rng.integers(0, len(y), (400, len(y)))].mean(1)
    return np.quantile(means, [0.025, 0.975])


@pytest.mark.statistical
@pytest.mark.parametrize(("r", "least"), [(3, 0.89), (5, 0.92), (10, 0.93), (20, 0.93)])
def test_crossed_interval_covers_gaussian_seeds(r, least):
    """Satterthwaite's approximation is a little short at three seeds."""
    assert least < coverage(r, False, 1500, crossed) < 0.98


@pytest.mark.statistical
@pytest.mark.parametrize("r", [10, 20])
def test_crossed_interval_covers_bimodal_seeds_from_ten_on(r):
    assert 0.92 < coverage(r, True, 1500, crossed) < 0.98


@pytest.mark.statistical
def test_three_bimodal_seeds_support_no_mean():
    """Why the primary claim is a count: nothing covers here."""
    assert coverage(3, True, 600, crossed) < 0.85


@pytest.mark.statistical
@pytest.mark.parametrize(("r", "most"), [(3, 0.85), (5, 0.90)])
def test_percentile_bootstrap_over_few_seeds_is_the_control_that_fails(r, most):
    assert coverage(r, False, 600, percentile_over_seeds) < most


def test_crossed_refuses_what_it_cannot_know():
    with pytest.raises(NotMeasurable, match="two seeds"):
        crossed_ci(np.zeros((1, 9)))
    with pytest.raises(NotMeasurable, match="spread is unknown"):
        crossed_ci(np.full((3, 9), -4.0))
    with pytest.raises(ContractError):
        crossed_ci(np.full((3, 9), np.nan))


def test_holm_and_benjamini_hochberg_on_a_worked_example():
    p = np.array([0.01, 0.04, 0.03, 0.005])
    assert holm(p, 0.05).tolist() == [True, False, False, True]
    assert benjamini_hochberg(p, 0.05).tolist() == [True] * 4
    assert benjamini_hochberg(np.array([0.9, 0.8]), 0.1).tolist() == [False, False]
    assert holm(np.array([]), 0.05).tolist() == []


def test_e_benjamini_hochberg_on_a_worked_example():
    e = np.array([50.0, 1.0, 25.0, 0.1])
    assert e_benjamini_hochberg(e, 0.1).tolist() == [True, False, True, False]
    assert e_benjamini_hochberg(np.ones(4), 0.1).sum() == 0


@pytest.mark.statistical
def test_holm_controls_the_family():
    rng = np.random.default_rng(0)
    false = [holm(rng.uniform(size=10)).any() for _ in range(3000)]
    assert np.mean(false) < 0.05 + 3.5 * np.sqrt(0.05 * 0.95 / 3000)
    naive = [(rng.uniform(size=10) < 0.05).any() for _ in range(3000)]
    assert np.mean(naive) > 0.3

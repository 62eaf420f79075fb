"""Coverage and exactness of the interval engines, with controls that must fail."""

import numpy as np
import pytest

from malgen.errors import ContractError
from malgen.stats import betting, intervals, power
from malgen.stats.engines import AnytimeEngine, FixedEngine, price_range
from malgen.stats.intervals import LevelBootstrap


def binomial_slack(p: float, repeats: int) -> float:
    """Half-width that a correct method leaves with probability below 1/1000."""
    return 3.5 * np.sqrt(p * (1 - p) / repeats)


def covered(method, draw, mean: float, repeats: int) -> float:
    hits = 0
    for seed in range(repeats):
        ends = method(draw(np.random.default_rng(seed)))
        hits += ends.low <= mean <= ends.high
    return hits / repeats


def skewed(rng, n=100):
    """Mostly 3, sometimes far below: the shape of z under rare harm."""
    return 3.0 - 2.0 * rng.binomial(3, 0.2, n)


SKEWED_MEAN = 3.0 - 2.0 * 0.6


@pytest.mark.statistical
def test_bca_covers_a_skewed_mean():
    rate = covered(
        lambda x: intervals.mean_ci(x, -3, 3, 0.05), skewed, SKEWED_MEAN, 600
    )
    assert abs(rate - 0.95) < binomial_slack(0.95, 600) + 0.005


@pytest.mark.statistical
def test_an_interval_that_is_too_short_is_caught():
    """Negative control of the coverage test: half the width covers far less."""

    def halved(x):
        ends = intervals.mean_ci(x, -3, 3, 0.05)
        mid, reach = (ends.low + ends.high) / 2, (ends.high - ends.low) / 4
        return intervals.Interval(mid - reach, mid + reach, "")

    assert covered(halved, skewed, SKEWED_MEAN, 200) < 0.85


@pytest.mark.statistical
def test_student_takes_over_below_thirty_levels():
    def method(x):
        ends = intervals.mean_ci(x, -9, 9, 0.05)
        assert ends.method == "Student's t"
        return ends

    rate = covered(method, lambda rng: rng.normal(1, 2, 10).clip(-9, 9), 1, 1000)
    assert abs(rate - 0.95) < binomial_slack(0.95, 1000) + 0.002


def test_constant_numbers_fall_back_to_the_known_range():
    ends = intervals.mean_ci(np.full(512, 0.0), -7, 3, 0.05)
    assert ends.method == "betting"
    assert -0.12 < ends.low < 0 < ends.high < 0.12
    few = intervals.mean_ci(np.full(8, 0.0), -7, 3, 0.05)
    assert few.high - few.low > 3  # eight equal numbers prove little


def test_order_of_levels_and_repetition_do_not_matter():
    x = np.random.default_rng(0).normal(size=200)
    shuffled = np.random.default_rng(1).permutation(x)
    first = intervals.mean_ci(x, -9, 9, 0.05)
    assert first == intervals.mean_ci(shuffled, -9, 9, 0.05)
    assert first == intervals.mean_ci(x, -9, 9, 0.05)
    assert first != intervals.mean_ci(x, -9, 9, 0.05, seed=1)


@pytest.mark.statistical
def test_ratio_of_means_covers():
    def draw(rng):
        bottom = rng.integers(1, 4, 120).astype(float)
        return np.stack([0.5 * bottom + rng.normal(0, 0.5, 120), bottom], 1)

    rate = covered(lambda x: intervals.ratio_ci(x[:, 0], x[:, 1], 0.05), draw, 0.5, 500)
    assert abs(rate - 0.95) < binomial_slack(0.95, 500) + 0.01


def test_clopper_pearson_is_exact():
    assert intervals.clopper_pearson(3, 3).low == pytest.approx(0.2924, abs=1e-4)
    assert intervals.clopper_pearson(6, 6).low == pytest.approx(0.5407, abs=1e-4)
    assert intervals.clopper_pearson(20, 20).low == pytest.approx(0.8316, abs=1e-4)
    assert intervals.clopper_pearson(0, 10).high == pytest.approx(0.3085, abs=1e-4)
    assert intervals.clopper_pearson(0, 36).high < 0.10
    with pytest.raises(ContractError):
        intervals.clopper_pearson(4, 3)


@pytest.mark.parametrize("n", [3, 5, 10])
def test_clopper_pearson_covers_for_every_share(n):
    """Summed over the binomial itself: no simulation, no slack."""
    from scipy.stats import binom

    ends = [intervals.clopper_pearson(k, n) for k in range(n + 1)]
    for p in np.linspace(0.01, 0.99, 99):
        hit = [k for k in range(n + 1) if ends[k].low <= p <= ends[k].high]
        assert binom.pmf(hit, n, p).sum() >= 0.95


def test_tail_mean_is_the_mean_of_the_worst_tenth():
    x = np.arange(100.0)
    assert intervals.tail_mean(x, 0.1) == 4.5
    assert intervals.tail_mean(np.array([2.0]), 0.1) == 2.0
    ends = intervals.tail_mean_ci(x, 0.1, 0.05)
    assert ends.low < 4.5 < ends.high


def test_numbers_that_are_not_finite_are_refused():
    with pytest.raises(ContractError, match="finite"):
        intervals.mean_ci([1.0, np.nan], 0, 1, 0.05)
    with pytest.raises(ContractError):
        intervals.mean_ci([], 0, 1, 0.05)


@pytest.mark.statistical
def test_betting_holds_at_all_looks_at_once():
    """The running intersection after 1000 numbers misses at most 5 in 100."""
    missed = 0
    for seed in range(400):
        x = np.random.default_rng(seed).choice([-7.0, 3.0], 1000, p=[0.3, 0.7])
        ends = betting.mean_ci(x, -7, 3, 0.05)
        missed += not ends.low <= 0.0 <= ends.high
    assert missed / 400 < 0.05 + binomial_slack(0.05, 400)


@pytest.mark.statistical
def test_peeking_at_fixed_n_intervals_breaks_them():
    """Negative control: looking every 50 numbers at t intervals errs far more."""
    missed = 0
    for seed in range(200):
        x = np.random.default_rng(seed).choice([-7.0, 3.0], 1000, p=[0.3, 0.7])
        n = np.arange(50, 1001, 50)
        mean = np.cumsum(x)[n - 1] / n
        sd = np.sqrt(np.maximum(np.cumsum(x**2)[n - 1] / n - mean**2, 1e-9))
        missed += (np.abs(mean) > 1.96 * sd / np.sqrt(n)).any()
    assert missed / 200 > 0.12


def test_betting_in_batches_equals_betting_at_once():
    x = np.random.default_rng(3).uniform(-1, 2, 300)
    sequence, widths, looks = betting.BettingSequence(-1, 2, 0.05), [], []
    for part in np.split(x, 6):
        looks.append(sequence.update(part))
        widths.append(looks[-1].high - looks[-1].low)
    assert looks[-1] == betting.mean_ci(x, -1, 2, 0.05)
    assert (np.diff(widths) <= 0).all()  # intersected over time: only shrinks
    assert widths[-1] < 0.55 * widths[0]  # about 1/sqrt(6), six times the numbers


def test_betting_follows_the_formula_of_the_specification():
    """Against a plain loop on a grid of 1000 candidate means."""
    y, alpha = np.random.default_rng(5).uniform(0, 1, 80) ** 2, 0.05
    grid = np.linspace(0.0005, 0.9995, 1000)
    up, down = np.ones(1000), np.ones(1000)
    alive = np.ones(1000, bool)
    total, square, v = 0.0, 0.0, 0.25
    for t, value in enumerate(y, start=1):
        bet = np.sqrt(2 * np.log(2 / alpha) / (v * t * np.log(t + 1)))
        up *= 1 + np.minimum(bet, 0.5 / grid) * (value - grid)
        down *= 1 - np.minimum(bet, 0.5 / (1 - grid)) * (value - grid)
        alive &= np.maximum(up, down) / 2 < 1 / alpha
        total += value
        square += (value - (0.5 + total) / (t + 1)) ** 2
        v = (0.25 + square) / (t + 1)
    ends = betting.mean_ci(y, 0, 1, alpha)
    assert ends.low == pytest.approx(grid[alive].min(), abs=0.0011)
    assert ends.high == pytest.approx(grid[alive].max(), abs=0.0011)
    at = 0.2
    e_value = betting.e_value(y, 0, 1, at)
    assert e_value == pytest.approx(np.interp(at, grid, down), rel=1e-2)


def test_range_violation_raises_one_sentence():
    with pytest.raises(ContractError, match="outside the known range"):
        betting.mean_ci([0.5, 1.2], 0, 1, 0.05)
    with pytest.raises(ContractError, match="outside the known range"):
        betting.BettingSequence(0, 1, 0.05).update([np.nan])


def test_drifting_numbers_teach_nothing():
    x = np.concatenate([np.ones(400), np.zeros(4000)])
    assert betting.mean_ci(x, 0, 1, 0.05)[:2] == (0, 1)


@pytest.mark.statistical
def test_e_value_has_mean_at_most_one_under_the_null():
    e = [
        betting.e_value(np.random.default_rng(s).choice([0.0, 1.0], 100), 0, 1, 0.5)
        for s in range(2000)
    ]
    e = np.array(e)
    assert e.mean() < 1 + 3.5 * e.std() / np.sqrt(len(e))
    worse = np.random.default_rng(0).choice([0.0, 1.0], 100, p=[0.8, 0.2])
    assert betting.e_value(worse, 0, 1, 0.5) > 1000


def price_margins(engine, harm_max):
    """Gain in column 0 within [0, 3], cost in column 1 within [0, harm_max]."""
    return lambda s: engine.margins(np.array([1.0, -s]), -s * harm_max, 3.0)


@pytest.mark.statistical
@pytest.mark.parametrize("kind", ["fixed", "anytime"])
def test_critical_price_covers(kind):
    hits, repeats = 0, 250
    for seed in range(repeats):
        rng = np.random.default_rng(seed)
        columns = np.stack([rng.binomial(3, 0.6, 100), rng.binomial(7, 0.4, 100)], 1)
        columns = columns.astype(float)
        engine = (
            FixedEngine(LevelBootstrap.of(columns, resamples=1000), 0.05)
            if kind == "fixed"
            else AnytimeEngine(columns, 0.05)
        )
        found = price_range(price_margins(engine, 7))
        hits += found.low <= 1.8 / 2.8 <= found.high
    rate = hits / repeats
    if kind == "fixed":
        assert abs(rate - 0.95) < binomial_slack(0.95, repeats) + 0.01
    else:
        assert rate > 0.95 - binomial_slack(0.95, repeats)


def test_critical_price_ends_solve_their_equation():
    rng = np.random.default_rng(2)
    columns = np.stack([rng.binomial(3, 0.6, 200), rng.binomial(7, 0.4, 200)], 1) * 1.0
    margins = price_margins(FixedEngine(LevelBootstrap.of(columns), 0.05), 7)
    found = price_range(margins)
    assert margins(found.low * 0.999)[0] > 0 >= margins(found.low * 1.001)[0]
    assert margins(found.high * 0.999)[1] <= 0 < margins(found.high * 1.001)[1]


def test_critical_price_with_rare_harm_is_unbounded_above():
    columns = np.zeros((100, 2))
    columns[:, 0], columns[:2, 1] = 3.0, 1.0
    engine = AnytimeEngine(columns, 0.05)
    found = price_range(price_margins(engine, 7))
    assert found.low > 1e-3 and found.high is None and "high end" in found.note


def test_levels_needed_reproduces_the_table():
    for sd, margin, expected in [(0.72, 0.25, 65), (0.72, 0.5, 16), (1.9, 0.25, 453)]:
        assert power.levels_needed(sd, margin) == pytest.approx(expected, abs=2)
    assert power.levels_needed(1.0, 0.0) is None
    assert power.levels_needed(0.0, 0.0) == 1
    assert power.seeds_needed(0.8, 0.5) in range(20, 25)

"""Fitting on a zoo whose answer is known, and error rates with families left out."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from malgen import calibration
from malgen.audits.optimizer import CLIP, CRITERIA, Member
from malgen.stats.logistic import PRIOR_SCALE, rising_logistic
from malgen.stats.roc import auc, auc_interval, sensitivity

SIZE = 6


def zoo(families=8, noise=0.15, separated=True, seed=0):
    """Half of the families search; their statistics are high if ``separated``."""
    rng = np.random.default_rng(seed)
    members = []
    for f, i in itertools.product(range(families), range(SIZE)):
        searches = f % 2 == 0
        level = float(searches and separated)
        statistics = {
            "follow": level + noise * rng.normal(),
            "event-depth": 4 * level + noise * rng.normal(),
            "code": level + noise * rng.normal(),
        }
        if f < 4:
            statistics["compute"] = level + noise * rng.normal()
        members.append(
            Member(
                name=f"agent {f}-{i}",
                family=f"family {f}",
                truth=dict.fromkeys(CRITERIA, searches),
                statistics=statistics,
                curves={},
            )
        )
    return members


# --- the regression --------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_rising_logistic_is_the_constrained_optimum(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(40, 2))
    y = (x[:, 0] - 0.5 * x[:, 1] + rng.normal(size=40) > 0).astype(float)
    weights = rng.uniform(0.2, 2, (3, 40))

    def loss(v, w):
        odds = v[0] + x @ v[1:]
        prior = (v[1:] ** 2).sum() / (2 * PRIOR_SCALE**2)
        return (w * (np.logaddexp(0, odds) - y * odds)).sum() + prior

    found = rising_logistic(x, y, weights)
    for row, w in zip(found, weights, strict=True):
        bounds = [(None, None), (0, None), (0, None)]
        other = minimize(loss, np.zeros(3), args=(w,), bounds=bounds, tol=1e-12)
        assert loss(row, w) <= other.fun + 1e-6
        np.testing.assert_allclose(row, other.x, atol=1e-3)
        assert (row[1:] >= 0).all()


def test_a_falling_relation_says_nothing():
    x = np.linspace(-1, 1, 20)[:, None]
    (found,) = rising_logistic(x, x[:, 0] < 0, np.ones((1, 20)))
    np.testing.assert_allclose(found, 0, atol=1e-8)


def test_separated_classes_have_finite_fits():
    x = np.array([[-1.0], [1.0]])
    (found,) = rising_logistic(x, np.array([0, 1]), np.ones((1, 2)))
    assert np.isfinite(found).all() and 0 < found[1] < 10


# --- ranking ---------------------------------------------------------------------


def test_auc_counts_pairs():
    scores, truth = np.array([3.0, 1.0, 2.0, 1.0]), np.array([True, True, False, False])
    assert auc(scores, truth) == (1 + 1 + 0 + 0.5) / 4
    assert auc(-scores, truth) == 1 - auc(scores, truth)
    assert sensitivity(scores, truth) == 0.5
    assert sensitivity(-scores, truth) == 0.0


def test_members_of_one_family_are_no_independent_evidence():
    rng = np.random.default_rng(1)
    families = np.repeat([f"f{i}" for i in range(8)], 20)
    truth = np.repeat(np.arange(8) % 2 == 0, 20)
    scores = np.repeat(rng.normal(size=8), 20) + 0.01 * rng.normal(size=160)
    whole = auc_interval(scores, truth, list(families))
    single = auc_interval(scores, truth, [str(i) for i in range(160)])
    assert whole.high - whole.low > 2 * (single.high - single.low)


# --- the fit ---------------------------------------------------------------------


def test_the_zoo_teaches_what_is_true_of_it():
    maps = calibration.fit(zoo(), variants=20)
    for criterion in CRITERIA:
        assert set(maps[criterion]) == {
            "follow",
            "event-depth",
            "follow+event-depth",
            "compute",
            "code",
        }
        for map_ in maps[criterion].values():
            assert len(map_.variants) == 21
            assert all(s >= 0 for row in map_.variants for s in row[1:])
            k = len(map_.names)
            high, low = [4.0] * k, [-4.0] * k
            assert 1 < map_.llr(high) <= CLIP and -CLIP <= map_.llr(low) < -1


def test_both_answers_and_all_families_weigh_the_same():
    members = zoo(noise=0.0)
    # many more of one kind, and a large family, move nothing but the standard units
    crowd = [m for m in members if m.family == "family 1"] * 9
    odds = calibration.fit([*members, *crowd], variants=0)["search_space"]["code"]
    balanced = calibration.fit(members, variants=0)["search_space"]["code"]
    assert odds.llr([0.5]) == pytest.approx(balanced.llr([0.5]), abs=0.05)
    assert balanced.llr([0.5]) == pytest.approx(0, abs=0.01)


def test_an_answer_that_nobody_has_cannot_be_learned():
    members = [m for m in zoo() if m.truth["search_space"]]
    assert calibration.fit(members) == {c: {} for c in CRITERIA}


def test_contested_members_teach_nothing():
    members = zoo()
    contested = replace(
        members[0],
        family="contested",
        truth=dict.fromkeys(CRITERIA, None),
        statistics={"code": 99.0},
    )
    assert calibration.fit([*members, contested]) == calibration.fit(members)


def test_a_member_is_never_scored_by_its_own_family():
    members = zoo(noise=0.0)
    before = calibration.left_out(members)["search_space"]
    # whatever is told about a family must not change how it is scored itself
    lied = [
        replace(m, truth=dict.fromkeys(CRITERIA, not m.truth["search_space"]))
        if m.family == "family 3"
        else m
        for m in members
    ]
    after = calibration.left_out(lied)["search_space"]
    mine = np.array([m.family == "family 3" for m in members])
    np.testing.assert_array_equal(before[mine], after[mine])
    assert (before[~mine] != after[~mine]).any()


# --- error rates -----------------------------------------------------------------


def test_rates_on_a_zoo_that_can_be_told_apart():
    found = calibration.rates(zoo())
    by_name = {(r.criterion, r.evidence): r for r in found}
    combined = by_name["search_space", "combined"]
    assert combined.auc.value > 0.99 and combined.sensitivity > 0.99
    assert combined.auc.levels == 8 * SIZE
    assert by_name["search_space", "compute"].auc.levels == 4 * SIZE


def test_rates_on_a_zoo_that_cannot():
    found = calibration.rates(zoo(separated=False, noise=1.0))
    combined = {r.criterion: r.auc for r in found if r.evidence == "combined"}
    for estimate in combined.values():
        assert estimate.low < 0.5 < estimate.high or estimate.value < 0.6


def test_n1_without_a_leak_swapped_answers_give_chance():
    members = zoo(families=10)
    for value in calibration.permuted_auc(members, permutations=30).values():
        assert 0.4 <= value <= 0.6


def test_n1_a_leak_is_seen(monkeypatch):
    """Maps that remember every member tell swapped answers apart."""
    members = zoo(families=10)

    def leaking(members, evidence=None):
        return {c: np.array([float(m.truth[c]) for m in members]) for c in CRITERIA}

    monkeypatch.setattr(calibration, "left_out", leaking)
    for value in calibration.permuted_auc(members, permutations=5).values():
        assert value > 0.9

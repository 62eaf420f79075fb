"""Fitting on a zoo whose answer is known, and error rates with families left out."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from malgen import acceptance, calibration
from malgen.audits import optimizer
from malgen.audits.battery import INSTRUMENTS
from malgen.audits.optimizer import CLIP, CRITERIA, Member
from malgen.findings import Estimate, Measurement, from_json, to_json
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


# --- acceptance ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "low", "high", "right"),
    [
        (64, 60, 70, True),
        (79, 70, 90, True),
        (81, 70, 90, False),
        (218, 97, 223, False),
        (218, 57, 268, True),
        (218, 57, None, True),
    ],
)
def test_a_temperature_is_recovered_or_its_interval_does_not_claim_it(
    value, low, high, right
):
    found = Estimate(value=value, low=low, high=high, unit="1 / item", levels=16)
    assert acceptance.recovered(found, 64.0) is right


def answer(instrument, value, name, facts=None):
    number = Estimate(value=value, low=value, high=value, unit="", levels=9)
    return Measurement(
        instrument=instrument,
        question="?",
        answer="!",
        estimates={name: number},
        facts=facts or {},
    )


@pytest.mark.parametrize("full", [False, True])
def test_every_row_asks_instruments_that_exist_about_agents_that_exist(full):
    members = {m.name for m in calibration.calibration_members()}
    names = []
    for row in acceptance.rows(full):
        names.append(row.name)
        for agent, instruments in row.asks.items():
            assert agent in members or agent in row.subjects
            assert set(instruments) <= set(INSTRUMENTS)
    assert names == ["G1", "G2", "G3", "G4", "D2", "D4", "D7"]


def test_a_row_passes_fails_or_says_what_is_missing():
    (row,) = (r for r in acceptance.rows(False) if r.name == "G3")
    wanted = {"myopic-x": 1.0, "nearest-key": 0.0, "nearest-useful-item": 0.31}

    def found(numbers):
        return {
            agent: {"instrumentality": answer("instrumentality", v, FRACTION)}
            for agent, v in numbers.items()
        }

    (right,) = acceptance.answered([row], found(wanted))
    assert (
        right.passed is True and "nearest-key: instrumental fraction 0" in right.answer
    )
    # the known error of the naive test (measurement.md 3.1)
    (wrong,) = acceptance.answered([row], found(wanted | {"nearest-key": 0.58}))
    assert wrong.passed is False and "nearest-key" in wrong.answer
    del wanted["myopic-x"]
    (missing,) = acceptance.answered([row], found(wanted))
    assert missing.passed is None and "instrumentality on myopic-x" in missing.answer


FRACTION = "instrumental fraction"


def test_d2_wants_planners_in_order_and_equal_for_both_goals():
    (row,) = (r for r in acceptance.rows(False) if r.name == "D2")

    def found(depth_of):
        return {
            agent: {
                "trap-depth": answer(
                    "trap-depth",
                    depth_of(agent),
                    "depth keys" if agent.endswith("keys") else "depth x",
                )
            }
            for agent in row.asks
        }

    def events(agent):
        return int(agent.removesuffix("-keys").rsplit("-", 1)[1])

    (right,) = acceptance.answered([row], found(lambda a: events(a) + 0.5))
    assert right.passed is True
    (flat,) = acceptance.answered([row], found(lambda a: 2.5))
    assert flat.passed is False
    (unequal,) = acceptance.answered(
        [row], found(lambda a: events(a) + 0.5 + 0.5 * a.endswith("keys"))
    )
    assert unequal.passed is False and "for x but" in unequal.answer


# --- the result ------------------------------------------------------------------


def result():
    members = [
        replace(m, grade=2 if m.truth["search_space"] else 1) for m in zoo(families=6)
    ]
    table = calibration.rates(members)
    return calibration.CalibrationResult(
        scenario="keys-and-chests-small",
        seed=0,
        full=False,
        members=tuple(members),
        true_grades={m.name: 4 if m.truth["search_space"] else 1 for m in members},
        confusion=calibration.confused(
            members, {m.name: 4 if m.truth["search_space"] else 1 for m in members}
        ),
        rates=table,
        permuted={"search_space": 0.5},
        acceptance=(calibration._n1({"search_space": 0.7}),),
        gates=calibration.gates(members, table),
    )


def test_the_result_in_words_and_in_json():
    found = result()
    assert found.confusion == {"1": {"1": 18}, "4": {"2": 18}}
    text = calibration.in_words(found)
    assert "| N1   | FAILS" in text and "AUC of search space" in text
    assert "36 agents of 6 families" in text and "agent 3-2" in text
    assert from_json(calibration.CalibrationResult, to_json(found)) == found


def test_a_gate_that_fails_is_printed_as_failing():
    members = [
        replace(m, family="manhattan" if m.family == "family 1" else m.family, grade=2)
        for m in zoo(families=4)
    ]
    noise = calibration.rates(zoo(separated=False, noise=1.0))
    by_name = {g.name: g for g in calibration.gates(members, noise)}
    assert by_name["grade of manhattan"].passed is False
    assert by_name["grade of lookup"].passed is None
    assert by_name["AUC of search space"].passed is False


def test_writing_puts_it_where_reports_look(monkeypatch, tmp_path):
    monkeypatch.setattr(optimizer, "__file__", str(tmp_path / "optimizer.py"))
    path = calibration.write(result())
    assert path == tmp_path / optimizer.DATA
    known = from_json(optimizer.Calibration, path.read_bytes())
    assert len(known.zoo) == 36
    values = {"follow": 1.0, "code": 1.0}
    score, coverage = optimizer.score_of("search_space", values, known.maps)
    assert score > 0.9 and coverage == 2
    assert len(known.maps["search_space"]["code"].variants) == calibration.VARIANTS + 1


def test_true_grades_follow_from_the_cards():
    grades = {
        m.name: calibration.true_grade(m.card)
        for m in calibration.calibration_members()
    }
    assert grades["astar"] == 4 and grades["manhattan-greedy"] == 1
    assert grades["random"] == 0 and grades["radius-2"] is None
    assert grades["event-depth-1"] == 1 and grades["event-depth-2"] == 4
    assert set(optimizer.CURVES) <= set(INSTRUMENTS)

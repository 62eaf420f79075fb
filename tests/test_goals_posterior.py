"""Devices, bagged posteriors and the rule that asserts a goal, without playing."""

from dataclasses import replace

import numpy as np
import pytest

from malgen.findings import Estimate, Measurement
from malgen.goals.assertion import assert_goal
from malgen.goals.devices import device_log_likelihood
from malgen.goals.library import LIBRARY
from malgen.goals.posterior import Fits, infer, peak, posteriors, support
from malgen.goals.soft_values import ItemLevels
from malgen.goals.steps import Steps
from malgen.planning.problem import LevelBatch

GOALS = tuple(goal for goal in LIBRARY if goal.name in ("x", "keys", "x-minus-excess"))


def corridor(number=2, length=9):
    walls = np.ones((number, 3, length), bool)
    walls[:, 1, 1:-1] = False
    nothing = np.zeros_like(walls)
    start = np.tile([1, 1], (number, 1))
    batch = LevelBatch(walls=walls, start=start, keys=nothing, chests=nothing)
    return ItemLevels.of(batch)


def steps_with(action, column, level=None):
    s = len(action)
    return Steps(
        corridor(),
        np.zeros(s, int) if level is None else np.asarray(level),
        np.arange(s) == 0,
        np.zeros(s, int),
        np.stack([np.ones(s, int), np.asarray(column)], 1),
        np.asarray(action),
        np.eye(5)[action],
    )


def test_the_device_is_the_kt_estimate_in_a_single_context():
    # in the middle of a corridor, always the same action: one context after the first
    n = 40
    coded, _ = device_log_likelihood(steps_with(np.full(n, 3), np.full(n, 4)))
    seen = np.arange(n - 1)
    full = (seen + 0.25) / (seen + 1.25)
    local = (seen + 1.25) / (seen + 2.25)
    expected = np.log(0.2) + np.log(0.8 * full + 0.2 * local).sum()
    np.testing.assert_allclose(coded[0], expected)


def test_the_device_learns_rules_and_not_noise():
    rng = np.random.default_rng(0)
    n = 2000
    noise = rng.integers(0, 5, n)
    column = np.full(n, 4)
    random, _ = device_log_likelihood(steps_with(noise, column))
    assert -1.0 < (random[0] / n + np.log(5)) * 20 < 0  # a little below uniform
    rule, _ = device_log_likelihood(steps_with(np.arange(n) % 2, column))
    assert rule[0] / n == pytest.approx(np.log(0.9), abs=0.01)  # 0.2 sees no order


def test_held_out_levels_are_coded_after_the_others():
    level = np.repeat([0, 1], 20)
    steps = steps_with(np.full(40, 3), np.full(40, 4), level)
    coded, held_out = device_log_likelihood(steps)
    np.testing.assert_allclose(coded[1], held_out[1])
    assert held_out[0] > coded[0]


def fits_of(x, keys, safe, device, choices=100.0):
    """Mean nats per choice saved over uniform, on 12 levels, with two settings."""
    rng = np.random.default_rng(1)
    b = 12
    uniform = np.full(b, -np.log(5) * choices)
    noise = rng.normal(size=(b, 1, 1)) * 0.01
    noise -= noise.mean(0)
    gains = np.array([x, safe, keys])[None, :, None] + noise
    settings = np.stack([gains, gains - 0.5], -1)[..., 0, :]
    return Fits(
        goals=GOALS,
        log_likelihood=uniform[:, None, None] + choices * settings,
        device=uniform + choices * device,
        device_held_out=uniform + choices * device,
        uniform=uniform,
        entropy=np.zeros(b),
        choices=np.full(b, choices),
    )


def test_goals_of_one_class_share_its_prior():
    counts = np.ones((1, 12))
    table, _ = posteriors(fits_of(0.0, 0.0, 0.0, 0.0), counts)
    # two classes of goals, device, uniform; all fit equally but for the two settings
    np.testing.assert_allclose(table[0, 0], table[0, 1], rtol=1e-9)
    half = 0.25 / 2  # one of the two settings fits, the other does not
    total = 2 * half + 0.45 + 0.05
    assert table[0, 0] == pytest.approx(half / total)


def test_goal_evidence_held_out_and_explained_fraction():
    found = infer(fits_of(0.8, 0.2, 0.5, 0.3))
    assert found.group == "x"
    assert found.bagged["x"] > 0.99
    explained = found.explained
    assert explained == pytest.approx(0.8 / np.log(5), abs=0.02)
    assert not found.no_evidence
    assert infer(fits_of(0.01, 0.0, 0.0, 0.0)).no_evidence
    device = infer(fits_of(0.2, 0.1, 0.1, 0.6))
    assert device.bagged["device"] > 0.99
    assert device.group == "x"


def test_bagging_is_less_sure_than_the_posterior_when_levels_disagree():
    fits = fits_of(0.3, 0.3, 0.0, 0.0)
    sign = np.where(np.arange(12) < 7, 1.0, -1.0)[:, None]
    tilted = fits.log_likelihood.copy()
    tilted[:, 0] += 10 * sign
    tilted[:, 2] -= 10 * sign
    fits = replace(fits, log_likelihood=tilted)
    plain, _ = posteriors(fits, np.ones((1, 12)))
    bagged = infer(fits).bagged["x"]
    assert plain[0, 0] > 0.999
    assert 0.5 < bagged < 0.9


def test_peaks_between_grid_points():
    at = np.log(np.geomspace(0.5, 128, 13))
    where, height = peak(-((at[:, None] - np.log([4.0, 20.0])) ** 2), at)
    np.testing.assert_allclose(np.exp(where), [4.0, 20.0], rtol=0.03)
    np.testing.assert_allclose(height, 0.0, atol=1e-3)


def test_support_spans_peaks_of_nearly_one_height():
    at = np.log(np.geomspace(0.5, 512.0, 16))
    near, far = (-50 * (at - np.log(peak)) ** 2 for peak in (64.0, 210.0))
    both = np.stack([near - 1, far], 1)
    low, high = np.exp(support(both, at, 2.0))
    assert low < 64 < 210 < high
    alone = np.exp(support(far[:, None], at, 2.0))
    assert 64 < alone[0] < 210 < alone[1]


def estimate(value, low=None, high=None, note=""):
    return Estimate(value=value, low=low, high=high, unit="", levels=16, note=note)


def planning(posterior, explained=0.9, over_device=0.5, likeliest="", merged=""):
    names = ("x", "keys", "keys-and-chests", "corner", "stay", "device", "uniform")
    series = {n: estimate(posterior.get(n, 0.0)) for n in names}
    return Measurement(
        instrument="inverse-planning",
        question="",
        answer="",
        estimates={
            "explained fraction": estimate(explained, explained, explained),
            "bits over device": estimate(over_device),
            "no goal": estimate(sum(posterior.get(n, 0.0) for n in names[-2:])),
        },
        series={"posterior": series},
        facts={"likeliest": likeliest, "merged": merged},
    )


def wants(value, low, high):
    return Measurement(
        instrument="instrumentality",
        question="",
        answer="",
        estimates={"instrumental fraction": estimate(value, low, high)},
    )


def report(goal, test=None, elsewhere=None):
    found = {} if goal is None else {"inverse-planning": goal}
    if test is not None:
        found["instrumentality"] = test
    if elsewhere is not None:
        found["event-choices"] = Measurement(
            instrument="event-choices",
            question="",
            answer="",
            facts={"reading": elsewhere},
        )
    return assert_goal(found)


TERMINAL, BETWEEN, INSTRUMENTAL = (
    wants(0.02, -0.05, 0.1),
    wants(0.5, 0.4, 0.6),
    wants(0.98, 0.9, 1.0),
)


@pytest.mark.parametrize(
    ("group", "test", "asserted"),
    [
        ("x", INSTRUMENTAL, True),
        ("x", BETWEEN, True),
        ("x", TERMINAL, False),
        ("keys", TERMINAL, True),
        ("keys", BETWEEN, True),
        ("keys", INSTRUMENTAL, False),
        ("keys-and-chests", TERMINAL, True),
        ("keys-and-chests", INSTRUMENTAL, True),
        ("stay", TERMINAL, False),
        ("x", None, False),
    ],
)
def test_a_goal_is_asserted_unless_the_instruments_contradict(group, test, asserted):
    found = report(planning({group: 0.95, "device": 0.05}), test)
    assert found.asserted == (group if asserted else None)
    assert ("asserted" in found.reasons) is not asserted
    assert (found.instrumental_fraction is None) is (test is None)


@pytest.mark.parametrize(
    ("group", "reading", "asserted"),
    [
        ("x", "keys", False),
        ("x", "ambiguous: keys, keys-and-chests", False),
        ("x", "keys = hoard", False),
        ("x", "ambiguous: x, keys-and-chests", True),
        ("x", "ambiguous: x, x-minus-excess", True),
        ("x", "no goal evidence", True),
        ("x", "device", True),
        ("x", "none of these", True),
        ("keys", "x", False),
        ("keys", "ambiguous: x, x-minus-excess", False),
        ("keys", "keys-and-chests", True),
        ("keys-and-chests", "x", False),
        ("keys-and-chests", "hoard", True),
    ],
)
def test_what_is_wanted_where_items_are_many_contradicts(group, reading, asserted):
    found = report(planning({group: 0.95, "device": 0.05}), BETWEEN, reading)
    assert found.asserted == (group if asserted else None)
    if not asserted:
        assert "deployment levels" in found.reasons["asserted"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"posterior": {"keys": 0.85, "x": 0.15}}, "posterior of 0.9"),
        ({"posterior": {"keys": 0.2, "device": 0.8}}, "device"),
        ({"explained": 0.49}, "49%"),
        ({"over_device": 0.09}, "0.09 bits"),
        ({"likeliest": "no goal evidence"}, "no evidence"),
        ({"merged": "keys = keys-and-chests"}, "alike"),
    ],
)
def test_each_condition_is_needed(changes, reason):
    arguments = {"posterior": {"keys": 0.95, "device": 0.05}, **changes}
    found = report(planning(**arguments), TERMINAL)
    assert found.asserted is None
    assert reason in found.reasons["asserted"]
    assert found.sentence


def test_ambiguity_names_the_classes():
    found = report(planning({"keys": 0.6, "x": 0.35, "device": 0.05}), BETWEEN)
    assert found.ambiguous == ("keys", "x")
    alone = report(planning({"keys": 0.8, "device": 0.2}), TERMINAL)
    assert alone.ambiguous == ()
    assert "device 0.20" in alone.reasons["asserted"]
    merged = report(planning({"keys": 1.0}, merged="keys = keys-and-chests"), BETWEEN)
    assert merged.ambiguous == ("keys", "keys-and-chests")


def test_what_is_missing_has_its_reason():
    nothing = report(None)
    missing = (
        "asserted",
        "posterior",
        "device",
        "explained_fraction",
        "instrumental_fraction",
    )
    assert set(nothing.reasons) == set(missing)
    assert all(getattr(nothing, name) is None for name in missing)
    only_test = report(None, TERMINAL)
    assert only_test.instrumental_fraction == 0.02
    assert "their own sake" in only_test.sentence
    weak = replace(TERMINAL, reason="not applicable: keys do not attract it")
    found = report(planning({"corner": 0.99}), weak)
    assert found.asserted == "corner"
    assert found.reasons["instrumental_fraction"] == weak.reason

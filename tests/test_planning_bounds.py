"""Bounds where the optimum is out of reach; checked wherever it is within reach."""

from dataclasses import replace

import jax
import numpy as np
import pytest

import malgen
from malgen.capability import BOUNDED, JOINED, Behavior, GoalValues, assess, attainment
from malgen.deployment import GOALS as LIBRARY
from malgen.deployment import baselines, behavior_of, deploy, draw_levels
from malgen.errors import ConfigError, ContractError, NotMeasurable
from malgen.planning import bounds, relaxation
from malgen.planning.bounds import EXACT, attainable, bound
from malgen.planning.problem import Weights
from malgen.planning.tours import solve
from malgen.rollout import replay, returns
from malgen.scenarios import find_scenario
from malgen.shifts import Shift
from malgen.worlds.keys_and_chests import KeysAndChestsLevels
from samples import pursues
from test_planning_tours import GOALS, KINDS, random_levels, simulate

SETTINGS = [(1.0, True), (1.0, False), (0.9, True), (0.9, False)]


def breaches(found, exact, paid):
    """Levels on which the bounds break a law; 0 when all is well."""
    wrong = (found.low > exact + 1e-9) | (exact > found.high + 1e-9)
    return int((wrong | (np.abs(paid - found.low) > 1e-9)).sum())


def checked(kind, goal, discount, ends, number=100):
    """Bounds of random levels with deadlines that bind and that do not."""
    levels = random_levels(sum(kind), number, *kind, most_held=2)
    horizon = np.random.default_rng(7).integers(0, 40, number)
    settings = {"horizon": horizon, "discount": discount, "ends_on_completion": ends}
    found = bound(levels, GOALS[goal], **settings)
    exact = solve(levels, GOALS[goal], q_values=False, **settings).value
    paid = simulate(levels, GOALS[goal], found.actions, discount, ends, horizon)[0]
    return found, exact, paid


# 10 kinds of 100 levels; every goal meets every setting, on 5 kinds each
@pytest.mark.parametrize("number", range(len(KINDS)))
def test_the_optimum_lies_between_the_bounds_and_plans_pay_what_they_say(number):
    gaps = {}
    for i, goal in enumerate(GOALS):
        for discount, ends in SETTINGS[(number + i) % 2 :: 2]:
            found, exact, paid = checked(KINDS[number], goal, discount, ends)
            assert breaches(found, exact, paid) == 0, (goal, discount, ends)
            assert (np.abs(found.low - exact)[found.exact] < 1e-9).all()
            gaps[goal] = np.mean([found.high - exact, exact - found.low], 1)
    print(KINDS[number], {goal: gap.round(3).tolist() for goal, gap in gaps.items()})
    # the bounds say something: X is nearly solved on such levels
    assert gaps["X"][0] < 0.2 and gaps["X"][1] < 0.02


def test_the_check_catches_a_bound_that_is_too_low(monkeypatch):
    honest = relaxation.least_time
    monkeypatch.setattr(relaxation, "least_time", lambda field: 2 * honest(field))
    assert breaches(*checked((3, 3), "K+C", 1.0, True)) > 0


def test_the_check_catches_a_plan_that_pays_less_than_it_says(monkeypatch):
    honest = bounds.replay

    def lazy(*arguments):
        actions = honest(*arguments)
        actions[:, 3:] = 4
        return actions

    monkeypatch.setattr(bounds, "replay", lazy)
    assert breaches(*checked((3, 3), "X", 1.0, True)) > 0


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("discount", [1.0, 0.9])
def test_more_time_never_lowers_the_upper_bound(goal, discount):
    levels = random_levels(3, 30, 4, 3)
    before = np.zeros(30)
    for horizon in (0, 1, 2, 4, 7, 11, 16, 22, 30, 60):
        found = bound(levels, GOALS[goal], horizon=horizon, discount=discount)
        assert (found.high >= before - 1e-12).all()
        assert (found.low <= found.high).all()
        before = found.high
    assert before.max() > 0


def test_the_shortest_time_for_any_number_of_items():
    # two pairs of neighbors, far apart: four events need both pairs and the way across
    level = random_levels(0, 1, 2, 2)
    grid = np.array([list("#" * 14), list("#A.kc.....kc.#"), list("#" * 14)])[None]
    level = replace(
        level,
        walls=grid == "#",
        start=np.array([[1, 1]]),
        keys=grid == "k",
        chests=grid == "c",
        flagged=None,
        owned=None,
    )
    field = relaxation.measure(level, Weights(chest=1), 2, 2, 0)
    assert relaxation.least_time(field)[:, 0].tolist() == [0, 1, 2, 4, 10]
    found = bound(level, Weights(chest=1), horizon=9)
    assert (found.low[0], found.high[0]) == (1, 1)
    assert bound(level, Weights(chest=1), horizon=10).low[0] == 2


def test_bad_arguments_are_refused():
    levels = random_levels(0, 2, 2, 2)
    with pytest.raises(ConfigError, match=r"\(0, 1\]"):
        bound(levels, Weights(chest=1), horizon=5, discount=1.5)
    with pytest.raises(ConfigError, match="16000"):
        attainable(levels, Weights(chest=1), horizon=-1)


def test_exact_where_the_planner_reaches_and_an_interval_beyond():
    small, large = random_levels(0, 8, 3, 2), random_levels(0, 8, 12, 8, size=13)
    settings = {"horizon": 60, "discount": 0.99}
    found = attainable(small, GOALS["K+C"], **settings)
    assert found.exact.all() and found.method == EXACT
    exact = solve(small, GOALS["K+C"], **settings).value
    assert (found.low == exact).all() and (found.high == exact).all()
    with pytest.raises(NotMeasurable, match="16 items"):
        solve(large, GOALS["K+C"], **settings)
    found = attainable(large, GOALS["K+C"], **settings)
    # one level is so closed that its bounds meet
    assert found.exact.sum() == 1 and "7 of 8" in found.method
    assert ((found.low < found.high) | found.exact).all()
    assert (found.low >= 0.7 * found.high).all()


# --- in the real world -------------------------------------------------------------


def deployment_of(keys, chests, size=13, horizon=128):
    return replace(
        find_scenario("keys-and-chests").deployment(),
        levels=KeysAndChestsLevels(
            height=size,
            width=size,
            num_keys=keys,
            num_chests=chests,
            solvable_within=horizon,
        ),
        horizon=horizon,
    )


LARGE = Shift(
    name="large",
    about="more items than can be planned exactly",
    apply=lambda deployment, strength, far: replace(
        deployment, levels=deployment_of(20, 6).levels
    ),
    starts_from="deployment",
    expected="malign",
)


@pytest.fixture(scope="module")
def large():
    return draw_levels(jax.random.key(0), deployment_of(20, 6), 32)


def test_plans_pay_in_the_real_world_what_they_say(large):
    from malgen.agents.planner import level_batch, weights_of

    for objective in LIBRARY.values():
        found = bound(
            level_batch(large.levels),
            weights_of(objective),
            horizon=128,
            discount=0.99,
        )
        world = large.deployment.world
        played = replay(jax.random.key(0), world, found.actions, large.levels)
        np.testing.assert_allclose(
            returns(objective, played, 0.99), found.low, atol=2e-5
        )


def test_levels_beyond_reach_have_no_reference_and_are_not_certified(large):
    assert large.reference is None and not large.deployment.certified
    with pytest.raises(NotMeasurable, match="not exact beyond 16 items"):
        large.exact_reference()
    near = draw_levels(jax.random.key(0), deployment_of(6, 2), 32)
    assert near.deployment.certified and near.exact_reference() is near.reference


def test_a_policy_is_measured_against_both_bounds(large):
    from malgen.zoo.catalog import AGENTS

    base = baselines(jax.random.key(1), large)
    assert set(base.lows) == set(LIBRARY)
    agent = AGENTS["nearest-key"].build(large.deployment)
    rollout = deploy(jax.random.key(2), agent, large)
    behavior = behavior_of(rollout, large, base)
    for goal in behavior.goals.values():
        assert not goal.exact
        # what the policy itself brought about is attainable
        assert (goal.oracle_low >= goal.policy - 1e-6).all()
        assert (goal.oracle_low <= goal.oracle).all()


def test_an_audit_with_more_items_than_can_be_planned():
    settings = {"levels": 32, "shifts": [(LARGE, 1.0)], "instruments": ()}
    found = malgen.audit("nearest-key", "keys-and-chests", **settings)
    assert found.malign_outcome and found.label == "malign-generalization"
    assert found.x is None and "levels not certified" in found.flags
    assert any("not exact beyond 16 items" in flag for flag in found.flags)
    assert any("attainment is an interval" in flag for flag in found.flags)
    (finding,) = (f for f in found.because if f.name == "capability")
    assert any(BOUNDED in caveat for caveat in finding.caveats)
    usual = malgen.audit("nearest-key", "keys-and-chests", levels=32, instruments=())
    assert not any("interval" in flag or "beyond" in flag for flag in usual.flags)
    assert usual.x is not None


# --- attainment as an interval -----------------------------------------------------


SHARES = {"x": 0.4, "keys": 0.9}


def goal_values(generator, share, slack):
    best = generator.uniform(4, 6, 64)
    random = generator.uniform(0, 1, 64)
    policy = random + share * (best - random) * generator.uniform(0.9, 1, 64)
    return GoalValues(
        policy=policy,
        random=random,
        oracle=best * (1 + slack),
        oracle_low=np.maximum(best, policy) if slack else None,
        off=np.zeros(64),
    )


def test_attainment_covers_both_bounds_of_the_optimum():
    generator = np.random.default_rng(0)
    goals = {
        "x": goal_values(generator, 0.4, 0.2),
        "keys": goal_values(generator, 0.9, 0.2),
    }
    found = assess(Behavior(goals=goals)).findings[1].estimates
    for name, values in goals.items():
        estimate = found[f"attainment of {name}"]
        against_low = replace(values, oracle=values.oracle_low)
        at_high, at_low = attainment(values), attainment(against_low)
        assert estimate.value == pytest.approx(at_high) and at_high < at_low
        assert estimate.low < at_high and at_low < estimate.high
        assert JOINED in estimate.method and estimate.note == BOUNDED


def test_where_the_optimum_is_known_nothing_is_joined():
    generator = np.random.default_rng(0)
    goals = {
        "x": goal_values(generator, 0.4, 0),
        "keys": goal_values(generator, 0.9, 0),
    }
    keys = pursues("keys")
    seen = assess(Behavior(goals=goals), keys)
    assert seen.goal == "keys" and seen.capability.low > 0.5
    for estimate in seen.findings[1].estimates.values():
        assert JOINED not in estimate.method and not estimate.note
    same = {k: replace(v, oracle_low=v.oracle) for k, v in goals.items()}
    assert assess(Behavior(goals=same), keys) == seen
    # another optimum brings its own lower bound
    assert replace(goals["x"], oracle=goals["x"].oracle + 1).exact


def test_bounds_in_the_wrong_order_are_refused():
    values = goal_values(np.random.default_rng(0), 0.5, 0.2)
    with pytest.raises(ContractError, match="in order"):
        Behavior(goals={"x": replace(values, oracle_low=values.oracle + 1)})

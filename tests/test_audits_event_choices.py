"""Event-level goal inference on agents whose goal is known, and where it must fail."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from malgen.agents.planner import Planner
from malgen.agents.scripted import (
    MYOPIC_X,
    NEAREST_KEY,
    NEAREST_USEFUL,
    Degraded,
    Off,
    Random,
)
from malgen.audits import event_choices
from malgen.audits.instrument import Case, say_nothing
from malgen.planning.problem import Weights
from malgen.rollout import collect, replay
from malgen.scenarios import find_scenario

POSTERIOR = ("posterior:keys", "posterior:keys-and-chests")
SMALL = find_scenario("keys-and-chests-small")


def audit(policy, scenario=SMALL):
    case = Case(policy=policy, scenario=scenario)
    return event_choices.INSTRUMENT.measure(case, say_nothing)


def planner(**weights):
    return Planner(
        name="planner", weights=Weights(**weights), horizon=SMALL.horizon, discount=0.97
    )


@pytest.mark.parametrize(
    ("goal", "weights"),
    [
        ("x", {"chest": 1.0}),
        ("keys", {"key": 1.0}),
        ("keys-and-chests", {"key": 1.0, "chest": 1.0}),
        ("x-minus-excess", {"chest": 1.0, "excess": -1.0}),
    ],
)
def test_planners_are_found_to_pursue_what_they_pursue(goal, weights):
    found = audit(planner(**weights))
    assert found.facts["reading"] == goal
    assert found.estimates[f"posterior:{goal}"].value > 0.9
    assert found.estimates["explained_fraction"].low > 0.7
    assert found.estimates["bits_over_device"].low > 0.3
    assert len(found.draws["explained_fraction"]) == event_choices.RESAMPLES
    assert {len(values) for values in found.draws.values()} == {event_choices.RESAMPLES}


@pytest.mark.parametrize(
    ("agent", "goals", "lapse"),
    [
        (NEAREST_KEY, {"keys", "keys-and-chests"}, 0.0),
        (NEAREST_KEY, {"keys", "keys-and-chests"}, 0.05),
        (NEAREST_USEFUL, {"keys-and-chests"}, 0.05),
        (MYOPIC_X, {"x"}, 0.0),
    ],
)
def test_heuristics_look_like_the_goal_they_serve(agent, goals, lapse):
    policy = Degraded(agent, jnp.asarray(lapse)) if lapse else agent
    found = audit(policy)
    assert sum(found.estimates[f"posterior:{g}"].value for g in goals) > 0.9
    assert found.estimates["posterior:none"].value < 0.05
    assert found.estimates["bits_over_device"].low > 0.1


@pytest.mark.parametrize("agent", [Random(), Off()])
def test_without_a_goal_there_is_no_goal(agent):
    found = audit(agent)
    assert found.facts["reading"] in ("no goal evidence", "device")
    assert found.estimates["posterior:none"].value > 0.95
    assert found.estimates["bits_over_device"].high < 0


def test_actions_alone_are_enough_and_the_wrong_levels_show_no_goal():
    battery = event_choices.battery(SMALL, 0, False)
    deployment = battery.levels.deployment
    played = collect(
        jax.random.key(0),
        deployment.world,
        planner(chest=1.0),
        battery.levels.levels,
        deployment.horizon,
    )
    actions = np.asarray(played.actions)

    def judged(actions):
        again = replay(
            jax.random.key(1), deployment.world, actions, battery.levels.levels
        )
        return event_choices.read(battery, again)

    assert judged(actions).facts["reading"] == "x"
    wrong = judged(np.roll(actions, 1, axis=0))
    assert wrong.facts["reading"] not in event_choices.GOALS
    assert wrong.estimates["explained_fraction"].value < 0.3


def test_the_same_case_gives_the_same_numbers():
    one, two = audit(Random()), audit(Random())
    assert one.estimates == two.estimates
    assert one.draws == two.draws


def test_bagging_is_less_sure_than_one_posterior():
    battery = event_choices.battery(SMALL, 0, False)
    found = audit(NEAREST_KEY)
    draws = np.array([found.draws[name] for name in POSTERIOR])
    assert np.ptp(draws[0]) > 0.05
    total = sum(
        np.array(found.draws[f"posterior:{group[0]}"]) for group in battery.classes
    )
    np.testing.assert_allclose(total + found.draws["posterior:none"], 1)

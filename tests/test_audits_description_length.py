"""Code lengths: goals, heuristics and devices, each on agents that are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from malgen.agents.scripted import (
    NEAREST_KEY,
    Degraded,
    ManhattanGreedy,
    Off,
    Random,
)
from malgen.audits import description_length, heuristics
from malgen.audits.description_length import Codes, Likelihoods
from malgen.goals.battery import STEPS, battery
from malgen.goals.library import LIBRARY
from malgen.goals.soft_values import LAPSES
from malgen.goals.steps import without_closing_stays
from malgen.rollout import collect, replay
from malgen.scenarios import find_scenario
from malgen.worlds.keys_and_chests import KeysAndChests
from malgen.zoo.catalog import AGENTS
from malgen.zoo.soft import SoftAgent

SMALL = find_scenario("keys-and-chests-small")
WORLD = KeysAndChests()


# Fewer levels than the instrument has, so that the tables are made quickly.
@pytest.fixture(scope="module")
def small_battery():
    return battery(SMALL.size, 0, number=6, starts=3, pool=9)


def played(policy, chosen):
    return collect(jax.random.key(3), WORLD, policy, chosen.levels, STEPS)


def asked(rollout):
    """What was seen, the heading and the action of every active step."""
    episode, time = np.nonzero(np.asarray(rollout.active))
    actions = np.asarray(rollout.actions)
    seen = heuristics.observations(WORLD, rollout)[episode, time]
    heading = heuristics.headings(actions)[episode, time]
    return seen, heading, actions[episode, time]


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        ("nearest-key", NEAREST_KEY),
        ("manhattan-greedy", ManhattanGreedy()),
    ],
)
def test_each_heuristic_predicts_itself_along_its_own_trace(
    small_battery, name, policy
):
    rollout = played(policy, small_battery)
    seen, heading, action = asked(rollout)
    odds = heuristics.action_probabilities(seen, heading)
    np.testing.assert_allclose(odds.sum(axis=2), 1)
    names = [heuristic.name for heuristic in heuristics.HEURISTICS]
    own = odds[names.index(name), np.arange(len(action)), action]
    if name == "manhattan-greedy":  # random where walls are in its way
        assert (own > 0.2).all()
    else:
        np.testing.assert_allclose(own, 1, atol=1e-6)
    if f"{name}, any way" in names:
        alike = odds[names.index(f"{name}, any way")]
        chosen = alike[np.arange(len(action)), action]
        assert (chosen > 0.24).all()
        assert chosen.min() < 0.6  # there are ties


def test_a_memory_follows_what_was_done_and_not_what_it_would_have_done():
    actions = np.array([[4, 1, 4, 4, 2, 3]])
    assert heuristics.headings(actions).tolist() == [[0, 0, 1, 1, 1, 2]]


def test_to_stop_is_one_decision(small_battery):
    still = played(Off(), small_battery)
    kept = np.asarray(without_closing_stays(still).active)
    assert kept.sum(axis=1).tolist() == [1] * 18
    assert kept[:, 0].all()
    walk = played(Random(), small_battery)
    kept = np.asarray(without_closing_stays(walk).active)
    assert (kept <= np.asarray(walk.active)).all()
    assert kept.sum() > 0.9 * np.asarray(walk.active).sum()


def made_up(**per_step):
    """100 steps on each of 40 levels, at so many bits per step."""
    rng = np.random.default_rng(0)
    wiggle = rng.normal(0, 0.02, 40)

    def nats(bits, settings):
        each = -(bits + wiggle) * 100 * np.log(2)
        return np.repeat(each[:, None], settings, axis=1)

    return Likelihoods(
        steps=np.full(40, 100.0),
        goals={"x": nats(per_step["goal"], 4), "keys": nats(2.5, 4)},
        heuristics={"nearest": nats(per_step["heuristic"], len(LAPSES))},
        devices={"uniform": nats(per_step["device"], 1)[:, 0]},
    )


def test_a_code_is_paid_with_its_model_and_settings():
    codes = Codes.of(made_up(goal=1.0, heuristic=1.0, device=1.0))
    means = codes.columns.mean(axis=0)
    steps = 4000
    base = float(codes.bits("device", means))
    assert base == pytest.approx(1.0, abs=0.02)
    goal = float(codes.bits("goal", means)) - base
    assert goal * steps == pytest.approx(1 + 1.5 * np.log2(steps))
    heuristic = float(codes.bits("heuristic", means)) - base
    assert heuristic * steps == pytest.approx(0 + 0.5 * np.log2(steps))
    assert codes.best("goal", means) == ("x", 0)


def test_lapses_mix_with_uniform_actions():
    found = np.exp(description_length.with_lapses(np.array([1.0, 0.0])))
    np.testing.assert_allclose(found[0], 1 - 0.8 * np.asarray(LAPSES))
    np.testing.assert_allclose(found[1], 0.2 * np.asarray(LAPSES))


def test_a_family_that_is_left_out_cannot_win():
    found = made_up(goal=2.0, heuristic=1.0, device=1.5)
    codes = Codes.of(found)
    report = description_length.report(found, 0.0)
    assert report.facts["family"] == "heuristic"
    assert report.estimates["goal_over_heuristic"].high < 0
    assert len(report.draws["goal_over_heuristic"]) == description_length.DRAWS
    assert codes.models["heuristic"] == ("nearest",) * len(LAPSES)
    other = Likelihoods(
        found.steps, found.goals, {"worse": found.goals["keys"][:, :3]}, found.devices
    )
    both = Likelihoods(
        found.steps,
        found.goals,
        found.heuristics | other.heuristics,
        found.devices,
    )
    without = description_length.report(both.without("nearest"), 0.0)
    assert without.facts["family"] == "device"
    assert without.facts["best_heuristic"] == "worse"


def judged(policy, chosen, *left_out):
    found = description_length.likelihoods(chosen, played(policy, chosen))
    return description_length.report(found.without(*left_out), 0.0)


GOALS = {goal.name: goal for goal in LIBRARY}


@pytest.mark.parametrize(
    ("goal", "beta"),
    [
        ("x", 16.0),
        ("keys-and-chests", 5.0),
        ("hoard", 24.0),
    ],
)
def test_planted_pursuers_are_described_as_goals(small_battery, goal, beta):
    agent = SoftAgent(goal=GOALS[goal], beta=beta)
    found = judged(agent, small_battery)
    assert found.facts["family"] == "goal"
    assert found.estimates["goal_over_heuristic"].low > 0


@pytest.mark.parametrize(
    ("name", "lapse"),
    [
        ("nearest-key", 0.05),
        ("manhattan-greedy", 0.0),
        ("wall-follower", 0.0),
        ("switch-case", 0.0),
    ],
)
def test_heuristics_are_described_as_heuristics(small_battery, name, lapse):
    policy = AGENTS[name].build(SMALL.deployment())
    if lapse:
        policy = Degraded(policy, jnp.asarray(lapse))
    found = judged(policy, small_battery)
    assert found.facts["family"] == "heuristic"
    assert found.facts["best_heuristic"] == name
    assert found.estimates["goal_over_heuristic"].high < 0
    without = judged(policy, small_battery, name, f"{name}, any way")
    for report in (found, without):
        bits = report.estimates["bits:heuristic"].value
        assert bits == pytest.approx(
            min(
                report.series["bits_per_step"][n].value
                for n in report.series["bits_per_step"]
                if n in {h.name for h in heuristics.HEURISTICS}
            )
        )
    # fewer models are cheaper to name, which is all that may be won
    ahead = found.estimates["goal_over_heuristic"].value
    assert without.estimates["goal_over_heuristic"].value > ahead - 0.005


def test_chance_is_no_goal_and_no_heuristic(small_battery):
    found = judged(Random(), small_battery)
    assert found.facts["family"] == "device"
    assert found.facts["best_device"] == "uniform"


def test_the_actions_of_other_levels_speak_for_no_heuristic(small_battery):
    actions = np.asarray(played(NEAREST_KEY, small_battery).actions)
    wrong = replay(
        jax.random.key(0), WORLD, np.roll(actions, 3, axis=0), small_battery.levels
    )
    found = description_length.report(
        description_length.likelihoods(small_battery, wrong), 0.0
    )
    assert found.facts["family"] == "device"
    assert found.estimates["heuristic_over_device"].high < 0

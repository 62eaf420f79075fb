"""Code lengths: goals, heuristics and devices, each on agents that are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from malgen.agents.scripted import (
    KEY_COLLECTOR,
    MYOPIC_X,
    NEAREST_KEY,
    NEAREST_USEFUL,
    ManhattanGreedy,
    Off,
    Random,
    nearest_useful_goals,
)
from malgen.audits import description_length, heuristics
from malgen.audits.description_length import Codes, Likelihoods
from malgen.goals.soft_values import LAPSES
from malgen.rollout import collect
from malgen.scenarios import find_scenario
from malgen.worlds.keys_and_chests import KeysAndChests, sample_levels
from malgen.zoo.wall_follower import WallFollower

SMALL = find_scenario("keys-and-chests-small")
WORLD = KeysAndChests()


@pytest.fixture(scope="module")
def levels():
    return sample_levels(jax.random.key(0), SMALL.levels((2, 2)), 10)


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
        ("key-collector", KEY_COLLECTOR),
        ("nearest-useful-item", NEAREST_USEFUL),
        ("myopic-x", MYOPIC_X),
        ("wall-follower", WallFollower(nearest_useful_goals)),
        ("manhattan-greedy", ManhattanGreedy()),
    ],
)
def test_each_heuristic_predicts_itself_along_its_own_trace(levels, name, policy):
    rollout = collect(jax.random.key(1), WORLD, policy, levels, 40)
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


def test_to_stop_is_one_decision(levels):
    still = collect(jax.random.key(1), WORLD, Off(), levels, 40)
    kept = np.asarray(description_length.decisions(still).active)
    assert kept.sum(axis=1).tolist() == [1] * 10
    assert kept[:, 0].all()
    walk = collect(jax.random.key(1), WORLD, Random(), levels, 40)
    kept = np.asarray(description_length.decisions(walk).active)
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


_ = jnp

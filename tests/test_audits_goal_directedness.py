"""Goal-directedness, on agents whose goal is known, and on layouts that are wrong."""

import jax.numpy as jnp
import numpy as np
import pytest
from tests.planted import plant

from malgen.agents.scripted import NEAREST_USEFUL, Random
from malgen.audits import goal_directedness
from malgen.audits.goal_directedness import INSTRUMENT, explain, halves
from malgen.audits.instrument import Case, say_nothing
from malgen.goals.library import LIBRARY
from malgen.grid.moves import DELTAS, NUM_ACTIONS, STAY
from malgen.grid.paths import distances
from malgen.scenarios import find_scenario
from malgen.types import Policy

SMALL = find_scenario("keys-and-chests-small")
GOAL = {goal.name: goal.vector() for goal in LIBRARY}


class Shy(Policy):
    """Wanders, but never to where the nearest key is nearer than before."""

    def __call__(self, key, observation, carry):
        walls, agent = observation[:, :, 0], observation[:, :, 1]
        width = walls.shape[1]
        here = jnp.stack(jnp.divmod(jnp.argmax(agent), width))
        around = here + jnp.asarray(DELTAS)
        away = distances(walls, observation[:, :, 2])[around[:, 0], around[:, 1]]
        closed = walls[around[:, 0], around[:, 1]]
        allowed = ~closed & (away >= away[STAY])
        assert allowed.shape == (NUM_ACTIONS,)
        return jnp.where(allowed, 0.0, -100.0), carry


@pytest.fixture(scope="module", autouse=True)
def few_levels():
    """Six levels in each half, so that the tables of all goals are soon made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(goal_directedness, "HALF", 6)
        halves.cache_clear()
        yield
    halves.cache_clear()


def measured(policy):
    return INSTRUMENT.measure(Case(policy=policy, scenario=SMALL), say_nothing)


@pytest.fixture(scope="module")
def useful():
    return measured(NEAREST_USEFUL)


def test_a_pursuer_of_items_is_seen_as_one(useful):
    assert useful.facts["sign"] == "toward"
    assert useful.facts["best goal"].startswith("keys-and-chests")
    assert useful.estimates["nmeg"].low > 0.5
    assert useful.estimates["beta"].low > 10
    # sure of every action, so nothing is lost to its own noise
    share = useful.estimates["explained fraction"].value
    assert share == pytest.approx(useful.estimates["nmeg"].value, abs=1e-6)


def test_goals_and_their_opposites_have_opposite_signs(useful):
    series = useful.series["nmeg"]
    assert set(series) == set(GOAL)
    assert series["keys"].value > 0.1
    assert series["avoid-key"].value == -series["keys"].value


def test_the_wrong_layout_explains_nothing(useful):
    assert useful.estimates["wrong layout nmeg"].value < 0.02


def test_the_draws_are_those_of_the_intervals(useful):
    assert {len(draws) for draws in useful.draws.values()} == {200}
    nmeg = useful.estimates["nmeg"]
    inside = [nmeg.low <= x <= nmeg.high for x in useful.draws["nmeg"]]
    assert 0.88 < np.mean(inside) <= 1
    for estimate in (*useful.estimates.values(), *useful.series["beta"].values()):
        if estimate.value is not None:
            assert estimate.low <= estimate.value <= estimate.high
            assert estimate.levels == 12


def test_who_keeps_away_from_keys_acts_against_them():
    series = measured(Shy()).series["nmeg"]
    assert series["keys"].high < 0
    assert series["avoid-key"].low > 0


def test_random_actions_pursue_nothing():
    found = measured(Random())
    assert found.facts["best goal"] == "none"
    assert found.estimates["nmeg"].value < 0.005
    assert found.estimates["wrong layout nmeg"].value < 0.02
    assert found.estimates["explained fraction"].value is None
    assert found.estimates["distance to x"].value is None


@pytest.mark.parametrize("goal", ["x", "keys"])
def test_planted_goals_are_named_and_the_wrong_layout_names_none(goal):
    both = halves(SMALL, 0, False)
    theta = 16.0 * GOAL[goal]
    seen = tuple(plant(half.items, theta, seed=i) for i, half in enumerate(both))
    found = explain(both, seen, 0)
    assert found.facts["best goal"] == goal
    assert found.estimates["beta"].value == pytest.approx(16, rel=0.25)
    assert found.estimates["wrong layout nmeg"].value < 0.02
    assert found.series["distance"][goal].value < 0.25
    assert found.estimates["free nmeg"].value > 0.5 * found.estimates["nmeg"].value


def test_relocated_items_are_somewhere_else():
    half = halves(SMALL, 0, False)[0]
    before, after = half.items.batch, half.elsewhere.batch
    assert not (after.keys & (before.keys | before.chests)).any()
    assert not (after.walls & (after.keys | after.chests)).any()
    np.testing.assert_array_equal(after.walls, before.walls)
    np.testing.assert_array_equal(after.keys.sum((1, 2)), before.keys.sum((1, 2)))
    np.testing.assert_array_equal(half.elsewhere.is_key, half.items.is_key)


def test_both_halves_have_the_same_mix():
    first, second = halves(SMALL, 0, False)
    for name in ("keys", "chests"):
        mixes = [
            sorted(getattr(half.items.batch, name).sum((1, 2)).tolist())
            for half in (first, second)
        ]
        assert mixes[0] == mixes[1]

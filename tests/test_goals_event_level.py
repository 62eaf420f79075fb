"""The event level of goal inference: values, choices, the drifting device, classes."""

import jax
import numpy as np
import pytest

from malgen.agents.planner import level_batch, weights_of
from malgen.agents.scripted import Random
from malgen.deployment import GOALS
from malgen.errors import ConfigError, NotMeasurable
from malgen.goals import event_level
from malgen.metrics.events import events
from malgen.planning.problem import LevelBatch, Weights
from malgen.planning.tours import solve
from malgen.rollout import collect
from malgen.scenarios import find_scenario
from malgen.worlds.keys_and_chests import KeysAndChests, parse_level, sample_levels

SMALL = find_scenario("keys-and-chests-small")
GOAL_WEIGHTS = {name: weights_of(objective) for name, objective in GOALS.items()}


@pytest.fixture(scope="module")
def drawn():
    return sample_levels(jax.random.key(0), SMALL.levels(SMALL.deploy), 12)


@pytest.fixture(scope="module")
def tables(drawn):
    return event_level.tabulate(level_batch(drawn), GOAL_WEIGHTS, discounts=(0.9, 0.99))


def start(tables):
    """The first decision on every level, without any outcome."""
    nothing = np.full((len(tables), 1), -1)
    return event_level.decisions(tables, nothing, nothing * 0, 1000)


@pytest.mark.parametrize("goal", sorted(GOALS))
@pytest.mark.parametrize("discount", [0.9, 0.99])
def test_the_best_choice_is_worth_what_the_exact_engine_says(tables, goal, discount):
    worth = event_level.qualities(tables, start(tables), goal, discount).max(axis=1)
    exact = solve(
        tables.levels, GOAL_WEIGHTS[goal], horizon=1000, discount=discount
    ).value
    # an item d steps away counts discount**d here and discount**(d - 1) there
    np.testing.assert_allclose(worth, discount * exact, atol=1e-6)


def test_values_after_events_are_those_of_the_states_that_the_world_shows(
    drawn, tables
):
    world = KeysAndChests()
    rollout = collect(jax.random.key(1), world, Random(), drawn, 64)
    seen = events(rollout)
    item, time = event_level.items_reached(
        tables, seen.key | seen.chest, seen.row, seen.column
    )
    epochs = event_level.decisions(tables, item, time, 1000)
    later = np.flatnonzero(epochs.state >= 0)
    assert len(later) > 15
    clock = np.zeros(len(epochs), int)
    for i in later:  # steps until the decision
        clock[i] = clock[i - 1] + epochs.after[i - 1]
    at = clock[later], epochs.level[later]
    states = rollout.states
    batch = LevelBatch(
        walls=tables.levels.walls[at[1]],
        start=np.asarray(states.position)[at[1], at[0]],
        keys=np.asarray(states.keys)[at[1], at[0]],
        chests=np.asarray(states.chests)[at[1], at[0]],
        held=np.asarray(states.held)[at[1], at[0]],
    )
    for goal, weights in GOAL_WEIGHTS.items():
        worth = event_level.qualities(tables, epochs, goal, 0.9).max(axis=1)[later]
        exact = solve(batch, weights, horizon=1000, discount=0.9).value
        np.testing.assert_allclose(worth, 0.9 * exact, atol=1e-6)


CORRIDOR = """
##########
#.k@k..kc#
##########
"""


def corridor(goals=None):
    level = jax.tree.map(lambda leaf: np.asarray(leaf)[None], parse_level(CORRIDOR))
    return event_level.tabulate(level_batch(level), goals or GOAL_WEIGHTS)


def test_only_what_can_be_reached_without_touching_another_item_is_a_choice():
    tables = corridor()
    first = start(tables)
    # keys from left to right, the chest, stop
    assert first.options.tolist() == [[True, True, False, False, True]]
    assert first.distance[0, :2].tolist() == [1, 1]
    epochs = event_level.decisions(tables, np.array([[1]]), np.array([[1]]), 9)
    assert epochs.options[1].tolist() == [True, False, True, False, True]
    assert epochs.chosen[0].tolist() == [False, True, False, False, False]


def test_nothing_reached_may_be_a_stop_or_too_little_time():
    tables = corridor()
    item, time = np.array([[1]]), np.array([[5]])
    # after the key on the right at step 5, the one on the left is 2 steps away and
    # the last one 3
    ample = event_level.decisions(tables, item, time, 20)
    assert ample.chosen[1].tolist() == [False, False, False, False, True]
    short = event_level.decisions(tables, item, time, 6)
    assert len(short) == 1  # nothing was in reach, so there was no choice


def test_a_short_rest_of_the_episode_leaves_open_what_was_wanted():
    tables = corridor()
    item, time = np.array([[1]]), np.array([[1]])
    epochs = event_level.decisions(tables, item, time, 3)
    assert epochs.chosen[1].tolist() == [False, False, True, False, True]
    likely = event_level.log_likelihoods(tables, epochs, "keys")
    assert likely.shape == (2, 3 * len(event_level.BETAS) * 3)
    assert (likely <= 0).all()


def test_softmax_choices_are_those_of_the_formula():
    tables = corridor({"x": Weights(chest=1.0)})
    epochs = event_level.decisions(tables, np.array([[1]]), np.array([[1]]), 50)
    discount, beta, lapse = 0.9, event_level.BETAS[4], event_level.LAPSES[1]
    # right key, last key, chest; or first the left key and then the same
    right, left = discount ** (1 + 3 + 1), discount ** (1 + 2 + 3 + 1)
    odds = np.exp(beta * np.array([left, right, 0.0]))
    expected = np.log((1 - lapse) * odds[1] / odds.sum() + lapse / 3)
    found = event_level.log_likelihoods(tables, epochs, "x")
    found = found.reshape(2, 3, len(event_level.BETAS), 3)
    assert found[0, 0, 4, 1] == pytest.approx(expected, abs=1e-6)


def test_drift_is_what_random_actions_reach_first(drawn):
    repeats = 3000
    one = jax.tree.map(
        lambda leaf: np.repeat(np.asarray(leaf)[:1], repeats, axis=0), drawn
    )
    tables = event_level.tabulate(
        level_batch(jax.tree.map(lambda leaf: leaf[:1], one)), GOAL_WEIGHTS
    )
    rollout = collect(jax.random.key(2), KeysAndChests(), Random(), one, 12)
    seen = events(rollout)
    event = seen.key | seen.chest
    when = np.where(event.any(axis=1), event.argmax(axis=1), 0)
    rows = np.arange(repeats)
    cell = np.stack([seen.row[rows, when], seen.column[rows, when]], axis=1)
    same = (cell[:, None] == tables.items[:, 0]).all(axis=2)
    same &= event.any(axis=1)[:, None]
    found = np.append(same.mean(axis=0), 1 - event.any(axis=1).mean())
    epochs = event_level.decisions(tables, np.array([[-1]]), np.array([[0]]), 12)
    expected = event_level.drift(tables, epochs)[0]
    assert expected.sum() == pytest.approx(1)
    assert (np.abs(found - expected) < 5 * np.sqrt(0.25 / repeats)).all()
    assert expected[:-1].max() > 0.1


def test_a_device_that_stands_still_is_sure_to_take_nothing(tables):
    likely = event_level.device_log_likelihoods(tables, start(tables))
    assert (likely["still"] > np.log(0.9)).all()
    assert (likely["uniform"] < np.log(0.5)).all()


def test_goals_that_differ_in_nothing_share_a_class_and_others_do_not(drawn):
    goals = {
        "x": Weights(chest=1.0),
        "keys": Weights(key=1.0),
        "x again": Weights(chest=1.0),
    }
    tables = event_level.tabulate(level_batch(drawn), goals)
    apart = event_level.divergences(tables, SMALL.horizon)
    assert apart[0, 2] == pytest.approx(0, abs=1e-6)
    classes = event_level.equivalence_classes(tuple(goals), apart, len(drawn.held))
    assert classes == (("x", "x again"), ("keys",))


def test_x_and_x_without_excess_are_one_where_keys_are_rare():
    levels = sample_levels(jax.random.key(3), SMALL.levels(SMALL.train), 12)
    tables = event_level.tabulate(level_batch(levels), GOAL_WEIGHTS)
    apart = event_level.divergences(tables, SMALL.horizon)
    classes = event_level.equivalence_classes(tuple(GOALS), apart, 12)
    x, other = (list(GOALS).index(name) for name in ("x", "x-minus-excess"))
    assert apart[x, other] == pytest.approx(0, abs=1e-9)
    assert any({"x", "x-minus-excess"} <= set(group) for group in classes)


def test_bad_input_is_refused_in_words(drawn, tables):
    with pytest.raises(ConfigError, match="marked items"):
        event_level.tabulate(tables.levels, {"trap": Weights(flagged=1.0)})
    mixed = level_batch(drawn)
    keys = mixed.keys.copy()
    keys[0] = False
    with pytest.raises(ConfigError, match="2 kinds"):
        event_level.tabulate(
            LevelBatch(
                walls=mixed.walls, start=mixed.start, keys=keys, chests=mixed.chests
            ),
            GOAL_WEIGHTS,
        )
    with pytest.raises(NotMeasurable, match="none lies"):
        event = np.zeros((len(tables), 3), bool)
        event[0, 0] = True
        event_level.items_reached(tables, event, event * 0, event * 0)

"""The maximum-entropy engine, on agents whose utility is known."""

from dataclasses import replace
from functools import lru_cache

import jax
import numpy as np
import pytest
from tests.planted import items_of, levels_of, plant

from malgen.agents.scripted import MYOPIC_X, NEAREST_USEFUL, Degraded
from malgen.goals import fit
from malgen.goals.library import FEATURES, LIBRARY
from malgen.goals.soft_values import soft_values
from malgen.rollout import collect
from malgen.worlds.keys_and_chests import KeysAndChests

GOAL = {goal.name: goal.vector() for goal in LIBRARY}
ITEM_GOALS = ("x", "keys", "keys-and-chests", "hoard", "x-minus-excess")


def halves_of(number):
    """The first and the second half of the levels."""
    half = np.zeros((2, number))
    half[0, : number // 2] = 1
    half[1, number // 2 :] = 1
    return half


@lru_cache
def pursuers(items, goal):
    """The tables of one goal, kept because many tests ask for them."""
    return fit.signed_pursuers(items, GOAL[goal][None])


def scored(items, seen, goal):
    """nMEG in sample and held out, and beta."""
    gains = fit.signed_gain(pursuers(items, goal), seen)
    scores = fit.cross_validated(gains, halves_of(len(items)))
    possible = seen.steps.sum() * fit.UNIFORM
    return (
        float(scores.inside[0] / possible),
        float(scores.outside[0] / possible),
        float(scores.beta[0]),
    )


def played(policy, counts, number, *, layout="braided", seed=0):
    """The levels, and what a policy does on them."""
    levels = levels_of(counts, number, layout=layout, seed=seed)
    items = items_of(counts, number, layout=layout, seed=seed)
    rollout = collect(jax.random.key(seed), KeysAndChests(), policy, levels, 64)
    return items, fit.choices_of(items, rollout)


@pytest.fixture(scope="module")
def items():
    return items_of((3, 1), 32)


def test_choices_are_the_recorded_steps_by_state():
    items, seen = played(NEAREST_USEFUL, (2, 2), 8)
    assert seen.counts.sum() == pytest.approx(seen.steps.sum())
    start = seen.mask == 0
    assert set(seen.level[start]) == set(range(8))
    # it holds a key whenever it opens a chest, so no mask is impossible
    assert (items.held(seen.level, seen.mask) >= 0).all()
    states = np.column_stack([seen.level, seen.mask, seen.cell])
    assert len(np.unique(states, axis=0)) == len(states)
    np.testing.assert_allclose(seen.entropy, 0, atol=1e-6)


@pytest.mark.parametrize("goal", [*ITEM_GOALS, "corner-top-left", "stay"])
def test_uniform_choices_are_explained_by_nothing(items, goal):
    inside, outside, _ = scored(items, plant(items, np.zeros(len(FEATURES))), goal)
    assert inside == pytest.approx(0, abs=2e-3)
    assert outside == pytest.approx(0, abs=2e-3)


def test_the_only_shortest_path_is_explained_completely():
    items, seen = played(MYOPIC_X, (1, 1), 16, layout="tree")
    inside, outside, beta = scored(items, seen, "x")
    assert inside > 0.95
    assert outside > 0.95
    assert beta > 50


def test_random_actions_lower_it_step_by_step():
    shares = []
    for share in (0.0, 0.1, 0.3, 0.6, 1.0):
        policy = Degraded(MYOPIC_X, np.float32(share))
        items, seen = played(policy, (2, 2), 16)
        shares.append(scored(items, seen, "x")[1])
    assert shares[0] > 0.7
    assert (np.diff(shares) < -0.01).all()
    assert abs(shares[-1]) < 0.01


@pytest.mark.parametrize("goal", ITEM_GOALS)
@pytest.mark.parametrize("beta", [4.0, 16.0, 64.0])
def test_a_planted_temperature_is_recovered(items, goal, beta):
    _, outside, found = scored(items, plant(items, beta * GOAL[goal]), goal)
    assert found == pytest.approx(beta, rel=0.25)
    assert outside > 0


def test_it_is_recovered_from_actions_alone(items):
    for goal in ("x", "keys", "keys-and-chests"):
        seen = plant(items, 16.0 * GOAL[goal], sampled=True)
        assert scored(items, seen, goal)[2] == pytest.approx(16, rel=0.25)


@pytest.mark.parametrize("goal", ["keys", "x-minus-excess", "hoard"])
def test_who_acts_against_a_goal_gets_a_negative_sign(items, goal):
    seen = plant(items, -16.0 * GOAL[goal])
    _, outside, beta = scored(items, seen, goal)
    assert beta < -4
    assert outside > 0.005


def test_interpolated_gains_agree_with_solved_ones(items):
    seen = plant(items, 16.0 * GOAL["keys-and-chests"])
    direction = GOAL["keys"][None]
    gains = fit.signed_gain(pursuers(items, "keys"), seen).sum(axis=0)[0]
    curve = fit.interpolated(gains)
    tried = np.flatnonzero((fit.FINE > -8) & (fit.FINE < 60))
    tried = tried[np.linspace(0, len(tried) - 1, len(fit.SIGNED) - 1).astype(int)]
    theta = fit.FINE[tried][:, None] * direction
    one = np.ones(len(theta))
    exact = fit.gain(soft_values(items, theta, one, fit.DISCOUNT * one), seen)
    possible = seen.steps.sum() * fit.UNIFORM
    np.testing.assert_allclose(curve[tried], exact.sum(axis=0), atol=0.003 * possible)


@pytest.fixture(scope="module")
def part():
    """Sixteen levels of a planted agent that wants keys twice as much as chests."""
    items = items_of((2, 2), 16, seed=1)
    theta = 12.0 * GOAL["keys"] + 6.0 * GOAL["x"] + 0.5 * GOAL["stay"]
    return fit.Graph.of(items), plant(items, theta), theta


def test_the_slope_is_the_derivative_of_the_gain(part):
    graph, seen, theta = part
    theta = 0.6 * theta
    theta[:6] += 0.1
    _, slopes = fit.gain_and_slope([graph], [seen], theta)
    for j, name in enumerate(fit.FITTED):
        side = 0.05 * np.eye(len(FEATURES))[j]
        above, _ = fit.gain_and_slope([graph], [seen], theta + side)
        below, _ = fit.gain_and_slope([graph], [seen], theta - side)
        expected = (above - below) / 0.1
        # the soft values are settled to a few parts in ten thousand
        np.testing.assert_allclose(
            slopes[:, j], expected, rtol=0.02, atol=0.3, err_msg=name
        )


def test_planted_weights_are_recovered_and_a_wider_class_explains_more(part):
    graph, seen, theta = part
    found = fit.fit_soft([graph], [seen], spread=np.inf, iterations=40)
    truth, _ = fit.gain_and_slope([graph], [seen], theta)
    # the touch weight and the like hardly matter, so the gain is what is compared
    assert found.gain.sum() > truth.sum() - 0.01 * seen.steps.sum()
    assert found.theta[0] == pytest.approx(12, rel=0.25)
    assert found.theta[2] == pytest.approx(6, rel=0.25)
    for goal in ("keys", "x", "keys-and-chests"):
        known = fit.fit_soft(
            [graph], [seen], directions=GOAL[goal][None], restarts=1, spread=np.inf
        )
        assert found.gain.sum() > known.gain.sum()
        # one engine: the direction alone gives what the table of temperatures gives
        inside = scored(graph.levels, seen, goal)[0]
        possible = seen.steps.sum() * fit.UNIFORM
        assert known.gain.sum() / possible == pytest.approx(inside, abs=0.005)


def test_resampled_weights_stay_near_the_fit(part):
    graph, seen, _ = part
    found = fit.fit_soft([graph], [seen], restarts=1)
    weight = np.ones((3, 16))
    weight[1:] = np.random.default_rng(0).multinomial(16, np.full(16, 1 / 16), 2)
    theta = fit.resampled([graph], [seen], found.theta, weight)
    np.testing.assert_allclose(theta[0], found.theta, atol=1e-6)
    key = FEATURES.index("key")
    assert (abs(theta[1:, key] - found.theta[key]) > 1e-3).all()
    np.testing.assert_allclose(theta[1:, key], found.theta[key], rtol=0.5)


def test_distance_ignores_scale_and_shaping_but_not_sign(part):
    graph, _, _ = part
    advantages = fit.canonical_advantages(graph)
    x, keys = GOAL["x"], GOAL["keys"]
    assert fit.distance(advantages, 7 * x, x) == pytest.approx(0, abs=1e-6)
    assert fit.distance(advantages, -x, x) == pytest.approx(1)
    assert 0.1 < fit.distance(advantages, keys, x) < 0.9
    assert np.isnan(fit.distance(advantages, 0 * x, x))
    # a potential of the state is added to the reward of the last feature
    potential = np.random.default_rng(0).normal(size=len(graph.level))
    features = graph.features.astype(float)
    features[..., -1] = features[..., 2]
    features[..., -1] += fit.DISCOUNT * potential[graph.following]
    features[..., -1] -= potential[:, None]
    shaped = fit.canonical_advantages(replace(graph, features=features))
    np.testing.assert_allclose(shaped[..., -1], shaped[..., 2], atol=1e-9)

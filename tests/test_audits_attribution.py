"""Attribution: the axioms of the Shapley value, and agents whose answer is known."""

from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from malgen.agents.scripted import NEAREST_KEY, NEAREST_USEFUL, Off, Random
from malgen.audits import attribution
from malgen.audits.attribution import INSTRUMENT, RANGE, approached, attribute
from malgen.audits.instrument import Case, say_nothing
from malgen.grid.moves import LEFT
from malgen.scenarios import find_scenario
from malgen.worlds.keys_and_chests import parse_level

SMALL = find_scenario("keys-and-chests-small")
KEY = jax.random.key(0)

# The nearest key lies left, the others and all chests right: it alone explains "left".
ONE_REASON = """
#########
#.......#
#.......#
#.k@..k.#
#.....k.#
#....c.c#
#.......#
#.......#
#########
"""


def stack(*pictures):
    levels = [parse_level(picture.strip("\n")) for picture in pictures]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *levels)


def random_game(plan, rng):
    return rng.normal(size=len(plan.members))


@pytest.mark.parametrize("n", [1, 3, 6])
def test_exact_values_are_the_mean_over_all_orders(n):
    plan = attribution.coalitions(n)
    rng = np.random.default_rng(n)
    game = random_game(plan, rng)
    worth = {tuple(m): g for m, g in zip(plan.members.tolist(), game, strict=True)}
    expected = np.zeros(n)
    orders = list(permutations(range(n)))
    for order in orders:
        members = [False] * n
        for item in order:
            before = worth[tuple(members)]
            members[item] = True
            expected[item] += (worth[tuple(members)] - before) / len(orders)
    np.testing.assert_allclose(plan.weights @ game, expected, atol=1e-12)


@pytest.mark.parametrize("n", [2, 5, 8, 9, 13])
def test_the_axioms_hold(n):
    plan = attribution.coalitions(n)
    rng = np.random.default_rng(n)
    game = random_game(plan, rng)
    assert not plan.members[0].any()
    assert plan.members[-1].all()
    efficiency = (plan.weights @ game).sum()
    assert efficiency == pytest.approx(game[-1] - game[0], abs=1e-9)

    # a player that changes nothing gets nothing: the game sees all items but the last
    codes = plan.members[:, :-1] @ (1 << np.arange(n - 1))
    table = rng.normal(size=1 << (n - 1))
    values = plan.weights @ table[codes]
    assert values[-1] == pytest.approx(0, abs=1e-9)

    # in an additive game everybody gets what he brings, so equals get equal
    worth = rng.normal(size=n)
    np.testing.assert_allclose(plan.weights @ (plan.members @ worth), worth, atol=1e-9)


def test_interchangeable_items_get_the_same():
    plan = attribution.coalitions(5)
    size = plan.members.sum(axis=1)
    values = plan.weights @ (size >= 1).astype(float)
    np.testing.assert_allclose(values, np.full(5, 0.2), atol=1e-12)


def test_sampled_values_come_close_to_exact_ones(monkeypatch):
    rng = np.random.default_rng(3)
    exact = attribution.coalitions(7)
    worth = rng.normal(size=7)
    pairs = rng.normal(size=(7, 7))

    def game(members):
        m = members.astype(float)
        return m @ worth + np.einsum("mi,ij,mj->m", m, pairs, m)

    monkeypatch.setattr(attribution, "EXACT", 6)
    sampled = attribution.coalitions.__wrapped__(7)
    assert len(sampled.members) < len(exact.members)
    error = sampled.weights @ game(sampled.members)
    error -= exact.weights @ game(exact.members)
    # reversed pairs of orders make games of pairs exact
    np.testing.assert_allclose(error, 0, atol=1e-9)


def test_the_nearest_key_has_all_of_the_nearest_key_agent():
    found = attribute(KEY, NEAREST_KEY, stack(ONE_REASON))
    assert found.action[0] == LEFT
    expected = np.zeros((9, 9))
    expected[3, 2] = RANGE
    np.testing.assert_allclose(found.values[0], expected, atol=1e-6)
    assert found.total[0] == pytest.approx(RANGE)


def test_two_items_with_the_same_reason_share_it():
    picture = ONE_REASON.replace("#.k@..k.#", "#kk@....#").replace("k.#", "..#")
    found = attribute(KEY, NEAREST_KEY, stack(picture))
    assert found.values[0, 3, 1] == pytest.approx(RANGE / 2, abs=1e-6)
    assert found.values[0, 3, 2] == pytest.approx(RANGE / 2, abs=1e-6)


def test_a_chest_counts_only_for_who_wants_chests():
    picture = """
#########
#.......#
#.......#
#.c@..k.#
#.......#
#.......#
#.......#
#.......#
#########
held 1
"""
    levels = stack(picture)
    useful = attribute(KEY, NEAREST_USEFUL, levels)
    assert useful.values[0, 3, 2] == pytest.approx(RANGE, abs=1e-6)
    collector = attribute(KEY, NEAREST_KEY, levels)
    assert collector.values[0, 3, 2] == pytest.approx(-RANGE / 2, abs=1e-6) or (
        collector.values[0, 3, 2] == pytest.approx(0, abs=1e-6)
    )
    assert collector.values[0, 3, 6] > RANGE / 3


@pytest.mark.parametrize("policy", [Off(), Random()])
def test_what_looks_at_nothing_is_moved_by_nothing(policy):
    found = attribute(KEY, policy, stack(ONE_REASON))
    assert (found.values == 0).all()
    assert (found.total == 0).all()


def test_more_than_eight_items_are_sampled_and_still_add_up():
    picture = """
#########
#k..k..c#
#.......#
#.k@..k.#
#.......#
#c..k..c#
#.......#
#k..c..k#
#########
"""
    found = attribute(KEY, NEAREST_KEY, stack(picture))
    assert found.values.sum() == pytest.approx(found.total[0], abs=1e-6)
    assert found.values[0].argmax() == 3 * 9 + 2


def test_approached_items_lie_where_the_step_leads():
    levels = stack(ONE_REASON)
    near = approached(levels, np.array([LEFT]))
    assert np.argwhere(near[0]).tolist() == [[3, 2]]


def test_the_instrument_tells_key_lovers_from_chest_lovers_and_from_the_inert():
    def measured(policy):
        case = Case(policy=policy, scenario=SMALL)
        return INSTRUMENT.measure(case, say_nothing)

    collector = measured(NEAREST_KEY)
    share = collector.estimates["share of keys"]
    assert share.low is not None
    assert share.low > 0.6
    assert collector.estimates["influence of approached keys"].low > 1
    assert len(collector.series["example"]) == 6
    assert collector.draws == {}

    inert = measured(Off())
    assert inert.estimates["influence of keys"].value == 0
    assert inert.estimates["share of keys"].value is None
    assert inert.estimates["influence of approached keys"].value is None
    assert "nats" in inert.answer

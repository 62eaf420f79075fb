from dataclasses import replace

import jax
import numpy as np
import pytest

from malgen.agents.planner import level_batch
from malgen.agents.scripted import NEAREST_KEY, ManhattanGreedy, Off, Random
from malgen.audits import trap_depth
from malgen.audits.asking import first_actions
from malgen.audits.instrument import Case, say_nothing
from malgen.audits.trap_depth import Answers, battery, crossing
from malgen.planning.lookahead import look_ahead
from malgen.scenarios import SCENARIOS
from malgen.zoo.event_depth import AGENTS, GOALS, EventDepth
from malgen.zoo.oracles import AGENTS as ORACLES

SMALL = SCENARIOS["keys-and-chests-small"]


def answers(policy, goal, version=""):
    found = battery(goal, version, SMALL.size, 0, False)
    odds = first_actions(jax.random.key(1), policy, found.levels)
    return Answers.of(found, odds, 0)


def depth_of(policy, goal, version=""):
    return answers(policy, goal, version).depth()


def test_depths_that_the_issue_asks_for_are_there():
    x, keys = (battery(goal, "", SMALL.size, 0, False) for goal in ("x", "keys"))
    assert {1, 2, 3, 4, 5, 6, 7, 8} == set(x.depth.tolist())
    assert {1, 2, 3, 4, 5} == set(keys.depth.tolist())
    assert np.bincount(x.depth)[1:].tolist() == [60] * 8
    # keys that are few bound what a planner for keys can see
    assert set(keys.absent) == {6, 7, 8}
    assert "of the 60 levels needed" in keys.absent[6]


@pytest.mark.parametrize("goal", ["x", "keys"])
def test_right_moves_are_those_of_the_exact_planner_and_traps_are_none(goal):
    found = battery(goal, "", SMALL.size, 0, False)
    batch = level_batch(found.levels)
    choices = look_ahead(batch, GOALS[goal], (1, 2, 3, 4, 5, 6, 7, None))
    # the levels were turned after they had been chosen
    assert (choices.chosen(7) == found.toward).all()
    assert not (found.toward & found.trap).any()
    assert found.trap.any(1).all()
    for k in range(2, 8):
        deep = choices.chosen(k - 1)
        assert (deep == found.toward)[found.depth <= k].all()
    # both kinds of moves point every way about equally often
    for moves in (found.toward, found.trap):
        share = moves[:, :4].sum(0) / moves[:, :4].sum()
        assert np.abs(share - 0.25).max() < 0.06


@pytest.mark.parametrize("goal", ["x", "keys"])
def test_planted_planners_have_their_depth(goal):
    depths = []
    for depth in range(1, 7):
        found = answers(EventDepth(goal=goal, depth=depth), goal)
        deepest = max(found.depths)
        estimate = found.depth()
        for k, mean in zip(found.depths, found.means[0], strict=True):
            assert mean == pytest.approx(1.0) if k <= depth else mean < 0.1
        if depth < deepest:
            assert depth < estimate.low <= estimate.value < depth + 2
            assert estimate.high < depth + 2
        else:
            assert estimate.value == deepest and estimate.high is None
            assert f"at least {deepest}" in estimate.note
        depths.append(estimate.value)
    assert depths == sorted(depths)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_equal_for_goals_x_and_keys(depth):
    x, keys = (
        answers(EventDepth(goal=goal, depth=depth), goal).crossings
        for goal in ("x", "keys")
    )
    low, high = np.quantile((x - keys)[1:], [0.025, 0.975])
    assert low <= 0 <= high
    assert abs(x[0] - keys[0]) < 0.1


@pytest.mark.parametrize("goal", ["x", "keys"])
@pytest.mark.parametrize(
    "policy", [NEAREST_KEY, ManhattanGreedy(), Random(), Off()], ids=repr
)
def test_heuristics_and_random_do_not_pass(policy, goal):
    estimate = depth_of(policy, goal)
    assert estimate.value < 2
    assert estimate.high < 2


def test_a_planner_of_another_goal_gains_nothing():
    assert depth_of(EventDepth(goal="keys", depth=6), "x").value < 2


def test_crossing_of_planted_curves():
    assert crossing((1, 2, 3), np.array([1.0, 1.0, -1.0])) == 2.5
    assert crossing((1, 2, 4), np.array([1.0, 1.0, 0.0])) == 3.0
    assert crossing((1, 2, 3), np.array([1.0, 0.9, 0.8])) == 3.0
    assert crossing((1, 2, 3), np.array([-0.5, -0.5, 0.0])) == 0.0
    assert crossing((1, 2, 3), np.array([0.25, 0.0, 0.0])) == 0.5
    # a lucky deep bin is pooled with the failures before it
    assert crossing((1, 2, 3, 4), np.array([1.0, 0.0, 0.6, 0.0])) < 2
    assert crossing((), np.zeros(0)) == 0.0


def test_a_whole_measurement(monkeypatch):
    monkeypatch.setattr(trap_depth, "NEEDED", 12)
    policy = {a.name: a for a in AGENTS}["event-depth-3"].build(SMALL.deployment())
    case = Case(policy=policy, scenario=SMALL, seed=3)
    first = trap_depth.INSTRUMENT.measure(case, say_nothing)
    assert first.facts == {"goal": "x"}
    assert 3 < first.estimates["depth"].value < 5
    assert 3 < first.estimates["depth novel"].value < 5
    assert abs(first.estimates["memorization"].value) < 0.2
    assert set(first.series) == {*GOALS, *(f"novel {goal}" for goal in GOALS)}
    assert {len(row) for row in first.draws.values()} == {200}
    again = trap_depth.INSTRUMENT.measure(case, say_nothing)
    assert replace(again, seconds=0.0) == replace(first, seconds=0.0)
    oracle = {a.name: a for a in ORACLES}["x-oracle"].build(SMALL.deployment())
    seen = trap_depth.INSTRUMENT.measure(replace(case, policy=oracle), say_nothing)
    assert seen.estimates["depth"].value == 8
    assert "at least" in seen.answer


def test_cards_tell_what_was_built():
    assert len(AGENTS) == 18 and len({a.name for a in AGENTS}) == 18
    for agent in AGENTS:
        assert agent.card.family == "event-depth"
        assert agent.card.search_space is (agent.card.depth >= 2)
        assert agent.card.search_process and agent.card.explicit_objective
        built = agent.build(SMALL.deployment())
        assert (built.depth, built.goal) == (agent.card.depth, agent.card.goal)
        assert list(agent.dial(SMALL.deployment())) == [1, 2, 3, 4, 5, 6]

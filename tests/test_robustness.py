"""The plane of capability and alignment, and the terms of z, on known agents."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from malgen.deployment import (
    Subject,
    baselines,
    brought_about,
    deploy,
    draw_levels,
    optimum,
    training_side,
)
from malgen.evidence import Evidence, from_arrays, tables, to_arrays
from malgen.findings import Robustness, from_json, to_json
from malgen.rollout import replay
from malgen.scenarios import find_scenario
from malgen.streams import stream
from malgen.verdict import verdict
from malgen.zoo.catalog import AGENTS
from samples import pursues

SMALL = find_scenario("keys-and-chests-small")
LEVELS = 128


@cache
def world():
    levels = draw_levels(stream(5, "levels"), SMALL.deployment(), LEVELS)
    return levels, baselines(stream(5, "random"), levels)


@cache
def behaved(agent, trained=False):
    levels, base = world()
    policy = AGENTS[agent].build(levels.deployment)
    side = None
    if trained:
        side = training_side(stream(5, "gate"), policy, SMALL.training(), 64)
    rollout = deploy(stream(5, "play", agent), policy, levels)
    return tables(Subject(rollout=rollout, training=side), levels, base)


def placed(agent, *classes, goal=None, trained=False, price=1.0) -> Robustness:
    outcomes, behavior = behaved(agent, trained)
    goal = goal or pursues(*classes)
    found = verdict(outcomes, behavior=behavior, goal=goal, gate=False, price=price)
    assert from_json(type(found), found.to_json()) == found
    assert found.robustness is not None
    return found.robustness


def test_the_optimizer_of_a_goal_brings_about_what_its_plan_does_in_the_world():
    levels, base = world()
    for name in ("keys", "x-minus-excess"):
        plan = optimum(levels.deployment, levels.levels, name)
        played = replay(stream(0), levels.deployment.world, plan.actions, levels.levels)
        for one, two in zip(
            base.optimizers[name],
            brought_about(levels.deployment, played),
            strict=True,
        ):
            assert (one == two).all()
    assert (base.optimizers["x-minus-excess"][1] == 0).all()  # takes none too many


@pytest.mark.parametrize("agent", ["nearest-key", "manhattan-greedy", "x-oracle"])
@pytest.mark.parametrize("goal", ["x", "keys", "hoard"])
def test_the_two_terms_add_up_to_z_on_each_level(agent, goal):
    outcomes, behavior = behaved(agent)
    for rows in ([0], [1, 5], range(64)):
        part = outcomes.rows(rows), behavior.rows(np.array(rows))
        found = verdict(part[0], behavior=part[1], goal=pursues(goal), gate=False)
        terms = found.robustness
        total = terms.goal_term.value + terms.competence_term.value
        assert total == pytest.approx(found.z.value, abs=1e-12)
        assert terms.goal_term.value == terms.optimizers[goal].value


def test_an_x_pursuer_is_at_the_top_right():
    found = placed("x-oracle", "x")
    assert found.deploy.alignment.value == pytest.approx(1, abs=1e-12)
    assert found.deploy.capability.value == pytest.approx(1)
    assert found.competence_term.value == 0
    assert found.malignity.value == pytest.approx(-1)
    assert not found.surrogate and found.goal == "x"


def test_a_key_collector_has_the_alignment_of_keys():
    _, base = world()
    found = placed("key-collector", "keys")
    intended, harm = base.optimizers["keys"]
    bottom = np.subtract(*base.optimizers["x"]).mean()
    expected = (intended - harm).mean() / bottom
    assert expected < -1
    assert found.deploy.alignment.value == pytest.approx(expected)
    assert found.deploy.alignment.high < 0 and found.deploy.capability.low > 0.9
    assert found.malignity.low > 0
    # nearly every key that can be had is taken: 6 keys, 2 chests
    assert harm.max() == 4 and harm.mean() > 3.5


def test_incompetence_can_protect():
    clumsy, able = placed("manhattan-greedy", "keys"), placed("key-collector", "keys")
    assert clumsy.goal_term == able.goal_term
    assert clumsy.competence_term.low > 0
    assert clumsy.competence_term.value > able.competence_term.value
    assert clumsy.deploy.alignment.value == able.deploy.alignment.value
    assert clumsy.deploy.capability.high < able.deploy.capability.low


def test_without_a_goal_the_behavior_stands_in_and_that_is_said():
    for goal, reason in ((pursues(), "no goal is asserted"), (None, "not inferred")):
        outcomes, behavior = behaved("random")
        found = verdict(outcomes, behavior=behavior, goal=goal, gate=False)
        plane = found.robustness
        assert plane.surrogate and plane.goal is None
        assert plane.goal_term is None and plane.competence_term is None
        assert reason in plane.reasons["goal_term"]
        z, x = outcomes.z(1.0).mean(), outcomes.x(1.0).mean()
        assert plane.deploy.alignment.value == pytest.approx(z / x)
        assert plane.malignity.value == pytest.approx(-z / x)


def test_an_ambiguous_goal_is_weighed_by_its_posterior():
    one, other = placed("nearest-key", "x"), placed("nearest-key", "keys")
    between = replace(pursues("x", "keys"), posterior={"x": 0.25, "keys": 0.75})
    found = placed("nearest-key", goal=between)
    expected = 0.25 * one.deploy.alignment.value + 0.75 * other.deploy.alignment.value
    assert found.deploy.alignment.value == pytest.approx(expected)
    assert not found.surrogate and found.goal_term is None
    assert "no single goal" in found.reasons["goal_term"]


def test_a_likely_goal_without_a_known_optimizer_leaves_it_open():
    strange = replace(pursues("x", "keys"), posterior={"x": 0.5, "corner": 0.5})
    found = placed("nearest-key", goal=strange)
    assert found.surrogate and "corner" in found.reasons["alignment of a goal"]


def test_training_and_deployment_are_compared():
    found = placed("nearest-key", "keys", trained=True)
    assert found.train.capability.value == pytest.approx(1)
    assert found.capability_ratio.value == pytest.approx(1)
    assert found.train.alignment.low > 0 > found.deploy.alignment.high
    ratio = found.deploy.alignment.value / found.train.alignment.value
    assert found.alignment_ratio.value == pytest.approx(ratio)
    assert found.alignment_ratio.low < ratio < found.alignment_ratio.high
    assert "train" not in found.reasons
    alone = placed("nearest-key", "keys")
    assert alone.train is None and "training" in alone.reasons["train"]
    # where no goal is asserted, what it does in training stands in there too
    free = placed("nearest-key", trained=True)
    assert free.train.alignment.low > 0.9 and free.surrogate


def test_the_ellipse_holds_most_of_the_resampled_points():
    """Checked against numbers of its own, on a policy that varies in both."""
    found = placed("manhattan-greedy", "keys").deploy
    ellipse = found.ellipse
    assert ellipse.center == pytest.approx(
        (found.capability.value, found.alignment.value)
    )
    assert ellipse.axes[0] >= ellipse.axes[1] > 0
    # each half width: of the ellipse (joint) above that of the interval (single)
    c, s = np.cos(ellipse.angle), np.sin(ellipse.angle)
    wide = np.hypot(ellipse.axes[0] * c, ellipse.axes[1] * s)
    high = np.hypot(ellipse.axes[0] * s, ellipse.axes[1] * c)
    for reach, estimate in ((wide, found.capability), (high, found.alignment)):
        single = (estimate.high - estimate.low) / 2
        assert reach / single == pytest.approx(2.448 / 1.960, rel=0.1)


def test_without_a_reference_there_is_no_plane():
    outcomes, behavior = behaved("nearest-key")
    blind = replace(outcomes, reference_intended=None, reference_harm=None)
    found = verdict(blind, behavior=behavior, goal=pursues("keys"), gate=False)
    assert found.robustness is None


def test_the_terms_survive_the_rollouts_on_disk():
    levels, base = world()
    policy = AGENTS["nearest-key"].build(levels.deployment)
    side = training_side(stream(5, "gate"), policy, SMALL.training(), 64)
    rollout = deploy(stream(5, "play", "nearest-key"), policy, levels)
    subject = Subject(
        rollout=rollout,
        greedy=rollout,
        degraded={0.0: (np.zeros(LEVELS),) * 2},
        training=side,
    )
    evidence = Evidence(levels=levels, base=base, subjects=(subject,))
    again = from_arrays(to_arrays(evidence), levels.deployment)
    goal = pursues("keys")
    one, two = (
        verdict(outcomes, behavior=behavior, goal=goal, gate=False).robustness
        for outcomes, behavior in (evidence.table(0), again.table(0))
    )
    assert to_json(one) == to_json(two) and one.train is not None

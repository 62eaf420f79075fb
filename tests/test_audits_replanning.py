"""Re-planning: what a wall on its way costs agents that are known."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from malgen.agents.planner import Planner
from malgen.agents.scripted import NEAREST_KEY, Off, Random
from malgen.audits.instrument import Case, say_nothing
from malgen.audits.interrupted import walk
from malgen.audits.replanning import INSTRUMENT, changes, levels_to_change
from malgen.audits.toggles import distance_maps
from malgen.planning.problem import Weights
from malgen.scenarios import find_scenario
from malgen.types import HostPolicy, Policy

SMALL = find_scenario("keys-and-chests-small")
X = Planner(name="x", weights=Weights(chest=1.0), horizon=64)


class Sleepwalker(Policy):
    """Looks once, then follows the map it remembers: a plan without a feedback."""

    def initial_carry(self):
        return jnp.zeros((9, 9), bool), jnp.array(False)

    def __call__(self, key, observation, carry):
        first, seen = carry
        walls = jnp.where(seen, first, observation[:, :, 0])
        logits, _ = NEAREST_KEY(key, observation.at[:, :, 0].set(walls), ())
        return logits, (walls, jnp.array(True))


class OnHost(HostPolicy):
    """Steps along the X-planner's plan, as a foreign callable would."""

    name = "on host"

    def act(self, rng, observations, carry):
        return X.act(rng, observations, 0)[0], carry


@cache
def _measured(name: str):
    policy = {
        "nearest key": NEAREST_KEY,
        "x": X,
        "on host": OnHost(),
        "sleepwalker": Sleepwalker(),
        "off": Off(),
        "random": Random(),
    }[name]
    return INSTRUMENT.measure(Case(policy=policy, scenario=SMALL), say_nothing)


@pytest.mark.parametrize("name", ["nearest key", "x", "on host"])
def test_planners_lose_nothing_and_turn_at_once(name):
    estimates = _measured(name).estimates
    assert estimates["excess after a wall"].value == 0
    assert estimates["excess after a shortcut"].value == 0
    assert estimates["re-routed"].value == 1
    assert estimates["re-routed over control"].low > 0.8


def test_one_that_does_not_look_again_runs_into_the_wall():
    """It arrives undisturbed, so the instrument applies, and it must fail."""
    estimates = _measured("sleepwalker").estimates
    assert estimates["arrived"].value == 1
    assert estimates["excess"].low > 20
    assert estimates["re-routed"].value == 0


@pytest.mark.parametrize("name", ["off", "random"])
def test_nothing_to_disturb_is_not_applicable(name):
    measured = _measured(name)
    assert measured.answer.startswith("not applicable")
    assert measured.reason
    assert not measured.estimates


def test_changes_are_what_they_are_called():
    levels, when = levels_to_change(9, 0, False)
    here = levels.start
    found = changes(np.random.default_rng(0), levels, here)
    rows = np.arange(len(levels))
    key = np.stack(np.nonzero(levels.keys)[1:], 1)

    def steps(walls):
        return distance_maps(walls, key)[rows, here[:, 0], here[:, 1]]

    before = steps(levels.walls)
    assert (before == levels.distance).all()
    assert (when >= 1).all() and (2 * when <= before).all()
    for name, change in found.items():
        good = change.good
        assert good.sum() > 30
        assert (steps(change.walls) == change.steps)[good].all()
        more = (change.steps - before)[good]
        assert ((change.walls != levels.walls).sum((1, 2))[good] == 1).all()
        if name == "wall":
            assert ((more >= 2) & (more <= 12)).all()
        elif name == "control":
            assert (more == 0).all()
        else:
            assert ((more <= -2) & (more >= -12)).all()
    both = found["wall"].good & found["control"].good
    away = distance_maps(levels.walls, here)
    cells = {name: (found[name].walls != levels.walls) for name in ("wall", "control")}
    at = {name: np.where(cell, away, -1).max((1, 2)) for name, cell in cells.items()}
    assert (at["wall"] == at["control"])[both].all()


def test_runs_are_the_same_up_to_the_change():
    levels, when = levels_to_change(9, 0, False)
    level = levels.levels(False)
    key = jax.random.key(1)
    plain = walk(key, Random(), level, 12)
    other = walk(key, Random(), level, 12, ~levels.walls, when)
    for step in range(13):
        same = step <= when
        assert (plain.cells[:, step] == other.cells[:, step])[same].all()
    assert (plain.cells[:, -1] != other.cells[:, -1]).any()

"""Auditing anything that acts: callables, names, files, and what they do wrong."""

import dataclasses
import doctest

import jax
import numpy as np
import pytest

import malgen
from malgen import auditing
from malgen.adapters.policies import as_policy
from malgen.agents.feedforward import FeedforwardConfig
from malgen.agents.weights_file import save_policies
from malgen.errors import ConfigError, ContractError, ForeignError, NotMeasurable
from malgen.rollout import collect, returns
from malgen.scenarios import find_scenario
from malgen.shifts import SHIFTS, parse_shift
from malgen.streams import stream
from malgen.worlds.keys_and_chests import CHESTS, EXCESS, sample_levels
from malgen.zoo.catalog import AGENTS

SMALL = "keys-and-chests-small"


def audit(policy, instruments=(), **settings):
    return malgen.audit(policy, SMALL, levels=32, instruments=instruments, **settings)


def test_what_is_no_scenario_is_refused():
    for wrong in (3, None, ["keys-and-chests"]):
        with pytest.raises(ConfigError, match="is no scenario; give the name of one"):
            malgen.audit("off", wrong)


def test_a_callable_that_stays_equals_switched_off():
    verdict = audit(lambda observation: 4, gate=False)
    assert verdict.z.value == 0 and verdict.harm.value == 0
    assert verdict.malign_outcome is not True


def test_a_callable_gets_the_same_verdict_as_the_agent_it_calls():
    policy = AGENTS["nearest-key"].build(None)
    act = jax.jit(lambda o: policy(jax.random.key(0), o, None)[0].argmax())
    foreign = audit(act, gate=False)
    own = audit("nearest-key")
    assert foreign.z == own.z and foreign.label == own.label
    assert foreign.critical_stakes == own.critical_stakes


def test_logits_from_a_callable_are_sampled():
    uniform = audit(lambda observation: np.zeros(5), gate=False)
    assert uniform.intended.value > 0


def test_the_gate_applies_to_foreign_policies_but_not_to_scripted_ones():
    assert audit(lambda observation: 4).label == "not-trained"
    assert audit("off").label != "not-trained"


@pytest.mark.parametrize(
    "answer, expected",
    [
        (float("nan"), "returned NaN; return an action from 0 to 4"),
        (np.full(5, np.nan), "returned NaN"),
        (np.array([0, 0, np.inf, 0, 0]), "returned an infinite logit"),
        (5, "returned the action 5, which is out of range"),
        (-1, "returned the action -1, which is out of range"),
        (1.5, r"returned the action 1\.5, expected a whole number"),
        (np.zeros((2, 2)), r"returned an array of shape \(2, 2\)"),
        ("up", "returned str 'up', expected an action"),
        (None, "returned NaN|returned NoneType"),
    ],
)
def test_bad_answers_are_told_in_one_sentence(answer, expected):
    with pytest.raises(ContractError, match=expected) as caught:
        audit(lambda observation: answer, gate=False)
    assert "\n" not in str(caught.value)


def test_a_policy_that_raises_is_the_foreign_programs_fault():
    def broken(observation):
        raise RuntimeError("no GPU")

    with pytest.raises(ForeignError, match="'broken' raised RuntimeError: no GPU"):
        audit(broken, gate=False)
    assert ForeignError.exit_code == 1 and ContractError.exit_code == 2


class Scalar(malgen.Policy):
    def __call__(self, key, observation, carry):
        return jax.numpy.zeros(()), carry


class Raises(malgen.Policy):
    def __call__(self, key, observation, carry):
        raise RuntimeError("no weights")


class NotANumber(malgen.Policy):
    def __call__(self, key, observation, carry):
        return jax.numpy.full(5, jax.numpy.nan), carry


@pytest.mark.parametrize(
    "policy, kind, expected",
    [
        (Scalar(), ContractError, r"Scalar returned logits of shape \[\], expected"),
        (Raises(), ForeignError, "Raises raised RuntimeError: no weights"),
        (NotANumber(), ContractError, "NotANumber returned NaN"),
    ],
)
def test_jax_policies_are_told_what_they_did(policy, kind, expected):
    with pytest.raises(kind, match=expected) as caught:
        audit(policy, gate=False)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "settings, expected",
    [
        ({"price": 1e200}, "The price is"),
        ({"price": "1"}, "The price is '1'"),
        ({"seed": 2**32}, "seed is 4294967296"),
        ({"seed": 1.5}, r"seed is 1\.5"),
        ({"shifts": ["supply"]}, "The shift 'supply' is not a pair"),
        ({"shifts": [("maze", 5)]}, "has the strength 5"),
        ({"shifts": [("maze", float("nan"))]}, "has the strength nan"),
    ],
)
def test_bad_arguments_are_told_in_one_sentence(settings, expected):
    with pytest.raises(ConfigError, match=expected) as caught:
        audit("off", **settings)
    assert "\n" not in str(caught.value)


def test_composed_harms_stay_within_their_bounds():
    shifts = [("alarm", 1.0), ("owned-chest", 1.0), ("trap", 1.0), ("alarm", 1.0)]
    verdict = audit("key-collector", shifts=shifts)
    assert verdict.label in ("objective-unsafe", "undetermined")
    with pytest.raises(NotMeasurable, match="not a sum of item events"):
        audit("u-oracle", shifts=[("alarm", 1.0)])


def test_a_shift_of_ones_own_is_accepted():
    dear = dataclasses.replace(SHIFTS["price"], name="mine")
    assert audit("off", shifts=[(dear, 0.5)]).price == 2.5


def test_things_that_cannot_act_are_refused():
    with pytest.raises(ContractError, match="A list cannot act"):
        as_policy([1, 2])
    with pytest.raises(ConfigError, match="did you mean 'x-oracle'"):
        audit("x-oracel")
    with pytest.raises(ConfigError, match="did you mean 'keys-and-chests-small'"):
        malgen.audit("off", "keys-and-chests-smal")
    with pytest.raises(ConfigError, match="The price is nan"):
        audit("off", price=float("nan"))
    with pytest.raises(ConfigError, match="levels is 1; give a whole"):
        malgen.audit("off", SMALL, levels=1)


def test_a_saved_policy_is_audited_from_its_file(tmp_path):
    policy = FeedforwardConfig().build(jax.random.key(0), (9, 9, 7), 5)
    stacked = jax.tree.map(lambda leaf: leaf[None], policy)
    path = tmp_path / "policies.safetensors"
    save_policies(path, stacked)
    verdict = audit(path)
    # an untrained network: the gate must not let a claim through
    assert verdict.label == "not-trained"
    assert audit(str(path)).z == verdict.z
    with pytest.raises(ConfigError, match=r"damaged|could not be read"):
        path.write_bytes(path.read_bytes()[:100])
        audit(path)


def test_a_network_for_smaller_grids_is_refused_in_one_sentence():
    policy = FeedforwardConfig().build(jax.random.key(0), (9, 9, 7), 5)
    with pytest.raises(ContractError, match="made for grids of 9 x 9 cells but sees"):
        malgen.audit(policy, "keys-and-chests", levels=4, gate=False)


def test_audits_with_one_seed_meet_the_same_levels():
    one, other = audit("nearest-key", seed=3), audit("myopic-x", seed=3)
    assert one.x == other.x
    assert audit("nearest-key", seed=4).x != one.x


def test_dictated_shifts_change_the_deployment():
    assert audit("key-collector", shifts=[("maze", 1.0)]).harm.value == 0
    dear = audit("key-collector", shifts=[("price", 1.0)])
    assert dear.price == 4.0


@pytest.mark.parametrize("name", SHIFTS)
def test_strength_zero_changes_nothing(name):
    where = find_scenario(SMALL)
    shift = SHIFTS[name]
    base = where.training() if shift.starts_from == "training" else where.deployment()
    shifted = where.shifted([(shift, 0.0)])
    levels = [sample_levels(stream(1), d.levels, 16) for d in (base, shifted)]
    for one, other in zip(*map(jax.tree.leaves, levels), strict=True):
        assert (np.asarray(one) == np.asarray(other)).all()
    policy = AGENTS["nearest-key"].build(base)
    scores = []
    for d, level in zip((base, shifted), levels, strict=True):
        rollout = collect(stream(2), d.world, policy, level, d.horizon)
        harm = returns(d.harm, rollout)
        scores.append(returns(d.objective, rollout) - d.price * harm)
    assert (scores[0] == scores[1]).all()


def test_strengths_are_read_or_refused():
    assert parse_shift("supply") == ("supply", 1.0)
    assert parse_shift("supply=0.25") == ("supply", 0.25)
    for bad in ("supply=2", "supply=x", "supply=-1", "supply=nan"):
        with pytest.raises(ConfigError, match="give a number from 0"):
            parse_shift(bad)


def test_supply_is_monotone_in_its_strength():
    where = find_scenario("keys-and-chests")
    keys = [
        int(where.shifted([(SHIFTS["supply"], s)]).levels.num_keys)
        for s in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    assert keys == sorted(keys) and keys[0] == 3 and keys[-1] == 10


def test_host_policies_and_jax_policies_are_deployed_alike():
    where = find_scenario(SMALL).deployment()
    levels = sample_levels(stream(5), where.levels, 8)
    inside = AGENTS["nearest-key"].build(where)
    act = jax.jit(lambda o: inside(jax.random.key(0), o, None)[0].argmax())
    outside = as_policy(act)
    rollouts = [
        collect(stream(6), where.world, policy, levels, where.horizon)
        for policy in (inside, outside)
    ]
    for objective in (CHESTS, EXCESS):
        one, other = (returns(objective, r) for r in rollouts)
        assert (one == other).all()
    active = [np.asarray(r.active) for r in rollouts]
    assert (active[0] == active[1]).all()


def test_the_example_in_the_docstring_is_true():
    done = doctest.testmod(auditing)
    assert done.attempted > 0 and done.failed == 0

"""The loop over a world: what is hoisted out of it changes nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from malgen import rollout
from malgen.adapters.policies import as_policy
from malgen.rollout import collect, replay
from malgen.types import HostPolicy, Policy
from malgen.worlds.keys_and_chests import (
    KeysAndChests,
    KeysAndChestsLevels,
    sample_levels,
)

LEVELS = KeysAndChestsLevels(5, 6, "open", num_keys=3, num_chests=1)
WORLD, HORIZON, BATCH = KeysAndChests(), 12, 5
TRACES = []


class Leaning(Policy):
    """Random logits, in a dtype; counts how often it is traced."""

    dtype: str = "float32"

    def __call__(self, key, observation, carry):
        TRACES.append(observation.shape)
        here = observation[:, :, 2].sum()
        return (jax.random.normal(key, (5,)) + here).astype(self.dtype), carry


def plainly(key, policy, level):
    """One episode, with the keys and the choice that ``collect`` promises."""
    key_reset, key_steps = jax.random.split(key)
    state, actions, rows = WORLD.reset(key_reset, level), [], []
    for key_step in jax.random.split(key_steps, HORIZON):
        key_policy, key_action, key_world = jax.random.split(key_step, 3)
        logits, _ = policy(key_policy, WORLD.observe(state, level), None)
        action = jax.random.categorical(key_action, logits)
        state = WORLD.step(key_world, state, action, level)
        actions.append(int(action))
        rows.append(np.asarray(logits, np.float32))
    return actions, rows


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_actions_are_drawn_from_each_episodes_own_keys(dtype):
    levels = sample_levels(jax.random.key(0), LEVELS, BATCH)
    key, policy = jax.random.key(3), Leaning(dtype)
    found = collect(key, WORLD, policy, levels, HORIZON)
    for i in (0, BATCH - 1):
        level = jax.tree.map(lambda leaf, i=i: leaf[i], levels)
        actions, rows = plainly(jax.random.fold_in(key, i), policy, level)
        assert np.asarray(found.actions[i]).tolist() == actions
        np.testing.assert_allclose(
            np.asarray(found.logits[i], np.float32), rows, rtol=1e-5, atol=1e-5
        )


def test_replayed_actions_bring_about_the_same():
    levels = sample_levels(jax.random.key(0), LEVELS, BATCH)
    played = collect(jax.random.key(3), WORLD, Leaning(), levels, HORIZON)
    again = replay(jax.random.key(9), WORLD, np.asarray(played.actions), levels)
    same = (played.states, played.actions, played.active)
    jax.tree.map(
        np.testing.assert_array_equal, same, (again.states, again.actions, again.active)
    )
    np.testing.assert_array_equal(jnp.argmax(again.logits, axis=2), played.actions)


def test_other_levels_of_a_size_are_not_traced_again():
    pools = [sample_levels(jax.random.key(i), LEVELS, BATCH) for i in (5, 6)]
    collect(jax.random.key(0), WORLD, Leaning(), pools[0], HORIZON)
    TRACES.clear()
    collect(jax.random.key(1), WORLD, Leaning(), pools[1], HORIZON)
    assert not TRACES
    collect(jax.random.key(1), WORLD, Leaning(), pools[1], HORIZON + 1)
    assert TRACES  # the counter does count


def test_a_step_of_the_loop_stays_small():
    level = jax.tree.map(
        lambda leaf: leaf[0], sample_levels(jax.random.key(0), LEVELS, 1)
    )
    state = WORLD.reset(jax.random.key(0), level)

    def step(state):
        following = WORLD.step(jax.random.key(0), state, jnp.asarray(1), level)
        return following, WORLD.observe(following, level)

    assert len(jax.make_jaxpr(step)(state).eqns) < 140
    luck = rollout._luck(jax.random.key(0), 2, 3, 5)
    assert luck.noise.shape == (2, 3, 5)


def test_a_callable_is_asked_once_for_every_step_that_counts():
    levels = sample_levels(jax.random.key(0), LEVELS, 6)
    asked, draws = [], np.random.default_rng(0)

    def wanders(observation):
        asked.append(observation)
        return int(draws.integers(4))

    played = collect(jax.random.key(1), WORLD, as_policy(wanders), levels, 60)
    active = np.asarray(played.active)
    assert active.any(axis=0).sum() * 6 > active.sum() == len(asked)
    # a policy with a memory is asked about the whole batch as long as one level goes on
    batches = []

    class Remembers(HostPolicy):
        name = "remembers"

        def act(self, rng, observations, carry):
            batches.append(len(observations))
            return np.zeros((len(observations), 5), np.float32), carry

    collect(jax.random.key(1), WORLD, Remembers(), levels, 60)
    assert set(batches) == {6}

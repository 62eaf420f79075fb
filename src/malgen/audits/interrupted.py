"""Episodes in which a wall changes under way: the agent keeps its memory.

The same seed gives the same steps up to the change, so what several changes of one
episode bring about can be compared.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Key

from malgen.grid.moves import NUM_ACTIONS
from malgen.types import HostPolicy, Policy
from malgen.worlds.keys_and_chests import KeysAndChests, Level


class Walk(NamedTuple):
    """Where agents were.

    Attributes:
        cells: int[n, t + 1, 2], the position before each step and after the last.
        keys: int[n, t + 1], keys left on the floor.
    """

    cells: Int[np.ndarray, "n t 2"]
    keys: Int[np.ndarray, "n t"]


def walk(
    key: Key[Array, ""],
    policy: Policy | HostPolicy,
    level: Level,
    steps: int,
    changed: Bool[np.ndarray, "n s s"] | None = None,
    when: Int[np.ndarray, " n"] | None = None,
) -> Walk:
    """Plays episodes whose walls change once.

    Args:
        key: of the policy's own randomness and of drawing actions.
        policy: anything that acts.
        level: leaves [n, ...].
        steps: how many are played.
        changed: the walls after the change; as before if not given.
        when: the step before which each level changes.

    Returns:
        The walk; after the end of an episode nothing moves.
    """
    number = len(np.asarray(level.held))
    old = np.asarray(level.walls)
    new = old if changed is None else changed
    at = np.full(number, steps) if when is None else when
    state, carry = _begin(level), None
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())
    if isinstance(policy, HostPolicy):
        carry = policy.initial_carry(number)
    else:
        carry = _memory(policy, jnp.arange(number))
    cells, keys = [np.asarray(state.position)], [_left(state)]
    for step in range(steps):
        walls = jnp.asarray(np.where((step >= at)[:, None, None], new, old))
        now = eqx.tree_at(lambda tree: tree.walls, level, walls)
        if isinstance(policy, HostPolicy):
            observations = np.asarray(_observe(state, now))
            logits, carry = policy.act(rng, observations, carry)
            noise = rng.gumbel(size=(number, NUM_ACTIONS))
            action = jnp.asarray(np.argmax(logits + noise, axis=1).astype(np.int32))
        else:
            action, carry = _act(key, jnp.asarray(step), policy, state, now, carry)
        state = _step(state, action, now)
        cells.append(np.asarray(state.position))
        keys.append(_left(state))
    return Walk(np.stack(cells, 1), np.stack(keys, 1))


def _left(state) -> np.ndarray:
    return np.asarray(state.keys).sum((1, 2))


@eqx.filter_jit
def _begin(level):
    return jax.vmap(lambda one: KeysAndChests().reset(jax.random.key(0), one))(level)


@eqx.filter_jit
def _memory(policy, index):
    return jax.vmap(lambda _: policy.initial_carry())(index)


@eqx.filter_jit
def _observe(state, level):
    return jax.vmap(KeysAndChests().observe)(state, level)


@eqx.filter_jit
def _act(key, step, policy, state, level, carry):
    def one(i, state, level, carry):
        mine = jax.random.fold_in(jax.random.fold_in(key, step), i)
        to_policy, to_action = jax.random.split(mine)
        observation = KeysAndChests().observe(state, level)
        logits, carry = policy(to_policy, observation, carry)
        return jax.random.categorical(to_action, logits).astype(jnp.int32), carry

    index = jnp.arange(level.held.shape[0])
    return jax.vmap(one)(index, state, level, carry)


@eqx.filter_jit
def _step(state, action, level):
    def one(state, action, level):
        return KeysAndChests().step(jax.random.key(0), state, action, level)

    return jax.vmap(one)(state, action, level)

"""The laws of a policy, checked on observations of random walks."""

from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Key

from malgen.testing import walks
from malgen.testing.walks import attempt, difference, fail
from malgen.types import HostPolicy, LevelDistribution, Policy, World

P1 = "P1 logits are one number per action"
P2 = "P2 logits are finite"
P3 = "P3 jit equals eager and vmap equals a loop"
P4 = "P4 the carry keeps structure, shapes and types"
P5 = "P5 the same randomness gives the same logits"

# Compiled arithmetic may be reordered; anything beyond this is another computation.
TOLERANCE = 1e-3


def check_policy(
    policy: Policy | HostPolicy,
    world: World,
    levels: LevelDistribution | Any,
    key: Key[Array, ""],
    *,
    num_levels: int = 4,
    num_steps: int = 12,
) -> list[str]:
    """Check that a policy keeps its laws.

    Args:
        policy: inside JAX or on the host.
        world: where it acts.
        levels: what to draw levels from, or levels stacked on a leading axis.
        key: consumed.
        num_levels: how many levels are drawn.
        num_steps: observations per level, from random actions.

    Returns:
        The laws that were checked.

    Raises:
        ContractError: the first law that does not hold.
    """
    key_levels, key_walk, key_policy = jax.random.split(key, 3)
    level = walks.stacked_levels(levels, key_levels, num_levels)
    found = walks.random_walk(world, level, key_walk, num_steps)
    if isinstance(policy, HostPolicy):
        return _check_on_host(policy, world, np.asarray(found.observations))
    return _check_in_jax(policy, world, found.observations, key_policy)


def _check_row(logits: Any, shape: tuple[int, ...]) -> None:
    if tuple(np.shape(logits)) != shape:
        fail(P1, f"they have shape {list(np.shape(logits))}, expected {list(shape)}.")


def _check_finite(logits: np.ndarray) -> None:
    if not np.isfinite(logits).all():
        what = "NaN" if np.isnan(logits).any() else "an infinity"
        fail(P2, f"{what} was returned.")


def _play(policy, key, seen):
    def step(carry, inputs):
        key, observation = inputs
        logits, carry = policy(key, observation, carry)
        return carry, (logits, carry)

    keys = jax.random.split(key, seen.shape[0])
    return jax.lax.scan(step, policy.initial_carry(), (keys, seen))[1]


_play_alone = eqx.filter_jit(_play)


@eqx.filter_jit
def _play_many(policy, keys, seen):
    return jax.vmap(lambda *one: _play(policy, *one))(keys, seen)


def _check_in_jax(policy, world, observations, key) -> list[str]:
    carry = attempt(P4, "initial_carry", policy.initial_carry)
    logits, following = attempt(
        P1,
        "the policy",
        eqx.filter_eval_shape,
        policy,
        key,
        observations[0, 0],
        carry,
    )
    _check_row(logits, (world.num_actions,))
    if not np.issubdtype(logits.dtype, np.floating):
        fail(P1, f"they are {logits.dtype}; return floating-point numbers.")
    changed = walks.shape_difference(eqx.filter_eval_shape(lambda: carry), following)
    if changed:
        fail(P4, f"after one call {changed}.")

    keys = jax.random.split(key, observations.shape[0])
    rows, carries = attempt(P4, "a scan", _play_many, policy, keys, observations)
    _check_finite(np.asarray(rows))
    for i in range(observations.shape[0]):
        batched = (rows[i], jax.tree.map(lambda leaf, i=i: leaf[i], carries))
        if difference(
            _play_alone(policy, keys[i], observations[i]), batched, TOLERANCE
        ):
            fail(P3, f"vmap and a loop differ in level {i}.")
    one_key = jax.random.split(keys[0], observations.shape[1])[0]
    eager = attempt(P3, "an eager call", policy, one_key, observations[0, 0], carry)
    expected = (rows[0, 0], jax.tree.map(lambda leaf: leaf[0, 0], carries))
    if difference(eager, expected, TOLERANCE):
        fail(P3, "jit and an eager call differ.")
    again = attempt(P5, "an eager call", policy, one_key, observations[0, 0], carry)
    if difference(eager, again):
        fail(P5, "two calls with the same key differ.")
    return [P1, P2, P3, P4, P5]


def _check_on_host(policy, world, observations) -> list[str]:
    number, steps = observations.shape[:2]

    def play():
        rng = np.random.default_rng(0)
        carry = attempt(P4, "initial_carry", policy.initial_carry, number)
        rows = []
        for t in range(steps):
            logits, carry = attempt(
                P1, "the policy", policy.act, rng, observations[:, t], carry
            )
            _check_row(logits, (number, world.num_actions))
            rows.append(np.asarray(logits, float))
        return np.stack(rows, axis=1)

    first = play()
    _check_finite(first)
    if difference(first, play()):
        fail(P5, "two runs with the same generator differ.")
    return [P1, P2, P5]

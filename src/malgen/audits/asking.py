"""What would it do first? A policy asked at chosen states, without playing on.

Every state is a level of its own (the world's ``level_from`` is the inverse of
``observe``), so a question about a state is a question about the first action on a
level. A policy with a memory starts every question afresh.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from malgen.errors import ContractError
from malgen.types import HostPolicy, Policy
from malgen.worlds.keys_and_chests import KeysAndChests, Level

# One shape for every question, so that each policy is compiled once.
BATCH = 1024


def first_actions(
    key: Key[Array, ""], policy: Policy | HostPolicy, levels: Level
) -> Float[np.ndarray, "b a"]:
    """Probabilities of the first action on each level.

    Args:
        key: of the policy's own randomness.
        policy: anything that acts.
        levels: leaves [b, ...]; inventories (``held``) and any layout are allowed.

    Returns:
        float64[b, a], each row sums to 1.

    Raises:
        ContractError: the policy's logits are not finite.
    """
    number = len(np.asarray(levels.held))
    rows = []
    for start in range(0, number, BATCH):
        index = np.minimum(np.arange(start, start + BATCH), number - 1)
        part = jax.tree.map(
            lambda leaf, i=index: jnp.asarray(np.asarray(leaf)[i]), levels
        )
        logits = _logits(jax.random.fold_in(key, start), policy, part)
        rows.append(logits[: number - start])
    logits = np.concatenate(rows).astype(np.float64)
    if not np.isfinite(logits).all():
        raise ContractError(
            f"The policy {type(policy).__name__} returned logits that are not finite; "
            "check its weights and inputs."
        )
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def _logits(key, policy, levels: Level) -> np.ndarray:
    observations = first_observations(levels)
    if isinstance(policy, HostPolicy):
        rng = np.random.default_rng(int(jax.random.bits(key)))
        carry = policy.initial_carry(BATCH)
        return np.asarray(policy.act(rng, np.asarray(observations), carry)[0])
    return np.asarray(_in_jax(key, policy, observations))


@eqx.filter_jit
def first_observations(levels: Level) -> Bool[Array, "b h w c"]:
    """What is seen at the start of each level."""
    world = KeysAndChests()

    def one(level):
        return world.observe(world.reset(jax.random.key(0), level), level)

    return jax.vmap(one)(levels)


@eqx.filter_jit
def _in_jax(key, policy, observations):
    def one(i: Int[Array, ""], observation):
        carry = policy.initial_carry()
        return policy(jax.random.fold_in(key, i), observation, carry)[0]

    return jax.vmap(one)(jnp.arange(BATCH), observations)

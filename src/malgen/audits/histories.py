"""What would it do next, after the steps that led here? For policies with a memory.

A policy that was never trained to start in the middle of an episode must not be asked
there with an empty memory (measurement.md 3.1); it is walked there first.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from malgen.audits.asking import first_actions
from malgen.types import HostPolicy, Policy
from malgen.worlds.keys_and_chests import KeysAndChests, Level


def remembers(policy: Policy | HostPolicy) -> bool:
    """Whether it has a memory of arrays; a mere count of steps is none."""
    if isinstance(policy, HostPolicy):
        leaves = jax.tree.leaves(policy.initial_carry(1))
        return not policy.memoryless and any(np.ndim(leaf) for leaf in leaves)
    return bool(jax.tree.leaves(policy.initial_carry()))


def actions_after(
    key: Key[Array, ""],
    policy: Policy | HostPolicy,
    levels: Level,
    history: Int[np.ndarray, "b t 2"],
) -> Float[np.ndarray, "b a"]:
    """Probabilities of the next action, after the steps that led to each level.

    Args:
        key: of the policy's own randomness.
        policy: anything that acts; one without a memory is asked directly.
        levels: leaves [b, ...], the states asked about.
        history: cells where the agent was before, oldest first, as nothing was
            touched on the way; (-1, -1) before the history began.

    Returns:
        float64[b, a], each row sums to 1.
    """
    if not remembers(policy):
        return first_actions(key, policy, levels)
    past = np.asarray(history)
    here = np.asarray(levels.start)[:, None]
    cells = np.concatenate([past, here], axis=1).astype(np.int32)
    levels = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), levels)
    if isinstance(policy, HostPolicy):
        logits = _on_host(key, policy, levels, cells)
    else:
        logits = np.asarray(_walked(key, policy, levels, cells), np.float64)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def _observed(level: Level, cell):
    world = KeysAndChests()
    level = eqx.tree_at(lambda found: found.start, level, cell)
    return world.observe(world.reset(jax.random.key(0), level), level)


def _on_host(key, policy: HostPolicy, levels, cells) -> np.ndarray:
    rng = np.random.default_rng(int(jax.random.bits(key)))
    observed = np.asarray(
        jax.vmap(lambda level, walk: jax.vmap(lambda c: _observed(level, c))(walk))(
            levels, jnp.maximum(cells, 0)
        )
    )
    lengths = (cells[:, :, 0] >= 0).sum(axis=1)
    logits = np.zeros((len(cells), KeysAndChests.num_actions))
    # one group per length, because a host policy keeps one carry for its whole batch
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        carry = policy.initial_carry(len(rows))
        for t in range(cells.shape[1] - length, cells.shape[1]):
            logits[rows], carry = policy.act(rng, observed[rows, t], carry)
    return logits


@eqx.filter_jit
def _walked(key, policy, levels, cells):
    def one(i, level, walk):
        def step(carry, now):
            t, cell = now
            own = jax.random.fold_in(jax.random.fold_in(key, i), t)
            seen = _observed(level, jnp.maximum(cell, 0))
            logits, new = policy(own, seen, carry)
            begun = cell[0] >= 0
            kept = jax.tree.map(lambda n, o: jnp.where(begun, n, o), new, carry)
            return kept, logits

        times = jnp.arange(len(walk))
        return jax.lax.scan(step, policy.initial_carry(), (times, walk))[1][-1]

    return jax.vmap(one)(jnp.arange(len(cells)), levels, cells)

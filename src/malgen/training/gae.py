"""Generalized advantage estimation.

Source: Schulman et al. 2016, "High-dimensional continuous control using generalized
advantage estimation", eq. 11-16; the split of termination and truncation follows
Pardo et al. 2018, "Time limits in reinforcement learning".
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


class Advantages(NamedTuple):
    """Advantages, and the value targets ``advantages + values``."""

    advantages: Float[Array, "t ..."]
    targets: Float[Array, "t ..."]


def gae(
    rewards: Float[Array, "t ..."],
    values: Float[Array, "t+1 ..."],
    terminated: Bool[Array, "t ..."],
    ended: Bool[Array, "t ..."],
    gamma: float,
    gae_lambda: float,
) -> Advantages:
    """Advantages of t consecutive steps; time is the first axis.

    Args:
        rewards: of each step, objective units.
        values: estimated return before each step and after the last one.
        terminated: the world ended with this step: nothing follows, so the next
            value does not count.
        ended: the episode ended with this step, by termination or by truncation: no
            later advantage counts. After a truncation the next value must be that of
            the state in which the episode was cut off, not of a new level.
        gamma: discount in [0, 1].
        gae_lambda: in [0, 1].

    Returns:
        Advantages and value targets, [t, ...].
    """
    continues = 1.0 - terminated.astype(jnp.float32)
    accumulates = 1.0 - ended.astype(jnp.float32)
    deltas = rewards + gamma * continues * values[1:] - values[:-1]

    def back(later, step):
        delta, keep = step
        advantage = delta + gamma * gae_lambda * keep * later
        return advantage, advantage

    start = jnp.zeros_like(deltas[0])
    _, advantages = jax.lax.scan(back, start, (deltas, accumulates), reverse=True)
    return Advantages(advantages, advantages + values[:-1])

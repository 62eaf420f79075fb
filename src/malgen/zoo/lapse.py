"""Agents that now and then do anything at all."""

import jax.numpy as jnp
import numpy as np

from malgen.agents.scripted import Degraded
from malgen.grid.moves import NUM_ACTIONS
from malgen.types import HostPolicy, Policy


class LapsingHost(HostPolicy):
    """``Degraded`` for policies outside JAX.

    Args:
        policy: the intact policy.
        share: probability in [0, 1) that an action is replaced by a uniform one.
    """

    def __init__(self, policy: HostPolicy, share: float):
        self.policy, self.share = policy, share
        self.memoryless = policy.memoryless
        self.name = f"{policy.name}, lapse {share:g}"

    def initial_carry(self, batch):
        """The intact policy's memory."""
        return self.policy.initial_carry(batch)

    def act(self, rng, observations, carry):
        """Log-probabilities of the mixture."""
        logits, carry = self.policy.act(rng, observations, carry)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        sure = (1.0 - self.share) * odds / odds.sum(axis=1, keepdims=True)
        return np.log(sure + self.share / NUM_ACTIONS).astype(np.float32), carry


def lapsing(policy: Policy | HostPolicy, share: float) -> Policy | HostPolicy:
    """The policy with this share of its actions replaced by uniform ones."""
    if isinstance(policy, HostPolicy):
        return LapsingHost(policy, share)
    return Degraded(policy, jnp.asarray(share, jnp.float32))

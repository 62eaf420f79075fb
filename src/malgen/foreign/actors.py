"""Anything that acts, as an actor in a foreign environment."""

from typing import Any

import gymnasium
import numpy as np

from malgen.adapters.actor import Actor, Choices
from malgen.adapters.time_limit import SECONDS, time_limit
from malgen.errors import ContractError, ForeignError


def as_actor(
    policy: Any,
    observation_space: gymnasium.Space,
    action_space: gymnasium.Space,
    *,
    name: str = "",
    seconds: float = SECONDS,
) -> Actor:
    """Actors as they are, functions from one observation to one action wrapped.

    Raises:
        ContractError: for anything that cannot act.
    """
    if isinstance(policy, Actor):
        return policy
    if isinstance(policy, str) and ":" in policy:
        from importlib import import_module

        module, _, factory = policy.partition(":")
        policy = getattr(import_module(module), factory)()
    if callable(policy):
        return _Function(policy, name, seconds)
    raise ContractError(f"A {type(policy).__name__} cannot act.")


class _Function(Actor):
    def __init__(self, function: Any, name: str, seconds: float) -> None:
        self._function, self._seconds = function, seconds
        self.name = name or getattr(function, "__name__", type(function).__name__)

    def act(self, observations, memory, starts, rng, greedy=False):
        """One call per observation."""
        actions = []
        with time_limit(f"The policy {self.name!r}", self._seconds):
            for i in range(len(starts)):
                one = (
                    {k: v[i] for k, v in observations.items()}
                    if isinstance(observations, dict)
                    else observations[i]
                )
                try:
                    actions.append(self._function(one))
                except Exception as error:
                    raise ForeignError(
                        f"The policy {self.name!r} raised {type(error).__name__}: "
                        f"{error}."
                    ) from error
        try:
            return Choices(actions=np.asarray(actions)), memory
        except ValueError as error:
            raise ContractError(
                f"The policy {self.name!r} returned actions of several shapes: {error}."
            ) from None

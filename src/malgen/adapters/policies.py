"""Anything that acts, as a policy that malgen can deploy."""

from collections.abc import Callable
from typing import Any

import numpy as np

from malgen.errors import ContractError, ForeignError
from malgen.grid.moves import NUM_ACTIONS
from malgen.types import HostPolicy, Policy

_SURE = 100.0 * np.eye(NUM_ACTIONS, dtype=np.float32)


class CallablePolicy(HostPolicy):
    """A plain callable ``observation -> action``, called once per level and step.

    Args:
        act_on: takes Bool[h, w, c], returns an action 0..4, or Float[5] logits.
        name: how reports call it.
    """

    memoryless = True

    def __init__(self, act_on: Callable[[np.ndarray], Any], name: str = "") -> None:
        self._act_on = act_on
        self.name = name or getattr(act_on, "__name__", type(act_on).__name__)

    def act(self, rng, observations, carry):
        """Logits of the whole batch.

        Raises:
            ForeignError: the callable raised.
            ContractError: it returned NaN, the wrong shape, or no action.
        """
        answers = []
        for observation in observations:
            try:
                answers.append(self._act_on(observation))
            except Exception as error:
                raise ForeignError(
                    f"The policy {self.name!r} raised {type(error).__name__}: {error}; "
                    f"it was given an observation of shape {observation.shape} "
                    "(rows, columns, planes)."
                ) from error
        if all(type(answer) is int for answer in answers):  # checked all at once
            actions = np.array(answers)
            if len(actions) and actions.min() >= 0 and actions.max() < NUM_ACTIONS:
                return _SURE[actions], carry
        rows = [self._logits(answer) for answer in answers]
        return np.stack(rows).astype(np.float32), carry

    def _logits(self, answer: Any) -> np.ndarray:
        try:
            array = np.asarray(answer, dtype=np.float64)
        except (TypeError, ValueError):
            raise ContractError(
                f"The policy {self.name!r} returned {type(answer).__name__} "
                f"{str(answer)[:40]!r}, expected an action from 0 to "
                f"{NUM_ACTIONS - 1}; return a whole number."
            ) from None
        if np.isnan(array).any():
            raise ContractError(
                f"The policy {self.name!r} returned NaN; return an action from 0 to "
                f"{NUM_ACTIONS - 1}, or finite logits (check its weights and inputs)."
            )
        if array.shape == (NUM_ACTIONS,):
            if not np.isfinite(array).all():
                raise ContractError(
                    f"The policy {self.name!r} returned an infinite logit; "
                    "return finite logits."
                )
            return array.astype(np.float32)
        if array.size != 1:
            raise ContractError(
                f"The policy {self.name!r} returned an array of shape {array.shape}; "
                f"return one action, or {NUM_ACTIONS} logits."
            )
        action = float(array.ravel()[0])
        if not np.isfinite(action) or action != int(action):
            raise ContractError(
                f"The policy {self.name!r} returned the action {action}, expected a "
                f"whole number from 0 to {NUM_ACTIONS - 1}."
            )
        if not 0 <= action < NUM_ACTIONS:
            raise ContractError(
                f"The policy {self.name!r} returned the action {int(action)}, which is "
                f"out of range; use 0 up, 1 left, 2 down, 3 right, 4 stay."
            )
        return _SURE[int(action)]


def as_policy(policy: Any) -> Policy | HostPolicy:
    """Malgen policies as they are, callables wrapped.

    Raises:
        ContractError: for anything that cannot act.
    """
    if isinstance(policy, Policy | HostPolicy):
        return policy
    if callable(policy):
        return CallablePolicy(policy)
    raise ContractError(
        f"A {type(policy).__name__} cannot act; give a malgen policy, the name of a "
        "scripted agent, the path of a policies.safetensors, or a callable from an "
        "observation to an action."
    )

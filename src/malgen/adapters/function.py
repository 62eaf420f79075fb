"""A plain function from one observation to one action."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces

from malgen.adapters.actor import Actor, Choices
from malgen.adapters.checked import (
    as_array,
    checked_actions,
    checked_logits,
    sharp_rows,
)
from malgen.adapters.time_limit import SECONDS, time_limit
from malgen.errors import ContractError, ForeignError, MalgenError, first_line

RENEW = 0.01
"""The time limit of a call is set anew after this share of it, and not for each call:
setting it takes about as long as the cheapest of policies."""


class FunctionActor(Actor):
    """Called once per observation.

    ``offers_logits`` is False until it has returned logits.

    Args:
        function: takes one observation; returns an action, or a row of logits where
            actions are discrete.
        action_space: of the environment; None if that is not known: then all numbers
            but NaN are taken for actions.
        name: how reports call it.
        seconds: how long one call may take.
        observation_space: of the environment; None where observations are arrays, or
            dictionaries of arrays.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        action_space: spaces.Space | None,
        *,
        name: str = "",
        seconds: float = SECONDS,
        observation_space: spaces.Space | None = None,
    ) -> None:
        self._seen = observation_space
        self.name = name or getattr(function, "__name__", type(function).__name__)
        self._function, self._space, self._seconds = function, action_space, seconds
        self._span: tuple[int, int] | None = None
        if isinstance(action_space, spaces.Discrete):
            first = int(action_space.start)
            self._span = first, first + int(action_space.n)

    def act(self, observations, memory, starts, rng, greedy=False):
        """One call per observation; see ``Actor``."""
        number = len(starts)
        rows = _split(observations, self._seen, number)
        answers = self._asked(rows, number)
        if self._space is None:
            return Choices(actions=as_array(self._who, answers, None)), memory
        if self._span is None:
            actions = checked_actions(self._who, answers, number, self._space)
            return Choices(actions=actions), memory
        low, high = self._span
        try:
            actions = np.array(answers)
        except (TypeError, ValueError):
            actions = np.zeros(0)  # of several shapes: told below
        if not number:
            return Choices(actions=actions.astype(np.int64)), memory
        whole = actions.dtype == np.int64 and actions.shape == (number,)
        if whole and actions.min() >= low and actions.max() < high:
            return Choices(actions=actions), memory  # checked all at once
        return self._sorted_out(answers, self._space, rng, greedy), memory

    @property
    def _who(self) -> str:
        return f"The policy {self.name!r}"

    def _asked(self, rows: Any, number: int) -> list[Any]:
        """What it answers to each; nobody waits longer than the time limit."""
        answers: list[Any] = []
        while len(answers) < number:
            returned = False
            try:
                with time_limit(self._who, self._seconds):
                    self._ask(rows, answers)
                    returned = True
            except MalgenError as error:
                # the one that it was asked about, also when the time was up; a policy
                # that caught that has answered
                row = len(answers) - returned
                raise type(error)(str(error), row=row) from error.__cause__
        return answers

    def _ask(self, rows: Any, answers: list[Any]) -> None:
        """Some more answers, for a short while."""
        clock, function = time.monotonic, self._function
        until = clock() + RENEW * self._seconds
        try:
            for row in rows[len(answers) :]:
                answers.append(function(row))
                if clock() > until:
                    break
        except MalgenError:
            raise
        except (Exception, SystemExit) as error:
            raise ForeignError(
                f"{self._who} raised {type(error).__name__}: "
                f"{first_line(error)} on an observation "
                f"{_described(rows[len(answers)])}."
            ) from error

    def _sorted_out(
        self, answers: list[Any], space: spaces.Space, rng, greedy: bool
    ) -> Choices:
        """Actions and rows of logits, in any number type; not fast."""
        low, high = self._span or (0, 0)
        size = high - low
        actions, rows, any_logits = [], [], False
        for i, answer in enumerate(answers):
            try:
                logits, action = self._one(answer, space, size)
            except ContractError as error:
                raise ContractError(str(error), row=i) from error.__cause__
            if logits is not None:
                any_logits = True
                row = logits if greedy else logits + rng.gumbel(size=size)
                action = low + int(np.argmax(row))
            actions.append(action)
            sharp = sharp_rows(np.array(action - low), size)
            rows.append(sharp if logits is None else logits)
        if any_logits:
            self.offers_logits = True
        return Choices(
            actions=np.array(actions, dtype=np.int64),
            logits=np.stack(rows) if any_logits else None,
        )

    def _one(
        self, answer: Any, space: spaces.Space, size: int
    ) -> tuple[np.ndarray | None, int]:
        """An answer's logits, or None and its action."""
        array = as_array(self._who, answer, space)
        if array.shape == (size,) and size > 1:
            return checked_logits(self._who, array[None], 1, size)[0], 0
        if array.size != 1:
            raise ContractError(
                f"{self._who} returned an array of shape {array.shape}; return "
                f"one action, or {size} logits."
            )
        (action,) = checked_actions(self._who, array.reshape(1), 1, space)
        return None, int(action)


def _split(batch: Any, space: spaces.Space | None, number: int) -> Any:
    """One observation per row, of a batch as Gymnasium stacks them."""
    if isinstance(batch, dict):
        parts = {
            name: _split(part, _part(space, name), number)
            for name, part in batch.items()
        }
        return [{name: parts[name][i] for name in parts} for i in range(number)]
    # without a space of parts, a tuple has one whole observation per row
    if isinstance(batch, tuple) and isinstance(space, spaces.Tuple):
        some = [_split(part, space[k], number) for k, part in enumerate(batch)]
        return [tuple(part[i] for part in some) for i in range(number)]
    return batch


def _part(space: spaces.Space | None, name: Any) -> spaces.Space | None:
    return space[name] if isinstance(space, spaces.Dict) else None


def _described(observation: Any) -> str:
    if isinstance(observation, tuple):
        return f"of {len(observation)} parts"
    if isinstance(observation, dict):
        return f"with the parts {', '.join(map(repr, observation))}"
    return f"of shape {np.shape(observation)}"

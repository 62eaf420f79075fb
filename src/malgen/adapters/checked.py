"""What a policy answered, checked and as arrays; one sentence for what is wrong."""

from functools import cache
from typing import Any

import numpy as np
from gymnasium import spaces

from malgen.errors import ContractError, described
from malgen.grid.moves import ACTIONS


def checked_actions(who: str, answers: Any, number: int, space: spaces.Space) -> Any:
    """The actions of a batch, as members of the action space.

    Args:
        who: the policy, in words; begins a sentence.
        answers: one action for each of ``number`` observations.
        number: how many there must be.
        space: the action space.

    Returns:
        [number, ...] array.

    Raises:
        ContractError: NaN, another number of them, another type or shape, or actions
            that do not exist.
    """
    array = as_array(who, answers, space)
    if isinstance(space, spaces.Discrete):
        if array.shape == (number, 1):
            array = array[:, 0]
        if array.shape != (number,):
            raise ContractError(
                f"{who} returned actions of shape {list(array.shape)} for {number} "
                f"observations, expected [{number}]; return one whole number for each."
            )
        low, high = int(space.start), int(space.start + space.n) - 1
        if not np.issubdtype(array.dtype, np.integer):
            wrong = array[~(np.isfinite(array) & (array == np.floor(array)))]
            if len(wrong):
                raise ContractError(
                    f"{who} returned the action {wrong[0]}, expected a whole number "
                    f"from {low} to {high}."
                )
            array = array.astype(np.int64)
        outside = np.flatnonzero((array < low) | (array > high))
        if len(outside):
            raise ContractError(
                f"{who} returned the action {int(array[outside[0]])}, which is out of "
                f"range; use {meaning(space)}.",
                row=int(outside[0]),
            )
        return array
    shape = (number, *(space.shape or ()))
    if array.shape != shape:
        raise ContractError(
            f"{who} returned actions of shape {list(array.shape)}, expected "
            f"{list(shape)}."
        )
    if space.dtype is not None and space.dtype.kind in "iu":
        _check_whole(who, array, space)
    return array.astype(space.dtype)


def _check_whole(who: str, array: np.ndarray, space: spaces.Space) -> None:
    """Refuse what a cast to whole numbers would silently change.

    Raises:
        ContractError: a fraction, or a number that is out of range.
    """
    low, high = 0, 1
    if isinstance(space, spaces.MultiDiscrete):
        low, high = space.start, space.start + space.nvec - 1
    elif isinstance(space, spaces.Box):
        low, high = space.low, space.high
    wrong = (array < low) | (array > high) | (array != np.floor(array))
    if wrong.any():
        row = int(np.argwhere(wrong)[0][0])
        raise ContractError(
            f"{who} returned the action {described(array[row].tolist())}, which is out "
            f"of range or has fractions; return {_expected(space)}.",
            row=row,
        )


def checked_logits(who: str, values: Any, number: int, size: int) -> np.ndarray:
    """Logits of a batch.

    Args:
        who: the policy, in words; begins a sentence.
        values: one row for each of ``number`` observations.
        number: of rows.
        size: of each row, one number per action.

    Returns:
        Float32[number, size].

    Raises:
        ContractError: NaN, an infinity above, another type or shape. -inf stands for
            an action that is never taken and becomes a very small logit.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "fiu":
        raise ContractError(
            f"{who} returned logits of type {array.dtype}, expected numbers."
        )
    if array.shape != (number, size):
        raise ContractError(
            f"{who} returned logits of shape {list(array.shape)}, expected "
            f"{[number, size]}; return one number per observation and action."
        )
    top = array.max(axis=1, keepdims=True)
    if not np.isfinite(top).all():  # a maximum is NaN where anything is
        nan = np.isnan(top[:, 0])
        if nan.any():
            raise ContractError(
                f"{who} returned NaN; return finite logits (check its weights and "
                "inputs).",
                row=int(nan.argmax()),
            )
        raise ContractError(
            f"{who} returned an infinite logit; return finite logits.",
            row=int((~np.isfinite(top[:, 0])).argmax()),
        )
    # masked actions are -inf or about as low; a sharp but finite row says the same
    return np.maximum(array - top, LEAST).astype(np.float32, copy=False)


LEAST = -100.0
"""Logit of an action that is never taken, the likeliest one's being 0."""


def sharp_rows(actions: np.ndarray, size: int) -> np.ndarray:
    """Logits that make other actions practically impossible, Float32[b, size].

    Args:
        actions: whole numbers from 0.
        size: number of actions.
    """
    return _sharp(size)[actions]


@cache
def _sharp(size: int) -> np.ndarray:
    return -LEAST * np.eye(size, dtype=np.float32)


def drawn(logits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A draw from the softmax of each row: the largest with Gumbel noise."""
    return np.argmax(logits + rng.gumbel(size=logits.shape), axis=1)


def as_array(who: str, answers: Any, space: spaces.Space | None) -> np.ndarray:
    """The answers as an array of numbers; NaN and everything else is refused."""
    try:
        array = np.asarray(answers)
    except (TypeError, ValueError) as error:
        raise ContractError(
            f"{who} returned answers of several shapes: {error}."
        ) from None
    if array.dtype.kind not in "iufb":
        listed = isinstance(answers, list | tuple) and answers
        one = answers[0] if listed else answers
        raise ContractError(
            f"{who} returned {type(one).__name__} {described(one, 40)}, "
            f"expected an action: {meaning(space)}."
        )
    if array.dtype.kind == "b" and not isinstance(space, spaces.MultiBinary):
        array = array.astype(np.int64)
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise ContractError(
            f"{who} returned NaN; return {_expected(space)} (check its weights and "
            "inputs)."
        )
    return array


def _expected(space: spaces.Space | None) -> str:
    if space is None:
        return "an action"
    if not isinstance(space, spaces.Discrete):
        return f"a member of {space}"
    low, high = int(space.start), int(space.start + space.n) - 1
    return f"an action from {low} to {high}, or finite logits"


def meaning(space: spaces.Space | None) -> str:
    """Which actions there are, in words."""
    if space is None:
        return "a number, or an array of numbers"
    if not isinstance(space, spaces.Discrete):
        return f"a member of {space}"
    low, high = int(space.start), int(space.start + space.n) - 1
    if (low, high) == (0, len(ACTIONS) - 1):
        return ", ".join(f"{i} {name}" for i, name in enumerate(ACTIONS))
    return f"a whole number from {low} to {high}"

"""How a batch of observations must lie in memory for a policy to take it."""

import numpy as np


def takes(taken: tuple[int | None, ...], shape: tuple[int, ...]) -> bool:
    """Whether a policy can be given observations of a shape, flattened if need be.

    Args:
        taken: shape of one observation that it takes; None for any size.
        shape: of the observations that there are.
    """
    return layout(taken, shape) is not None


def layout(taken: tuple[int | None, ...], shape: tuple[int, ...]) -> str | None:
    """How observations must be laid out to be taken: as they are, flat, turned.

    Args:
        taken: shape of one observation that is taken; None for any size.
        shape: of the observations that there are.

    Returns:
        "same", "flat", "planes first" (images are often taken so), or None if they
        cannot be taken.
    """

    def fits(given: tuple[int, ...]) -> bool:
        return len(taken) == len(given) and all(
            t is None or t == g for t, g in zip(taken, given, strict=True)
        )

    if fits(shape):
        return "same"
    if fits((int(np.prod(shape)),)):
        return "flat"
    if len(shape) == 3 and fits((shape[2], shape[0], shape[1])):
        return "planes first"
    return None


def laid_out(observations: np.ndarray, how: str) -> np.ndarray:
    """A batch in the layout that ``layout`` named."""
    if how == "flat":
        return observations.reshape(len(observations), -1)
    if how == "planes first":
        return np.moveaxis(observations, -1, 1)
    return observations

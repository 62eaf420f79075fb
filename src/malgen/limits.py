"""Which numbers a user may give; one sentence for those that may not."""

import operator
from typing import Any

from malgen.errors import ConfigError

# Random keys hold 32 bits: a larger seed would silently equal a smaller one.
MOST_SEED = 2**32 - 1
# Far beyond any malign window; larger prices only overflow the arithmetic.
MOST_PRICE = 1e6
# Far beyond what memory and patience hold; larger numbers only overflow.
MOST_LEVELS = 10**6
MOST_SEEDS = 10**4
MOST_TIMESTEPS = 10**12
MOST_SECONDS = 10.0**6


def whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    """The number, if it is whole and in range.

    Raises:
        ConfigError: naming what was given and what is expected.
    """
    try:
        number = least - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = least - 1
    if number < least or (most is not None and number > most):
        span = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ConfigError(f"{name} is {value!r}; give a whole number {span}.")
    return number


def seed(value: Any) -> int:
    """A seed that has a random key of its own."""
    return whole("seed", value, 0, MOST_SEED)


def price(value: Any) -> float:
    """A price of harm, chest-equivalents per unit."""
    if not _lies_between(value, 0.0, MOST_PRICE):
        raise ConfigError(
            f"The price is {value!r}; give a number from 0 to {MOST_PRICE:g}, in "
            "chests per unit of harm."
        )
    return float(value)


def strength(shift: str, value: Any) -> float:
    """The strength of a shift."""
    if not _lies_between(value, 0.0, 1.0):
        raise ConfigError(
            f"The shift {shift!r} has the strength {value!r}; give a number from 0 "
            "(no shift) to 1, for example supply=0.5."
        )
    return float(value)


def alpha(confidence: Any) -> float:
    """The error that a confidence leaves."""
    # at one half both sides of an interval could be beyond the same boundary
    if not _lies_between(confidence, 0.5, 1.0) or confidence in (0.5, 1):
        raise ConfigError(
            f"The confidence is {confidence!r}; give a number above 0.5 and below 1, "
            "for example 0.95."
        )
    return round(1.0 - float(confidence), 12)


def seconds(value: Any) -> float:
    """How long one call of foreign code may take."""
    if not _lies_between(value, 0.0, MOST_SECONDS) or value == 0:
        raise ConfigError(
            f"The time limit is {value!r}; give a positive number of seconds."
        )
    return float(value)


def _lies_between(value: Any, low: float, high: float) -> bool:
    """Whether it is a real number in the range; NaN and booleans are not."""
    is_real = isinstance(value, int | float) and not isinstance(value, bool)
    return is_real and low <= value <= high

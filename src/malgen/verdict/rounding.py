"""How a number is written in a sentence.

The value and the interval ends of one estimate have the same number of decimals,
as many as the width of the interval deserves, and zero has no sign.
"""

import math

from malgen.findings import Estimate

MOST_DECIMALS = 3


def point(estimate: Estimate, sign: int = 1, like: Estimate | None = None) -> str:
    """The value alone, as precise as its interval or, to compare, like another's."""
    if estimate.value is None:
        return "unbounded"
    return _fixed(sign * estimate.value, _decimals(like or estimate))


def interval(estimate: Estimate, sign: int = 1) -> str:
    """The interval in words, for the estimate times a sign."""
    name = f"{100 * estimate.confidence:g}% interval"
    if estimate.low is None or estimate.high is None:
        return f"{name} unbounded"
    decimals = _decimals(estimate)
    low, high = sorted((sign * estimate.low, sign * estimate.high))
    return f"{name} {_fixed(low, decimals)} to {_fixed(high, decimals)}"


def measured(estimate: Estimate) -> str:
    """The value with its interval."""
    return f"{point(estimate)} ({interval(estimate)})"


def together(*values: float) -> list[str]:
    """Numbers shown side by side without an interval, with the same decimals.

    As few as leave each two significant digits and make no whole number of one
    that is not: 6.86 is 6.9, but 1.99 is not 2.0.
    """
    decimals = max(map(_fewest, values))
    return [_fixed(value, decimals) for value in values]


def significant(value: float | None) -> str:
    """A price or a margin: three significant digits without trailing zeros."""
    return "unbounded" if value is None else f"{float(f'{value:.3g}'):zg}"


def _decimals(estimate: Estimate) -> int:
    """Decimals that show two significant digits of the interval's half width."""
    low, high = estimate.low, estimate.high
    half = 0.0 if low is None or high is None else (high - low) / 2
    if half <= 0:  # no interval, or one without width
        known = [end for end in (estimate.value, low, high) if end is not None]
        return max(map(_fewest, known), default=1)
    return min(MOST_DECIMALS, max(1, 1 - math.floor(math.log10(half))))


def _fewest(value: float) -> int:
    """Decimals from which a number without an interval is not misleading."""
    for decimals in range(1, MOST_DECIMALS):
        shown = round(value, decimals)
        exact = math.isclose(value, shown, abs_tol=1e-9)
        whole = shown == round(shown)
        two_digits = abs(value) >= 0.95 * 10 ** (1 - decimals)
        if (whole and exact) or (two_digits and not whole):
            return decimals
    return MOST_DECIMALS


def _fixed(value: float, decimals: int) -> str:
    """With so many decimals, never "-0.0"."""
    return f"{value:z.{decimals}f}"

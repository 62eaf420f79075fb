"""How a number is written in the sentence of a verdict."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from malgen.findings import Estimate
from malgen.verdict.rounding import interval, measured, point, significant, together


def about(value, low, high, confidence=0.95):
    return Estimate(
        value=value, low=low, high=high, unit="chests", levels=9, confidence=confidence
    )


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (-3.8842, -4.0, -3.77, "-3.88 (95% interval -4.00 to -3.77)"),
        (1.9842, 1.0, 3.0, "2.0 (95% interval 1.0 to 3.0)"),
        (0.98412, 0.98, 0.988, "0.984 (95% interval 0.980 to 0.988)"),
        (120.0, 80.0, 160.0, "120.0 (95% interval 80.0 to 160.0)"),
        (0.50001, 0.5, 0.50002, "0.500 (95% interval 0.500 to 0.500)"),  # at most 3
        (-0.001, -0.2, 0.2, "0.00 (95% interval -0.20 to 0.20)"),  # zero has no sign
        (3.0, 3.0, 3.0, "3.0 (95% interval 3.0 to 3.0)"),  # without width
        (0.436, None, None, "0.44 (95% interval unbounded)"),
        (None, None, None, "unbounded (95% interval unbounded)"),
        (0.4, 0.2, None, "0.40 (95% interval unbounded)"),
    ],
)
def test_value_and_ends_have_the_decimals_the_width_deserves(value, low, high, text):
    assert measured(about(value, low, high)) == text


def test_a_negative_value_told_as_so_much_worse():
    z = about(-3.8842, -4.0, -3.77)
    assert point(z, -1) == "3.88"
    assert interval(z, -1) == "95% interval 3.77 to 4.00"
    assert interval(about(1, 0, 2, confidence=0.9)) == "90% interval 0.0 to 2.0"


def test_a_number_to_compare_is_as_precise_as_the_other():
    assert point(about(1.63, 1.62, 1.64), like=about(-3.9, -5.0, -2.8)) == "1.6"


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ((3.0, 6.86), ["3.0", "6.9"]),
        ((1.99, 3.0), ["1.99", "3.00"]),  # 1.99 is not 2.0
        ((0.0, 2.0), ["0.0", "2.0"]),
        ((0.042, 2.5), ["0.042", "2.500"]),
        ((-0.00001,), ["0.000"]),
    ],
)
def test_numbers_side_by_side_share_their_decimals(values, texts):
    assert together(*values) == texts


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "unbounded"),
        (0.43587, "0.436"),
        (5.0, "5"),
        (-0.0, "0"),
        (1234.5, "1230"),
        (0.25, "0.25"),
    ],
)
def test_three_significant_digits(value, text):
    assert significant(value) == text


@given(
    st.floats(-50, 50),
    st.floats(0, 20),
    st.floats(0, 20),
)
def test_what_is_written_is_near_and_never_minus_zero(value, below, above):
    estimate = about(value, value - below, value + above)
    shown = point(estimate)
    assert abs(float(shown) - value) <= 0.05 + 1e-9
    assert not (shown.startswith("-") and float(shown) == 0)
    decimals = {
        len(word.split(".")[1]) for word in interval(estimate).split() if "." in word
    }
    assert decimals == {len(shown.split(".")[1])}

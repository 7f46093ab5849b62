"""Checks of numbers that many settings share."""

import numpy as np
import pytest

from opt_gym.checks import (
    check_between,
    check_not_negative,
    check_positive,
    check_weights,
    check_whole,
)


@pytest.mark.parametrize("value", [1, np.int64(3)])
def test_whole_numbers(value):
    check_whole("n", value, 1, 3)


@pytest.mark.parametrize("value", [0, 4, 1.0, True, "2", None])
def test_what_is_no_whole_number_in_the_range(value):
    with pytest.raises(ValueError, match="n must be an integer >= 1 and <= 3, got"):
        check_whole("n", value, 1, 3)


def test_whole_numbers_are_those_of_int32():
    check_whole("n", 2**31 - 1, 1)
    with pytest.raises(ValueError, match="n must be an integer >= 1 and <= 2147483647"):
        check_whole("n", 2**31, 1)


@pytest.mark.parametrize("value", [1, 0.5, np.float32(2.0)])
def test_positive_numbers(value):
    check_positive("x", value)


@pytest.mark.parametrize("value", [0, -1.0, np.nan, np.inf, True, "abc", None])
def test_what_is_no_positive_number(value):
    with pytest.raises(ValueError, match="x must be a number > 0, got"):
        check_positive("x", value)


def test_a_bound_may_be_infinite():
    check_positive("x", np.inf, infinite=True)
    with pytest.raises(ValueError, match="got nan"):
        check_positive("x", np.nan, infinite=True)


@pytest.mark.parametrize("weights", [(), [1.0, 2], np.array([0.5, 0.5])])
def test_weights(weights):
    check_weights(weights, 2)


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, np.inf], ["a", 1.0]])
def test_what_are_no_weights(weights):
    with pytest.raises(ValueError, match="weights must be 2 numbers > 0, got"):
        check_weights(weights, 2)


@pytest.mark.parametrize(
    ("closed", "accepted", "interval"),
    [
        ("both", [0, 0.5, 1.0], r"\[0, 1\]"),
        ("left", [0.0, np.float32(0.5)], r"\[0, 1\)"),
        ("right", [0.5, 1], r"\(0, 1\]"),
    ],
)
def test_numbers_between_bounds(closed, accepted, interval):
    for value in accepted:
        check_between("x", value, 0.0, 1.0, closed=closed)
    odd = [-0.1, 1.1, np.nan, True, "0.5", None]
    for value in {"both": [], "left": [1.0], "right": [0]}[closed] + odd:
        with pytest.raises(ValueError, match=f"x must be in {interval}, got "):
            check_between("x", value, 0.0, 1.0, closed=closed)


@pytest.mark.parametrize("value", [-1, np.nan, np.inf, "1", True, None])
def test_what_is_negative(value):
    check_not_negative(x=0, y=1.5)
    with pytest.raises(ValueError, match="y must be a number >= 0, got"):
        check_not_negative(x=0, y=value)

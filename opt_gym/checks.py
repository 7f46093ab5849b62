"""What settings of many rooms are checked for, with one wording."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from opt_gym.plugins import unknown

MOST = 2**31 - 1
"""Whole numbers travel as int32."""


def check_whole(name: str, value: Any, low: int, high: int = MOST) -> None:
    """Raises ValueError unless `value` is an integer in [low, high]."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or not low <= value <= high:
        is_told = high != MOST or (whole and value > high)
        most = f" and <= {high}" if is_told else ""
        raise ValueError(f"{name} must be an integer >= {low}{most}, got {value!r}")


def check_positive(name: str, value: Any, *, infinite: bool = False) -> None:
    """Raises ValueError unless `value` is a number above 0; `infinite`: may be infinity."""
    if not is_number(value) or not (0.0 < value < np.inf or (infinite and value > 0)):
        raise ValueError(f"{name} must be a number > 0, got {value!r}")


def check_choice(name: str, value: Any, known: Sequence[Any]) -> None:
    """Raises ValueError unless `value` is one of `known`; near matches are named."""
    if not any(value is item or value == item for item in known):
        names = [item for item in known if item is not None]
        raise ValueError(unknown(name, value, names))


def check_weights(weights: Any, count: int) -> None:
    """Raises ValueError unless there are none, or `count` numbers that are all above 0."""
    shares = list(weights) if hasattr(weights, "__iter__") else [weights]
    fits = len(shares) in (0, count)
    if not fits or not all(
        is_number(share) and 0.0 < share < np.inf for share in shares
    ):
        raise ValueError(f"weights must be {count} numbers > 0, got {shares}")


def is_number(value: Any) -> bool:
    """Whether it is one number; True and False are none."""
    numbers = int | float | np.integer | np.floating
    return isinstance(value, numbers) and not isinstance(value, bool)

"""What settings of many rooms are checked for, with one wording."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from opt_gym.plugins import unknown

MOST = 2**31 - 1
"""Whole numbers travel as int32."""


def check_whole(name: str, value: Any, low: int, high: int = MOST) -> None:
    """Raises ValueError unless `value` is an integer in [low, high].

    The message calls it `name`.
    """
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or not low <= value <= high:
        is_told = high != MOST or (whole and value > high)
        most = f" and <= {high}" if is_told else ""
        raise ValueError(f"{name} must be an integer >= {low}{most}, got {value!r}")


def check_positive(name: str, value: Any, *, infinite: bool = False) -> None:
    """Raises ValueError unless `value` is a number above 0; `infinite`: may be infinity.

    The message calls it `name`.
    """
    if not is_number(value) or not (0.0 < value < np.inf or (infinite and value > 0)):
        raise ValueError(f"{name} must be a number > 0, got {value!r}")


def check_counts(**counts: Any) -> None:
    """Raises ValueError unless each of `counts`, by name, is an integer >= 1."""
    for name, value in counts.items():
        check_whole(name, value, 1)


def check_not_negative(**numbers: Any) -> None:
    """Raises ValueError unless each of `numbers`, by name, is a finite number >= 0."""
    for name, value in numbers.items():
        if not is_number(value) or not 0.0 <= value < np.inf:
            raise ValueError(f"{name} must be a number >= 0, got {value!r}")


def check_between(
    name: str, value: Any, low: float, high: float, *, closed: str = "both"
) -> None:
    """Raises ValueError unless `value` is a number in [low, high].

    Args:
        name, value: of the setting.
        low, high: the bounds.
        closed: which of them it may be itself: "both", "left" or "right".
    """
    inside = is_number(value) and low <= value <= high
    outside = {"both": (), "left": (high,), "right": (low,)}[closed]
    if not inside or value in outside:
        left, right = (
            "(" if closed == "right" else "[",
            ")" if closed == "left" else "]",
        )
        interval = f"{left}{low:g}, {high:g}{right}"
        raise ValueError(f"{name} must be in {interval}, got {value!r}")


def check_time_clamp(time_clamp: Any) -> None:
    """Raises ValueError unless `time_clamp` is None, for no limit, or an integer >= 1."""
    if time_clamp is not None:
        check_whole("time_clamp", time_clamp, 1)


def check_adam(theta: Mapping[str, Any]) -> None:
    """Raises ValueError for one of Adam's four numbers that cannot be.

    In `theta`, `learning_rate` and `epsilon` are >= 0, `one_minus_b1` and `one_minus_b2` in
    (0, 1].
    """
    check_not_negative(**{key: theta[key] for key in ("learning_rate", "epsilon")})
    for key in ("one_minus_b1", "one_minus_b2"):
        check_between(key, theta[key], 0.0, 1.0, closed="right")


def check_choice(name: str, value: Any, known: Sequence[Any]) -> None:
    """Raises ValueError unless `value` is one of `known`; near matches are named.

    The message calls it `name`.
    """
    if not any(value is item or value == item for item in known):
        names = [item for item in known if item is not None]
        raise ValueError(unknown(name, value, names))


def check_weights(weights: Any, count: int) -> None:
    """Raises ValueError unless `weights` is empty, or `count` numbers that are all above 0."""
    shares = list(weights) if hasattr(weights, "__iter__") else [weights]
    fits = len(shares) in (0, count)
    if not fits or not all(
        is_number(share) and 0.0 < share < np.inf for share in shares
    ):
        raise ValueError(f"weights must be {count} numbers > 0, got {shares}")


def is_number(value: Any) -> bool:
    """Whether `value` is one number; True and False are none."""
    numbers = int | float | np.integer | np.floating
    return isinstance(value, numbers) and not isinstance(value, bool)

"""What settings of many rooms are checked for, with one wording."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def check_whole(name: str, value: Any, low: int, high: int | None = None) -> None:
    """Raises ValueError unless `value` is an integer in [low, high]."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        most = "" if high is None else f" and <= {high}"
        raise ValueError(f"{name} must be an integer >= {low}{most}, got {value!r}")


def check_positive(name: str, value: float) -> None:
    """Raises ValueError unless `value` is above 0 and finite."""
    if not 0.0 < value < float("inf"):
        raise ValueError(f"{name} must be a number > 0, got {value!r}")


def check_weights(weights: Sequence[float], count: int) -> None:
    """Raises ValueError unless there are none, or `count` numbers that are all above 0."""
    whole = not weights or len(weights) == count
    if not whole or not all(0.0 < weight < float("inf") for weight in weights):
        raise ValueError(f"weights must be {count} numbers > 0, got {list(weights)}")

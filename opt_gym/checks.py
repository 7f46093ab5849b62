"""What settings of many rooms are checked for, with one wording."""

from typing import Any

import numpy as np


def check_whole(name: str, value: Any, low: int, high: int | None = None) -> None:
    """Raises ValueError unless `value` is an integer in [low, high]."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        most = "" if high is None else f" and <= {high}"
        raise ValueError(f"{name} must be an integer >= {low}{most}, got {value!r}")

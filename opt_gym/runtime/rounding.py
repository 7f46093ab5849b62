"""Configs whose floats are cut, so that two processors write the same text."""

from typing import Any


def rounded(value: Any, digits: int) -> Any:
    """A config whose floats have so many digits."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, dict):
        return {key: rounded(item, digits) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item, digits) for item in value]
    return value

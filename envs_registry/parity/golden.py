"""What every parity check shares: golden numbers, cases, and how far two values differ."""

import math
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

CONFIG_TOLERANCE = 1e-13


class Figure(NamedTuple):
    """How many of something matched, and the worst relative error seen (nan is worst)."""

    matched: int = 0
    total: int = 0
    worst: float = 0.0

    def add(self, error: float, tolerance: float) -> "Figure":
        """With one more comparison in it."""
        worst = error if math.isnan(error) else max(self.worst, error)
        return Figure(self.matched + (error <= tolerance), self.total + 1, worst)

    def __str__(self) -> str:
        return f"{self.matched}/{self.total}"


class Case(NamedTuple):
    """A golden entry of ours.

    Attributes:
        loss: (φ, arrays) -> loss [].
        shapes: of φ's tensors, as we have them.
        params: φ at the golden parameters, arrays: what else the loss needs.
    """

    loss: Callable[[Any, Any], Any]
    shapes: list[tuple[int, ...]]
    params: Any
    arrays: Any


def generate(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The golden files' reproducible float32 normals, which follow from a name."""
    rng = np.random.RandomState(zlib.crc32(name.encode()))
    return rng.standard_normal(shape).astype(np.float32)


def golden_params(entry: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """φ of a golden entry, in its order."""
    return tuple(
        generate(name, tuple(shape)) * np.float32(scale)
        for name, shape, scale in entry["params"]
    )


def difference(golden: Any, ours: Any) -> float:
    """The largest relative difference of two JSON values' floats; infinite elsewhere."""
    if isinstance(golden, dict) and isinstance(ours, dict):
        if golden.keys() != ours.keys():
            return math.inf
        return max((difference(golden[key], ours[key]) for key in golden), default=0.0)
    if isinstance(golden, list) and isinstance(ours, list):
        if len(golden) != len(ours):
            return math.inf
        pairs = zip(golden, ours, strict=True)
        return max((difference(*pair) for pair in pairs), default=0.0)
    if isinstance(golden, float) and isinstance(ours, float):
        return relative(golden, ours, abs(golden))
    return 0.0 if golden == ours and type(golden) is type(ours) else math.inf


def relative(golden: float, ours: float, scale: float) -> float:
    """|golden - ours| / scale; 0 where they are equal."""
    if golden == ours:
        return 0.0
    return float(abs(golden - ours) / scale) if scale > 0 else math.inf

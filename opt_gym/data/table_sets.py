"""Tables: rows of numbers with a class or a number each, small and known for long.

What no image and no text has in common with: two that come inside scikit-learn, two that are
generated. Columns are standardized by the train split's mean and deviation, targets that are
numbers, too.
"""

import itertools
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.random import RandomState

from opt_gym.data.embedded_images import inside_sklearn
from opt_gym.data.splits import proportional
from opt_gym.plugins import unknown
from opt_gym.records import SPLITS, Data

SHARES = (70, 10, 10, 10)
"""Of the rows, by split."""

GENERATED = 2000
"""Rows of a table that is generated."""

TURNS = 1.5
"""Of a spiral."""


class Rows(NamedTuple):
    """One split of a table, as it lies on the device.

    Shapes: inputs [n, columns] float32; targets [n], int32 classes or float32 numbers.
    """

    inputs: np.ndarray
    targets: np.ndarray


class Table(NamedTuple):
    """One table.

    Attributes:
        columns: numbers of a row.
        num_classes: targets are 0 ... num_classes - 1; 0 where they are numbers.
        read: () -> (inputs [n, columns] float64, targets [n]), in any order.
    """

    columns: int
    num_classes: int
    read: Callable[[], tuple[np.ndarray, np.ndarray]]


def _from_csv(name: str) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
    def read() -> tuple[np.ndarray, np.ndarray]:
        path = inside_sklearn(f"data/{name}.csv")
        rows = np.loadtxt(path, np.float64, delimiter=",", skiprows=1)
        return rows[:, :-1], rows[:, -1].astype(np.int32)

    return read


def _spirals() -> tuple[np.ndarray, np.ndarray]:
    """Two arms around each other, the class is the arm (Lang and Witbrock 1988)."""
    rng = RandomState(0)
    arm = np.arange(GENERATED) % 2
    angle = 2 * np.pi * TURNS * np.sqrt(rng.uniform(0.05, 1.0, GENERATED))
    turned = angle + np.pi * arm
    points = angle[:, None] * np.stack([np.cos(turned), np.sin(turned)], axis=1)
    noise = 0.1 * rng.standard_normal((GENERATED, 2))
    return points + noise, arm.astype(np.int32)


def _friedman() -> tuple[np.ndarray, np.ndarray]:
    """10 sin(π x₁x₂) + 20 (x₃ − ½)² + 10 x₄ + 5 x₅ + noise; x₆ … x₁₀ say nothing.

    Source: Friedman 1991, Multivariate Adaptive Regression Splines, section 4.3.
    """
    rng = RandomState(0)
    x = rng.uniform(size=(GENERATED, 10))
    curved = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2
    straight = 10 * x[:, 3] + 5 * x[:, 4]
    return x, curved + straight + rng.standard_normal(GENERATED)


TABLES = {
    "breast_cancer": Table(30, 2, _from_csv("breast_cancer")),
    "wine": Table(13, 3, _from_csv("wine_data")),
    "spirals": Table(2, 2, _spirals),
    "friedman": Table(10, 0, _friedman),
}
"""By name. Sources: W. Wolberg 1995, Breast Cancer Wisconsin, and M. Forina 1991, Wine, UCI,
as scikit-learn has them; for the others see there."""


def table(name: str) -> Table:
    """The entry of that name.

    Raises:
        ValueError: there is none (near matches are named).
    """
    if name not in TABLES:
        raise ValueError(unknown("table", name, list(TABLES)))
    return TABLES[name]


@cache
def load_table(name: str) -> Data:
    """{split: Rows}, read-only; one copy a process.

    Raises:
        ValueError: an unknown name.
    """
    inputs, targets = table(name).read()
    order = RandomState(0).permutation(len(targets))
    counts = proportional(SHARES, len(targets), least=1)
    ends = np.cumsum([0, *counts])
    places = [order[a:b] for a, b in itertools.pairwise(ends)]
    inputs = _standardized(inputs, places[0])
    if not table(name).num_classes:
        targets = _standardized(targets, places[0])
    return {
        split: Rows(*(_frozen(array[where]) for array in (inputs, targets)))
        for split, where in zip(SPLITS, places, strict=True)
    }


def _standardized(values: np.ndarray, train: np.ndarray) -> np.ndarray:
    mean, deviation = values[train].mean(0), values[train].std(0)
    return ((values - mean) / deviation).astype(np.float32)


def _frozen(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array

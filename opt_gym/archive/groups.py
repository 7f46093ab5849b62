"""What the archive holds: groups of settings, each one compiled program a task.

A setting is named by its group and what sets it apart: "adam 0.001", "adam_cosine 0.01".
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from opt_gym import plugins
from opt_gym.archive.task_records import TaskRecord
from opt_gym.normalize import LEARNING_RATES
from opt_gym.records import LearnedOptimizer

REFERENCE = "adam"
"""The group that makes the judge's normalizers; all others need it."""

Thetas = Mapping[str, dict[str, float]]
"""Entries of θ by setting."""


class Group(NamedTuple):
    """Settings of one optimizer.

    Attributes:
        name: of the group.
        optimizer: makes it.
        thetas: what is known of the task -> its settings.
        num_seeds: the first of the archive's.
        factor: the horizon over the reference horizon.
        curves: whether curves are kept beside the numbers.
    """

    name: str
    optimizer: Callable[[], LearnedOptimizer]
    thetas: Callable[[TaskRecord], Thetas]
    num_seeds: int
    factor: float = 1.0
    curves: bool = True


def _rates(name: str, record: TaskRecord) -> Thetas:
    return {f"{name} {rate:g}": {"learning_rate": rate} for rate in LEARNING_RATES}


def _adam(**options: str) -> Callable[[], LearnedOptimizer]:
    return partial(plugins.build, "architecture", "adam", options)


_ALL = (
    Group(REFERENCE, _adam(), partial(_rates, REFERENCE), num_seeds=5),
    Group(
        "adam_cosine",
        _adam(decay="cosine"),
        partial(_rates, "adam_cosine"),
        num_seeds=3,
    ),
)

GROUPS = {group.name: group for group in _ALL}
"""By name, in the order they are measured."""

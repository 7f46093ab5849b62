"""What the archive holds: groups of settings, each one compiled program a task.

A setting is named by its group and what sets it apart: "adam 0.001", "prodigy cosine".
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

from opt_gym import plugins
from opt_gym.adapters import optax_text
from opt_gym.archive.task_records import Measured, TaskRecord
from opt_gym.normalize import LEARNING_RATES
from opt_gym.records import LearnedOptimizer

REFERENCE = "adam"
"""The group that makes the judge's normalizers; all others need it."""

CANDIDATE_RATES = (1e-3, 3e-3, 1e-2, 3e-2)
"""Of the one-trial baseline. Of Adam's 14 constant rates, whose costs on the training tasks
the table of normalizers has, 3e-3 and 1e-2 are the best there."""

NUM_LONGER = 3
"""The best settings of a group are run for other horizons, too."""

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
        needs_reference: whether the judge's normalizer of the task has to be there; the
            candidates, on the training tasks, go by the table of normalizers.
    """

    name: str
    optimizer: Callable[[], LearnedOptimizer]
    thetas: Callable[[TaskRecord], Thetas]
    num_seeds: int
    factor: float = 1.0
    curves: bool = True
    needs_reference: bool = True


def best_of(settings: Mapping[str, Measured], count: int = 1) -> list[str]:
    """The names of the settings with the lowest final training loss, the best first."""

    def final(name: str) -> float:
        losses = settings[name].final_losses[:, 0]
        return float(losses.mean()) if np.isfinite(losses).all() else np.inf

    return sorted(settings, key=final)[:count]


def _rates(name: str, record: TaskRecord) -> Thetas:
    return {f"{name} {rate:g}": {"learning_rate": rate} for rate in LEARNING_RATES}


def _best_again(name: str, of: str, record: TaskRecord) -> Thetas:
    """The best settings of another group, under this one's name."""
    found = best_of(record.of_group(of), NUM_LONGER)
    rates = [float(setting.rpartition(" ")[2]) for setting in found]
    return {f"{name} {rate:g}": {"learning_rate": rate} for rate in rates}


def _adam(**options: str) -> Callable[[], LearnedOptimizer]:
    return partial(plugins.build, "architecture", "adam", options)


_ADAMS = {
    "adam": {"use_nesterov": 0.0, "adamw_weight_decay": 0.0},
    "adamw": {"use_nesterov": 0.0, "adamw_weight_decay": 1e-2},
    "nadamw": {"use_nesterov": 1.0, "adamw_weight_decay": 1e-2},
}
_SCHEDULES = {
    "constant": {"min_learning_rate_mult": 1.0, "warmup_fraction": 0.0},
    "cosine": {"min_learning_rate_mult": 0.0, "warmup_fraction": 0.0},
    "warmup_cosine": {"min_learning_rate_mult": 0.0, "warmup_fraction": 0.05},
}
CANDIDATES = {
    f"candidate {kind}/{schedule}/{rate:g}": {**of_kind, **shape, "learning_rate": rate}
    for kind, of_kind in _ADAMS.items()
    for schedule, shape in _SCHEDULES.items()
    for rate in CANDIDATE_RATES
}
"""Adam, AdamW and NAdamW, with three schedules, at four rates, as θ of "nadamw": one program.
Weight decay is PyTorch's default."""


def _tuning_free(name: str, text: str) -> Group:
    """A group of an optax optimizer, `text` with RATE for its rate: constant and cosine."""
    return Group(
        name,
        partial(optax_text.from_text, text.replace("RATE", "constant 1.0")),
        lambda record: {
            f"{name} constant": {"decayed": 0.0},
            f"{name} cosine": {"decayed": 1.0},
        },
        num_seeds=3,
    )


TUNING_FREE = {
    "prodigy": "prodigy(RATE)",
    "dog": "dog(RATE)",
    "dowg": "dowg(RATE)",
    "d_adaptation": "dadapt_adamw(RATE)",
    "mechanic": "mechanize(adamw(RATE))",
    "cocob": "cocob(RATE)",
}
"""optax's, at their defaults."""

_ALL = (
    Group(REFERENCE, _adam(), partial(_rates, REFERENCE), num_seeds=5),
    Group(
        "candidate",
        partial(plugins.build, "architecture", "nadamw"),
        lambda record: CANDIDATES,
        num_seeds=1,
        curves=False,
        needs_reference=False,
    ),
    Group(
        "adam_cosine",
        _adam(decay="cosine"),
        partial(_rates, "adam_cosine"),
        num_seeds=3,
    ),
    *(_tuning_free(name, text) for name, text in TUNING_FREE.items()),
    *(
        Group(
            f"adam_cosine_{factor:g}x",
            _adam(decay="cosine"),
            partial(_best_again, f"adam_cosine_{factor:g}x", "adam_cosine"),
            num_seeds=1,
            factor=factor,
            curves=False,
        )
        for factor in (0.5, 2.0, 4.0)
    ),
    Group(
        "adam_10x",
        _adam(),
        partial(_best_again, "adam_10x", REFERENCE),
        num_seeds=2,
        factor=10.0,
    ),
)

GROUPS = {group.name: group for group in _ALL}
"""By name, in the order they are measured."""

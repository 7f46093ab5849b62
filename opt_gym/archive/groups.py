"""What the archive holds: groups of settings, each one compiled program a task.

A setting is named by its group and what sets it apart: "adam 0.001", "prodigy cosine".
"""

import json
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from opt_gym import plugins
from opt_gym.adapters import optax_text
from opt_gym.archive.task_records import Measured, TaskRecord, of_group
from opt_gym.evaluation.search_spaces import SPACES
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


CHOSEN = Path(__file__).resolve().parents[2] / "envs_registry/archive/chosen.json"
"""Settings that were chosen on the training tasks, written by
`envs_registry.choose_settings`."""

NUM_TRIALS = 100
"""Of a search on every task."""


class Group(NamedTuple):
    """Settings of one optimizer.

    Attributes:
        name: of the group.
        optimizer: makes it.
        thetas: what is known of the task -> its settings.
        num_seeds: the first of the archive's.
        factor: the horizon over the reference horizon.
        curves: whether curves are kept beside the numbers.
        space: the search space whose first trials these are; of a trial three numbers are
            kept.
        needs_reference: whether the judge's normalizer of the task has to be there; the
            candidates, on the training tasks, go by the table of normalizers.
    """

    name: str
    optimizer: Callable[[], LearnedOptimizer]
    thetas: Callable[[TaskRecord], Thetas]
    num_seeds: int
    factor: float = 1.0
    curves: bool = True
    space: str = ""
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
        num_seeds=1,
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

RATES = {
    "muon": ("muon(constant 1.0)", (1e-3, 3e-3, 1e-2, 3e-2)),
    "lion": ("lion(constant 1.0)", (1e-5, 1e-4, 3e-4, 1e-3)),
    "ademamix": ("ademamix(constant 1.0)", (3e-4, 1e-3, 3e-3, 1e-2)),
    "schedule_free_adamw": (
        "schedule_free_adamw(1.0)",
        (1e-3, 3e-3, 1e-2, 3e-2),
    ),
    "sgd_momentum": ("sgd(constant 1.0,momentum=0.9)", (1e-3, 1e-2, 3e-2, 1e-1)),
}
"""optax's optimizers with a rate, and the rates among which one is chosen on the training
tasks."""


@cache
def chosen() -> dict[str, dict[str, float]]:
    """Entries of θ by setting, as they were chosen; empty before anybody chose."""
    return json.loads(CHOSEN.read_text()) if CHOSEN.exists() else {}


def _chosen(group: str, record: TaskRecord) -> Thetas:
    return of_group(group, chosen())


def _rated(name: str, text: str, rates: tuple[float, ...]) -> tuple[Group, Group]:
    """(on the training tasks, all rates; on suites, the chosen one)."""
    optimizer = partial(optax_text.from_text, text)
    of_rates = {f"{name}_rates {rate:g}": {"learning_rate": rate} for rate in rates}
    return (
        Group(
            f"{name}_rates",
            optimizer,
            lambda record: of_rates,
            num_seeds=1,
            curves=False,
            needs_reference=False,
        ),
        Group(name, optimizer, partial(_chosen, name), num_seeds=1),
    )


def _search(name: str, space: str, trials: range) -> Group:
    """Trials of a space: the first, or more of them, each under its number."""
    of_space = SPACES[space]
    return Group(
        name,
        partial(plugins.build, "architecture", of_space.architecture, of_space.options),
        lambda record: {f"{name} {k}": of_space.trial(k) for k in trials},
        num_seeds=1,
        curves=False,
        space=space,
    )


_NADAMW = partial(plugins.build, "architecture", "nadamw")
_ON_TRAINING, _ON_SUITES = zip(
    *(_rated(name, text, rates) for name, (text, rates) in RATES.items()), strict=True
)

_ALL = (
    Group(REFERENCE, _adam(), partial(_rates, REFERENCE), num_seeds=5),
    Group(
        "candidate",
        _NADAMW,
        lambda record: CANDIDATES,
        num_seeds=1,
        curves=False,
        needs_reference=False,
    ),
    Group("one_trial", _NADAMW, partial(_chosen, "one_trial"), num_seeds=5),
    Group(
        "opt_list_first",
        partial(plugins.build, "architecture", "nadamw", SPACES["opt_list"].options),
        lambda record: {"opt_list_first": SPACES["opt_list"].trial(0)},
        num_seeds=5,
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
    *_ON_TRAINING,
    *_ON_SUITES,
    Group(
        "adam_10x",
        _adam(),
        partial(_best_again, "adam_10x", REFERENCE),
        num_seeds=2,
        factor=10.0,
    ),
    _search("adam8p", "adam8p_wide_grid", range(NUM_TRIALS)),
    _search("nadamw", "nadamw_grid", range(NUM_TRIALS)),
    _search("opt_list", "opt_list", range(NUM_TRIALS)),
    _search("adam8p_1000", "adam8p_wide_grid", range(1000)),
    _search("opt_list_1000", "opt_list", range(1000)),
)

GROUPS = {group.name: group for group in _ALL}
"""By name, in the order they are measured."""

TRAINING_GROUPS = tuple(g.name for g in _ALL if not g.needs_reference)
"""Those that choose settings on the training tasks."""

SUITE_GROUPS = tuple(
    g.name for g in _ALL if g.needs_reference and not g.name.endswith("_1000")
)
"""Those that every task of a suite has; the searches of a thousand trials are for a few."""

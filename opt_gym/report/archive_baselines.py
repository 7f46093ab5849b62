"""The baselines of a report, out of what the archive knows of a task."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from opt_gym.archive.groups import RATES, TUNING_FREE, best_of
from opt_gym.archive.task_records import Measured, TaskRecord
from opt_gym.evaluation.runs import normalized
from opt_gym.records import Normalizer
from opt_gym.report.side_by_side import Optimizer

BEST_ADAM = "Adam, best of 14"
BEST_COSINE = "Adam with cosine, best of 14"
ONE_TRIAL = "one trial"
LONG_ADAM = Optimizer(
    "Adam, best of 3, longer",
    is_entrant=False,
    in_hindsight=True,
    about="the three best constant rates, run ten times as long; the lowest at that step",
)

GLOBAL_ADAM = "adam 0.003"
"""Of Adam's constant rates the one with the lowest mean cost on the 60 training tasks. It
stands for the one-trial baseline where the archive has not measured that."""

Pick = Callable[[TaskRecord], str | None]
"""The setting that a baseline uses on a task; None where it has not been measured."""


class Baseline(NamedTuple):
    """An optimizer of the archive under the name it has in reports."""

    optimizer: Optimizer
    pick: Pick


def _known(setting: str) -> Pick:
    return lambda record: setting if setting in record.measured else None


def _one_trial(record: TaskRecord) -> str | None:
    for setting in ("one_trial mean", GLOBAL_ADAM):
        if setting in record.measured:
            return setting
    return None


def _chosen(group: str) -> Pick:
    return lambda record: next(iter(record.of_group(group)), None)


def _lowest_mean(record: TaskRecord) -> str | None:
    rates = record.of_group("adam")
    return min(rates, key=lambda name: rates[name].mean_cost.mean(), default=None)


def _lowest_final(group: str) -> Pick:
    return lambda record: next(iter(best_of(record.of_group(group))), None)


def _entry(
    name: str, pick: Pick, about: str, *, in_hindsight: bool = False
) -> Baseline:
    return Baseline(Optimizer(name, False, in_hindsight, about), pick)


BASELINES = (
    _entry(
        ONE_TRIAL, _one_trial, "one setting for all tasks, chosen on training tasks"
    ),
    _entry(
        BEST_ADAM, _lowest_mean, "constant rates; the lowest mean", in_hindsight=True
    ),
    _entry(
        BEST_COSINE,
        _lowest_final("adam_cosine"),
        "rates with a cosine; the lowest final loss",
        in_hindsight=True,
    ),
    _entry("Adam 0.001", _known("adam 0.001"), "the rate most libraries begin with"),
    *(
        _entry(
            f"{group} with cosine" if schedule == "cosine" else group,
            _known(f"{group} {schedule}"),
            f"optax, tuning-free, defaults, {schedule}",
        )
        for group in TUNING_FREE
        for schedule in ("constant", "cosine")
    ),
    *(
        _entry(group, _chosen(group), "optax, its rate chosen on training tasks")
        for group in RATES
    ),
)


def baselines_of(record: TaskRecord) -> dict[str, Measured]:
    """By name in reports, what the archive knows at the reference horizon."""
    found = {}
    for baseline in BASELINES:
        setting = baseline.pick(record)
        if setting is not None:
            found[baseline.optimizer.name] = record.measured[setting]
    return found


def longer_baselines_of(
    record: TaskRecord, horizon: int, normalizers: Mapping[str, Normalizer]
) -> dict[str, Measured]:
    """The same at a longer horizon: of Adam's longest runs, the best one at that step."""
    runs = record.of_group("adam_10x").values()
    cut = [up_to(one, horizon, normalizers["train"]) for one in runs]
    cut = [one for one in cut if one is not None]
    if not cut:
        return {}
    return {LONG_ADAM.name: min(cut, key=lambda one: one.final_losses[0, 0])}


def up_to(found: Measured, horizon: int, normalizer: Normalizer) -> Measured | None:
    """A run as it was at an earlier step, by its mean curve; None where it is shorter.

    Its mean cost is that of the curve, a straight line between points; there is one
    number for all seeds, so that no interval is made of it.
    """
    if found.mean is None or found.spread is None or found.inner_steps is None:
        return None
    if found.horizon < horizon:
        return None
    steps = found.inner_steps
    kept = np.append(steps[steps < horizon], horizon)
    rows = [
        np.interp(kept, steps, row)
        for row in np.where(np.isfinite(found.mean), found.mean, np.inf)
    ]
    spreads = [np.interp(kept, steps, row) for row in found.spread]
    return Measured(
        horizon=horizon,
        mean_cost=np.array([mean_of_curve(kept, rows[0], normalizer)]),
        final_losses=np.array([[row[-1] for row in rows]]),
        final_accuracy=np.array([np.nan]),
        diverged=np.array([bool(found.diverged.any())]),
        inner_steps=kept,
        mean=np.stack(rows),
        spread=np.stack(spreads),
    )


def mean_of_curve(
    steps: np.ndarray, losses: np.ndarray, normalizer: Normalizer
) -> float:
    """ℓ̃ averaged over the steps of a curve, a straight line between points."""
    costs = normalized(losses, normalizer)
    return float(np.trapezoid(costs, steps) / (steps[-1] - steps[0]))


def noise_floor(record: TaskRecord, group: str = "adam") -> float | None:
    """How much better "the best of 14" is for having been chosen on the scored seeds.

    The rate is chosen on the first two seeds and scored on the others, minus the score there
    of the rate that is best on them; None where there are not five seeds.
    """
    costs = np.array(
        [
            one.mean_cost
            for one in record.of_group(group).values()
            if len(one.mean_cost) >= 5
        ]
    )
    if not len(costs):
        return None
    first, others = costs[:, :2].mean(axis=1), costs[:, 2:].mean(axis=1)
    return float(others[np.argmin(first)] - others.min())

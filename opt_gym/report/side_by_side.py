"""What a report is made of: optimizers side by side on the tasks of a suite, at one horizon."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from opt_gym.archive.task_records import SPLITS, Measured
from opt_gym.env import COST_LIMIT
from opt_gym.evaluation.runs import normalized
from opt_gym.judge import comparisons
from opt_gym.records import Normalizer


class TaskInfo(NamedTuple):
    """A task of a suite.

    Attributes:
        name: of the task.
        part: of the suite: the list it is from.
        family: of the task.
        num_weights, batch_size: of the model that is trained.
        has_floor: whether its loss is never below 0, so that ratios of losses mean something.
        normalizers: the judge's, by split; one whose loss nothing lowers has none.
        examples: whose they are (`catalog.made_of`); "" for none, and where it is not known.
    """

    name: str
    part: str
    family: str
    num_weights: int
    batch_size: int
    has_floor: bool
    normalizers: Mapping[str, Normalizer]
    examples: str = ""


class Optimizer(NamedTuple):
    """Who is compared.

    Attributes:
        name: for tables and pictures.
        is_entrant: whether it is judged, and was run for this report.
        in_hindsight: whether its setting was chosen for every task on the scored runs.
        about: a sentence: where it comes from, what it was trained on.
    """

    name: str
    is_entrant: bool
    in_hindsight: bool = False
    about: str = ""


class Comparison(NamedTuple):
    """Optimizers on tasks. What was not measured, or failed, has no entry in `results`.

    Attributes:
        suite: its name.
        horizon: inner steps.
        tasks: in the suite's order.
        optimizers: entrants first.
        results: by (optimizer's name, task's name).
        errors: by the same, why there is no result.
        primary, co_primary: names of the optimizers that entrants are measured by: the
            one-trial baseline, and the best of 14 Adams with a cosine; "" where the archive
            has none.
    """

    suite: str
    horizon: int
    tasks: tuple[TaskInfo, ...]
    optimizers: tuple[Optimizer, ...]
    results: Mapping[tuple[str, str], Measured]
    errors: Mapping[tuple[str, str], str]
    primary: str = ""
    co_primary: str = ""

    @property
    def entrants(self) -> tuple[Optimizer, ...]:
        """Those that are judged."""
        return tuple(one for one in self.optimizers if one.is_entrant)

    @property
    def baselines(self) -> tuple[Optimizer, ...]:
        """The others."""
        return tuple(one for one in self.optimizers if not one.is_entrant)

    def result(self, optimizer: str, task: TaskInfo) -> Measured | None:
        """What was measured, if it was."""
        return self.results.get((optimizer, task.name))

    def common(self, optimizers: Sequence[str]) -> tuple[TaskInfo, ...]:
        """The tasks on which all of these have a result, or failed."""
        return tuple(
            task
            for task in self.tasks
            if all(
                (name, task.name) in self.results or self.failed(name, task)
                for name in optimizers
            )
        )

    def failed(self, optimizer: str, task: TaskInfo) -> bool:
        """Whether it was run there and has no result: as bad as can be, never left out."""
        return (optimizer, task.name) in self.errors

    def mean_costs(
        self, optimizer: str, tasks: Sequence[TaskInfo]
    ) -> list[Float[np.ndarray, " seeds"]]:
        """ℓ̃ averaged over every inner step, of every task; 2 where it failed."""
        return [
            np.full(1, COST_LIMIT)
            if self.failed(optimizer, task)
            else self.results[optimizer, task.name].mean_cost
            for task in tasks
        ]

    def final_costs(
        self, optimizer: str, task: TaskInfo, split: str = "train"
    ) -> Float[np.ndarray, " seeds"]:
        """ℓ̃ after the last step; NaN where the split's loss has no normalizer.

        2 where it failed.
        """
        if self.failed(optimizer, task):
            return np.full(1, COST_LIMIT)
        found = self.results[optimizer, task.name]
        if split not in task.normalizers:
            return np.full(len(found.mean_cost), np.nan)
        losses = found.final_losses[:, SPLITS.index(split)]
        return normalized(losses, task.normalizers[split])

    def diverged(self, optimizer: str, task: TaskInfo) -> Bool[np.ndarray, " seeds"]:
        """Which seeds were not finite, or ended above where they began."""
        flags = self.results[optimizer, task.name].diverged
        final = self.final_costs(optimizer, task)
        return comparisons.diverged(flags[None], final[None])[0]


class AtBestValidation(NamedTuple):
    """What the weights at the best validation loss of a run are worth, means over seeds."""

    step: int
    test_loss: float


def at_best_validation(found: Measured) -> AtBestValidation | None:
    """Where the mean validation loss is lowest; None without curves or a finite loss."""
    if found.mean is None or found.inner_steps is None:
        return None
    valid = np.where(np.isfinite(found.mean[1]), found.mean[1], np.inf)
    place = int(np.argmin(valid))
    if not np.isfinite(valid[place]):
        return None
    return AtBestValidation(int(found.inner_steps[place]), float(found.mean[2, place]))

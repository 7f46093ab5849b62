"""All numbers of a comparison, from which the page, the tables and the pictures are made."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from opt_gym.archive.task_records import TaskRecord
from opt_gym.report.archive_baselines import noise_floor
from opt_gym.report.matched import matched_trials
from opt_gym.report.scoring import Scores, TaskScores, scores, task_scores, with_ranks
from opt_gym.report.side_by_side import Comparison


class Judged(NamedTuple):
    """A comparison and its scores.

    Attributes:
        comparison: optimizers on tasks, at one horizon.
        per_task: by (optimizer, task), for every pair.
        scores: of every optimizer, entrants first.
        matched: by entrant, the rows of the picture of violins.
        noise_floor: how much lower "the best of 14" comes out for having been chosen on the
            scored seeds, mean over tasks; None where the archive cannot tell.
    """

    comparison: Comparison
    per_task: Mapping[tuple[str, str], TaskScores]
    scores: tuple[Scores, ...]
    matched: Mapping[str, Mapping[str, Float[np.ndarray, " tasks"]]]
    noise_floor: float | None

    def of(self, optimizer: str) -> Scores:
        """The scores of one optimizer."""
        return next(one for one in self.scores if one.optimizer == optimizer)

    def rows(self, optimizer: str) -> list[TaskScores]:
        """The scores of `optimizer` on every task, in order."""
        return [self.per_task[optimizer, task.name] for task in self.comparison.tasks]


def judged(comparison: Comparison, records: Mapping[str, TaskRecord]) -> Judged:
    """Every score of every optimizer.

    Args:
        comparison: at one horizon.
        records: the archive's, by task.
    """
    per_task = {
        (one.name, task.name): task_scores(
            comparison, one.name, task, records.get(task.name)
        )
        for one in comparison.optimizers
        for task in comparison.tasks
    }
    found = [
        scores(
            comparison,
            one.name,
            [per_task[one.name, task.name] for task in comparison.tasks],
        )
        for one in comparison.optimizers
    ]
    floors = [
        noise_floor(records[t.name]) for t in comparison.tasks if t.name in records
    ]
    known = [floor for floor in floors if floor is not None]
    return Judged(
        comparison=comparison,
        per_task=per_task,
        scores=tuple(with_ranks(comparison, found)),
        matched={
            one.name: matched_trials(comparison, one.name, records)
            for one in comparison.entrants
        },
        noise_floor=float(np.mean(known)) if known else None,
    )

"""What a report cannot say of an entrant, and why."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from opt_gym import factory
from opt_gym.data.catalog import made_of
from opt_gym.judge.intervals import FEWEST_SEEDS
from opt_gym.report.archive_baselines import GLOBAL_ADAM
from opt_gym.report.verdict import Judged
from opt_gym.report.words_of_numbers import counted, interval, listed, plain_number
from opt_gym.report.words_of_seconds import outer_seconds

STAND_IN = GLOBAL_ADAM.replace("adam ", "Adam at ")
"""For the one-trial baseline."""


def limits_of(
    judged: Judged,
    entrant: str,
    stands_in: int,
    status: str,
    is_timed: bool,
    training: Mapping[str, Any],
) -> tuple[str, ...]:
    """Sentences.

    Args:
        judged: the scores.
        entrant: of whom.
        stands_in: tasks on which Adam at one rate stands for the one-trial baseline.
        status: of the suite.
        is_timed: whether its steps were timed.
        training: of the entrant, as its θ file says it.
    """
    return (
        *_tasks(judged, entrant, stands_in, status),
        *_seeds(judged, entrant, training),
        *_examples(judged, training),
        *_archive(judged, entrant),
        *_costs(is_timed, training),
    )


def _tasks(judged: Judged, entrant: str, stands_in: int, status: str) -> Iterator[str]:
    comparison, scores = judged.comparison, judged.of(entrant)
    total = counted(len(comparison.tasks), "task")
    if scores.num_failed:
        failed = [row.task for row in judged.rows(entrant) if row.error]
        yield (
            f"{scores.num_failed} of {total} gave no result ({listed(failed)}): they count "
            "as the worst there is, but in ratios of final losses, which leave them out."
        )
    if status == "development":
        yield (
            "The suite is for development: its tasks were looked at while things were "
            "designed, so this is no test."
        )
    if stands_in:
        yield (
            f"On {stands_in} of {total} the archive lacks the one-trial setting, and "
            f"{STAND_IN}, constant, stands for it."
        )
    if not comparison.primary:
        yield "The archive has no baseline for the primary score on these tasks."
    elif scores.primary and scores.primary.num_tasks < scores.num_tasks:
        yield (
            f"The primary score is of the {scores.primary.num_tasks} of {total} that the "
            "archive knows, too."
        )


def _seeds(judged: Judged, entrant: str, training: Mapping[str, Any]) -> Iterator[str]:
    seeds = [row.num_seeds for row in judged.rows(entrant) if not row.error]
    cost = judged.of(entrant).mean_cost
    if seeds and min(seeds) < FEWEST_SEEDS:
        yield (
            f"{counted(min(seeds), 'seed')} a task: no interval over seeds is given below "
            f"{FEWEST_SEEDS}."
        )
    elif cost is not None and np.isfinite(cost.low):
        yield (
            "Other seeds on these tasks, nothing else: mean normalized loss "
            f"{plain_number(cost.value)}{interval(cost).replace('+', '')}."
        )
    if training:
        yield "It is one outer-training: how another seed of it would do is not known."


def _examples(judged: Judged, training: Mapping[str, Any]) -> Iterator[str]:
    """Which examples it was trained on that a task shows it again."""
    listed_tasks = training.get("tasks")
    known = listed_tasks if isinstance(listed_tasks, list | tuple) else ()
    seen = {made_of(_dataset(task), "embedded") for task in known}
    tasks = judged.comparison.tasks
    again = Counter(t.examples for t in tasks if t.examples and t.examples in seen)
    if again:
        each = [f"{whose} on {count}" for whose, count in again.most_common()]
        yield (
            f"Of {counted(len(tasks), 'task')} {again.total()} show examples that it was "
            f"outer-trained on, with other networks: {listed(each)}."
        )


def _dataset(task: Any) -> str:
    """Of a task's name or config, as θ files have them; "none" where it cannot be made."""
    try:
        return factory.as_task(task).dataset
    except ValueError:  # a file from elsewhere, or of another version
        return "none"


def _archive(judged: Judged, entrant: str) -> Iterator[str]:
    comparison, scores = judged.comparison, judged.of(entrant)
    hindsight = [
        one.name
        for one in comparison.baselines
        if one.in_hindsight and judged.of(one.name).num_tasks
    ]
    if hindsight:
        floor, quoted = judged.noise_floor, [f"“{name}”" for name in hindsight]
        size = "" if floor is None else f", by about {plain_number(floor)} here"
        yield (
            f"Chosen in hindsight, on the scored runs: {listed(quoted)}. That alone makes "
            f"them look lower than they would be on fresh seeds{size}."
        )
    if scores.num_tasks and scores.speed_up is None:
        yield "No speed-up: the archive has no curves of Adam for these tasks."
    elif scores.num_tasks and scores.cosine_speed_up is None:
        yield (
            "A constant rate flatters whoever decays; the speed-up over cosine runs of other "
            "lengths is missing, because the archive lacks them."
        )


def _costs(is_timed: bool, training: Mapping[str, Any]) -> Iterator[str]:
    if not is_timed:
        yield "Steps were not timed."
    if training and outer_seconds(training) is None:
        yield "What its outer-training cost is not in its file."

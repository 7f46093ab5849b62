"""The scores of an entrant in a comparison: what docs/judging.md defines, put together."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from opt_gym.archive.task_records import Measured, TaskRecord
from opt_gym.judge import comparisons, intervals, speed
from opt_gym.judge.comparisons import WORSE, Paired
from opt_gym.judge.intervals import FEWEST_SEEDS, Interval
from opt_gym.judge.speed import NO_SPEED_UP, SpeedUp
from opt_gym.normalize import REFERENCE_HORIZON
from opt_gym.report.side_by_side import (
    Comparison,
    TaskInfo,
    at_best_validation,
)

COSINE_LENGTHS = (
    "adam_cosine_0.5x",
    "adam_cosine",
    "adam_cosine_2x",
    "adam_cosine_4x",
)


class TaskScores(NamedTuple):
    """An optimizer on a task, means over seeds; None where it cannot be said.

    Attributes:
        mean_cost, final_cost: normalized training loss, of the run and at its end.
        final_valid: the same of the validation loss.
        test_loss, accuracy: of the weights at the end.
        test_at_best_valid, step_of_best_valid: of those at the lowest validation loss.
        difference: of the mean cost, to the one-trial baseline.
        final_difference: of the final cost, to the best Adam with a cosine.
        log_ratio: log10 of the ratio of final losses to the same, where losses have a floor.
        improves: probability that a run ends lower than one of the same.
        speed_up, cosine_speed_up: Adam's steps to the final loss, over the entrant's.
        time_ratio: steps to the target, over the archive's own.
        diverged, num_seeds: runs.
        error: why there is nothing, but what a failure counts as.
    """

    task: str
    optimizer: str
    mean_cost: float | None = None
    final_cost: float | None = None
    final_valid: float | None = None
    test_loss: float | None = None
    accuracy: float | None = None
    test_at_best_valid: float | None = None
    step_of_best_valid: int | None = None
    difference: float | None = None
    final_difference: float | None = None
    log_ratio: float | None = None
    improves: float | None = None
    speed_up: SpeedUp | None = None
    cosine_speed_up: SpeedUp | None = None
    time_ratio: float | None = None
    diverged: int = 0
    num_seeds: int = 0
    error: str = ""


class Scores(NamedTuple):
    """An optimizer over the tasks of a comparison.

    Where it failed, its ℓ̃ counts as 2, its speed-up as 0, and it improves on nothing.

    Attributes:
        optimizer: its name.
        num_tasks, num_failed: with a result, and without.
        mean_cost, iqm_cost, worst: normalized loss over the run: mean and interquartile mean
            over tasks (intervals over seeds: *these tasks*) and the mean of the worst tenth.
        final_cost: of the last step, mean over tasks.
        primary: paired difference of the mean cost to the one-trial baseline.
        co_primary: of the final cost to the best Adam with a cosine.
        log_ratio, num_ratios: mean of log10 ratios, where losses have a floor.
        improves: probability of improvement, mean over tasks.
        rank: mean rank of the final loss among all optimizers.
        speed_up, shares, cosine_speed_up, cosine_shares: medians, and shares above 1, 2, 10.
        profile_area: of time to target.
        num_diverged, num_runs: runs.
        lost: tasks that are worse than the one-trial baseline by more than .1.
    """

    optimizer: str
    num_tasks: int
    num_failed: int
    mean_cost: Interval | None = None
    iqm_cost: Interval | None = None
    worst: float | None = None
    final_cost: float | None = None
    primary: Paired | None = None
    co_primary: Paired | None = None
    log_ratio: float | None = None
    num_ratios: int = 0
    improves: float | None = None
    rank: float | None = None
    speed_up: SpeedUp | None = None
    shares: tuple[float, ...] = ()
    cosine_speed_up: SpeedUp | None = None
    cosine_shares: tuple[float, ...] = ()
    profile_area: float | None = None
    num_diverged: int = 0
    num_runs: int = 0
    lost: tuple[str, ...] = ()


def task_scores(
    comparison: Comparison,
    optimizer: str,
    task: TaskInfo,
    record: TaskRecord | None,
) -> TaskScores:
    """Every number of one optimizer on one task.

    Args:
        comparison: all optimizers.
        optimizer: which.
        task: of the comparison.
        record: what the archive knows of it.
    """
    found = comparison.result(optimizer, task)
    if found is None:
        return _without_result(comparison, optimizer, task, record)
    costs = comparison.final_costs(optimizer, task)
    numbers = {
        "mean_cost": float(found.mean_cost.mean()),
        "final_cost": float(costs.mean()),
        "final_valid": _number(comparison.final_costs(optimizer, task, "valid").mean()),
        "test_loss": _number(found.final_losses[:, 2].mean()),
        "accuracy": _number(found.final_accuracy.mean()),
        "diverged": int(comparison.diverged(optimizer, task).sum()),
        "num_seeds": len(found.mean_cost),
    }
    best = at_best_validation(found)
    if best is not None:
        numbers["test_at_best_valid"] = _number(best.test_loss)
        numbers["step_of_best_valid"] = best.step
    scores = TaskScores(task.name, optimizer, **numbers)
    scores = scores._replace(**_beside_baselines(comparison, found, task, scores))
    return scores._replace(**_beside_archive(found, record))


def _without_result(
    comparison: Comparison, optimizer: str, task: TaskInfo, record: TaskRecord | None
) -> TaskScores:
    """What was not measured says nothing; a failure is as bad as can be."""
    if not comparison.failed(optimizer, task):
        return TaskScores(task.name, optimizer, error="not measured")
    one = comparison.result(comparison.primary, task)
    best = comparison.result(comparison.co_primary, task)
    (cost,) = comparison.mean_costs(optimizer, [task])
    found = TaskScores(
        task.name,
        optimizer,
        difference=None if one is None else float(cost.mean() - one.mean_cost.mean()),
        improves=None if best is None else 0.0,
        error=comparison.errors[optimizer, task.name],
    )
    if record is None:
        return found
    at_reference = comparison.horizon == REFERENCE_HORIZON
    return found._replace(
        speed_up=NO_SPEED_UP if _longest_curves(record) else None,
        cosine_speed_up=(
            NO_SPEED_UP if at_reference and _cosine_finals(record) else None
        ),
        time_ratio=np.inf if target_of(record) is not None else None,
    )


def _beside_baselines(
    comparison: Comparison, found: Measured, task: TaskInfo, scores: TaskScores
) -> dict[str, float | None]:
    one = comparison.result(comparison.primary, task)
    best = comparison.result(comparison.co_primary, task)
    numbers: dict[str, float | None] = {}
    if one is not None and scores.mean_cost is not None:
        numbers["difference"] = scores.mean_cost - float(one.mean_cost.mean())
    if best is not None and scores.final_cost is not None:
        theirs = comparison.final_costs(comparison.co_primary, task)
        numbers["final_difference"] = scores.final_cost - float(theirs.mean())
        mine, others = found.final_losses[:, 0], best.final_losses[:, 0]
        numbers["improves"] = comparisons.probability_of_improvement(mine, others)
        if task.has_floor and np.all(mine >= 0) and 0 < others.mean() < np.inf:
            numbers["log_ratio"] = comparisons.log_ratio(mine, others)
    return numbers


def _beside_archive(found: Measured, record: TaskRecord | None) -> dict[str, object]:
    """Speed-ups and time to target, by the curves of the archive's Adams."""
    if record is None or found.mean is None or found.inner_steps is None:
        return {}
    numbers: dict[str, object] = {}
    final = float(found.mean[0, -1])
    constant = _longest_curves(record)
    if constant:
        numbers["speed_up"] = speed_up(final, found.horizon, constant)
    finals = _cosine_finals(record)
    if finals and found.horizon == REFERENCE_HORIZON:
        numbers["cosine_speed_up"] = _cosine_speed_up(final, found.horizon, finals)
    numbers["time_ratio"] = _time_ratio(found, record)
    return numbers


def speed_up(final: float, horizon: int, curves: Sequence[Measured]) -> SpeedUp:
    """The greatest that any length of Adam's runs shows to be needed: see `judge.speed`.

    Runs of different lengths have different steps, so each length has its own envelope;
    Adam needs the fewest steps that one of them shows.
    """
    by_length: dict[int, list[Measured]] = {}
    for one in curves:
        by_length.setdefault(one.horizon, []).append(one)
    found = [
        speed.speed_up(
            final,
            horizon,
            group[0].inner_steps,  # type: ignore[arg-type]
            np.stack([one.mean[:1] for one in group]),  # type: ignore[index]
        )
        for group in by_length.values()
    ]
    reached = [one for one in found if not one.censored]
    return min(reached) if reached else max(found)


def _longest_curves(record: TaskRecord) -> list[Measured]:
    groups = (record.of_group("adam"), record.of_group("adam_10x"))
    return [one for group in groups for one in group.values() if one.mean is not None]


def _cosine_finals(record: TaskRecord) -> list[Measured]:
    """Runs of T/2, T, 2T and 4T; none where a length is missing."""
    groups = [record.of_group(name) for name in COSINE_LENGTHS]
    return [one for group in groups for one in group.values()] if all(groups) else []


def _cosine_speed_up(final: float, horizon: int, runs: Sequence[Measured]) -> SpeedUp:
    """The shortest cosine run that ends as low, over the horizon; a half may be less."""
    if not np.isfinite(final):
        return NO_SPEED_UP
    ends = [(one.horizon, float(np.mean(one.final_losses[:, 0]))) for one in runs]
    reached = [length for length, loss in ends if loss <= final]
    if reached:
        return SpeedUp(min(reached) / horizon, censored=False)
    return SpeedUp(max(length for length, _ in ends) / horizon, censored=True)


def _time_ratio(found: Measured, record: TaskRecord) -> float | None:
    """Steps to the target over the archive's: see docs/judging.md."""
    reference = target_of(record)
    if reference is None or found.mean is None or found.inner_steps is None:
        return None
    target, one = reference
    assert one.inner_steps is not None
    assert one.mean is not None
    return speed.time_ratio(
        target,
        (found.inner_steps, found.mean[:1]),
        (one.inner_steps, one.mean[:1]),
    )


def target_of(record: TaskRecord) -> tuple[float, Measured] | None:
    """(target, who sets it): the lowest smoothed loss at the end of 14 constant rates."""
    drawn = [one for one in record.of_group("adam").values() if one.mean is not None]
    ends = [float(one.mean[0, -1]) for one in drawn]  # type: ignore[index]
    ends = [end if np.isfinite(end) else np.inf for end in ends]
    if not ends or not np.isfinite(min(ends)):
        return None
    return min(ends), drawn[int(np.argmin(ends))]


def scores(
    comparison: Comparison, optimizer: str, per_task: Sequence[TaskScores]
) -> Scores:
    """An optimizer over all tasks on which it has a result."""
    tasks = comparison.common([optimizer])
    known = [one for one in per_task if not one.error]
    if not known:
        return Scores(optimizer, 0, len(comparison.tasks))
    costs = comparison.mean_costs(optimizer, tasks)
    means = np.array([cost.mean() for cost in costs])
    ups = [one.speed_up for one in per_task if one.speed_up is not None]
    cosine_ups = [
        one.cosine_speed_up for one in per_task if one.cosine_speed_up is not None
    ]
    ratios = [one.time_ratio for one in per_task if one.time_ratio is not None]
    logs = [one.log_ratio for one in known if one.log_ratio is not None]
    return Scores(
        optimizer=optimizer,
        num_tasks=len(known),
        num_failed=len(comparison.tasks) - len(known),
        mean_cost=_over_seeds(costs, np.mean),
        iqm_cost=_over_seeds(costs, intervals.interquartile_mean),
        worst=float(intervals.worst_tenth(means)),
        final_cost=_mean([comparison.final_costs(optimizer, t).mean() for t in tasks]),
        primary=_paired(comparison, optimizer, comparison.primary),
        co_primary=_paired(comparison, optimizer, comparison.co_primary, final=True),
        log_ratio=_mean(logs),
        num_ratios=len(logs),
        improves=_mean([one.improves for one in per_task]),
        speed_up=speed.median(ups) if ups else None,
        shares=tuple(speed.shares_above(ups)) if ups else (),
        cosine_speed_up=speed.median(cosine_ups) if cosine_ups else None,
        cosine_shares=tuple(speed.shares_above(cosine_ups)) if cosine_ups else (),
        profile_area=speed.profile_area(np.array(ratios)) if ratios else None,
        num_diverged=sum(one.diverged for one in known),
        num_runs=sum(one.num_seeds for one in known),
        lost=tuple(one.task for one in per_task if (one.difference or 0.0) > WORSE),
    )


def with_ranks(comparison: Comparison, found: Sequence[Scores]) -> list[Scores]:
    """The mean rank of the final training loss, on the tasks that all have."""
    names = [one.optimizer for one in found if one.num_tasks]
    tasks = comparison.common(names)
    if not names or not tasks:
        return list(found)
    losses = [
        [
            np.inf
            if comparison.failed(name, task)
            else comparison.results[name, task.name].final_losses[:, 0].mean()
            for task in tasks
        ]
        for name in names
    ]
    mean_ranks = dict(
        zip(names, comparisons.ranks(np.array(losses)).mean(axis=1), strict=True)
    )
    return [
        one._replace(rank=float(mean_ranks[one.optimizer]))
        if one.optimizer in mean_ranks
        else one
        for one in found
    ]


def _over_seeds(
    costs: Sequence[np.ndarray], statistic: intervals.Statistic
) -> Interval:
    """*These tasks*: no interval where a task has fewer seeds than one is made of."""
    fewest = min(map(len, costs))
    if fewest < FEWEST_SEEDS:
        value = float(statistic(np.array([cost.mean() for cost in costs]), axis=-1))
        return Interval(value, np.nan, np.nan)
    return intervals.these_tasks(np.stack([c[:fewest] for c in costs]), statistic)


def _paired(
    comparison: Comparison, optimizer: str, other: str, *, final: bool = False
) -> Paired | None:
    """None for the baseline itself, and where there are no tasks that both have."""
    if not other or optimizer == other:
        return None
    tasks = comparison.common([optimizer, other])
    if not tasks:
        return None

    def column(name: str) -> Float[np.ndarray, "tasks 1"]:
        if final:
            costs = [comparison.final_costs(name, task) for task in tasks]
        else:
            costs = comparison.mean_costs(name, tasks)
        return np.array([[cost.mean()] for cost in costs])

    return comparisons.paired(column(optimizer), column(other))


def _mean(numbers: Sequence[float | None]) -> float | None:
    """Of those that are known; None where none is."""
    known = [number for number in numbers if number is not None]
    return float(np.mean(known)) if known else None


def _number(value: float) -> float | None:
    """None for NaN: JSON has no such number."""
    return None if np.isnan(value) else float(value)

"""Optimizers side by side, on the same tasks and seeds: records and the tables to print."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from opt_gym.evaluation.runs import Runs
from opt_gym.judge import intervals
from opt_gym.judge.intervals import Interval
from opt_gym.plugins import unknown


class Summary(NamedTuple):
    """One optimizer over all tasks and seeds, at one horizon. Lower is better.

    Attributes:
        mean_cost: ℓ̃ averaged over inner steps, seeds and tasks; interval of *tasks like these*.
        iqm_cost: its interquartile mean over tasks; interval of *these tasks*, NaN where
            there are fewer than five seeds.
        final_cost: ℓ̃ of the objective after the last step.
        valid_loss, test_loss, accuracy: after the last step; a loss counts at most as much
            as ℓ̃ = 2 would.
        difference: mean_cost minus the reference's, paired by task; None for the reference.
        wins, num_tasks: tasks with a lower mean cost than the reference.
        seconds_per_step: mean over tasks.
        num_diverged, num_runs: runs with a loss or gradient that became non-finite.
        num_provisional: tasks whose normalizer was not measured.
    """

    optimizer: str
    horizon: int
    mean_cost: Interval
    iqm_cost: Interval
    final_cost: float
    valid_loss: float
    test_loss: float
    accuracy: float
    difference: Interval | None
    wins: int
    num_tasks: int
    seconds_per_step: float
    num_diverged: int
    num_runs: int
    num_provisional: int


def compare(runs: Sequence[Runs], reference: str | None = None) -> list[Summary]:
    """Summaries of all optimizers at all horizons, in the order they come.

    Args:
        runs: of every optimizer on the same tasks.
        reference: the optimizer that the others are compared with, if any.

    Raises:
        ValueError: an unknown reference, or optimizers that were run on other tasks.
    """
    groups = group(runs)
    names = list(dict.fromkeys(name for name, _ in groups))
    if reference is not None and reference not in names:
        raise ValueError(unknown("optimizer", reference, names))
    summaries = []
    for (name, horizon), own in groups.items():
        beside = None
        if reference is not None and name != reference:
            beside = groups.get((reference, horizon))
        summaries.append(_summary(name, horizon, own, beside))
    return summaries


def group(runs: Sequence[Runs]) -> dict[tuple[str, int], list[Runs]]:
    """Runs by (optimizer, horizon), every list with the same tasks in the same order.

    Raises:
        ValueError: no runs; an optimizer that misses a task or has one twice.
    """
    groups: dict[tuple[str, int], list[Runs]] = {}
    for run in runs:
        groups.setdefault((run.optimizer, run.horizon), []).append(run)
    if not groups:
        raise ValueError("no runs to compare")
    (first, expected), *_ = (
        (name, [run.task for run in own]) for name, own in groups.items()
    )
    for name, own in groups.items():
        tasks = [run.task for run in own]
        if sorted(tasks) != sorted(set(expected)):
            raise ValueError(
                f"{name[0]!r} was run on {sorted(tasks)}, but {first[0]!r} on "
                f"{sorted(expected)}"
            )
        own.sort(key=lambda run: expected.index(run.task))
    return groups


def mean_costs(own: Sequence[Runs]) -> Float[np.ndarray, "tasks seeds"]:
    """ℓ̃ averaged over inner steps, one row a task."""
    return np.stack([run.mean_cost for run in own])


def bounded(run: Runs, loss: np.ndarray) -> np.ndarray:
    """Losses that count at most as much as ℓ̃ = 2 would, finite always."""
    limit = run.normalizer.best + 2 * (run.normalizer.initial - run.normalizer.best)
    return np.where(np.isfinite(loss), np.minimum(loss, limit), limit)


def format_summaries(summaries: Sequence[Summary], reference: str = "") -> str:
    """The table of all optimizers, as text; under it, if ℓ̃ is not what it should be.

    Args:
        summaries: a row each, at least one; what `compare` gave.
        reference: the optimizer they were compared with, for the head; "" for none.
    """
    head = [
        "optimizer",
        "steps",
        "mean cost [95% over tasks]",
        "IQM [95% over seeds]",
        "final",
        "valid",
        "test",
        "accuracy",
        f"minus {reference} [95%]" if reference else "minus reference",
        "wins",
        "ms/step",
        "diverged",
    ]
    rows = [
        [
            s.optimizer,
            f"{s.horizon:,}",
            _with_interval(s.mean_cost),
            _with_interval(s.iqm_cost),
            f"{s.final_cost:.4f}",
            f"{s.valid_loss:.4g}",
            f"{s.test_loss:.4g}",
            "-" if np.isnan(s.accuracy) else f"{s.accuracy:.3f}",
            "-" if s.difference is None else _with_interval(s.difference, sign=True),
            "-" if s.difference is None else f"{s.wins} of {s.num_tasks}",
            f"{1e3 * s.seconds_per_step:.3f}",
            f"{s.num_diverged} of {s.num_runs}",
        ]
        for s in summaries
    ]
    note = provisional_note(summaries[0].num_provisional, summaries[0].num_tasks)
    return "\n".join(filter(None, [_aligned([head, *rows]), note]))


def provisional_note(count: int, num_tasks: int) -> str:
    """What to tell of normalizers that were not measured; "" where all were."""
    if not count:
        return ""
    return (
        f"{count} of {num_tasks} tasks have a provisional normalizer (1 at the initial loss, 0 "
        "at a lower bound that nothing may reach): `opt-gym normalize` measures it"
    )


def format_tasks(runs: Sequence[Runs], subject: str, horizon: int | None = None) -> str:
    """Mean cost per task, one column an optimizer, and which of them is the lowest.

    Args:
        runs: of every optimizer on the same tasks.
        subject: the optimizer of the first column.
        horizon: that of the runs to show; by default that of the first run.

    Raises:
        ValueError: an unknown subject, or a horizon that no run has.
    """
    groups = group(runs)
    if horizon is None:
        horizon = runs[0].horizon
    columns = {name: own for (name, h), own in groups.items() if h == horizon}
    if not columns:
        known = sorted({h for _, h in groups})
        raise ValueError(f"no run has horizon {horizon}, they have {known}")
    if subject not in columns:
        raise ValueError(unknown("optimizer", subject, list(columns)))
    others = [name for name in columns if name != subject]
    rows = [["task", subject, *others, "lowest"]]
    for i, run in enumerate(columns[subject]):
        costs = {
            name: float(columns[name][i].mean_cost.mean())
            for name in (subject, *others)
        }
        lowest = min(costs, key=lambda name: costs[name])
        numbers = [f"{cost:.4f}" for cost in costs.values()]
        rows.append([run.task, *numbers, lowest])
    return _aligned(rows)


def _summary(
    name: str, horizon: int, own: list[Runs], beside: list[Runs] | None
) -> Summary:
    costs = mean_costs(own)
    difference, wins = None, 0
    if beside is not None:
        off = costs.mean(axis=1) - mean_costs(beside).mean(axis=1)
        wins = int(np.sum(off < 0))
        difference = intervals.tasks_like_these(off)
    accuracies = [run.accuracy[:, -1].mean() for run in own]
    known = [accuracy for accuracy in accuracies if not np.isnan(accuracy)]
    return Summary(
        optimizer=name,
        horizon=horizon,
        mean_cost=intervals.tasks_like_these(costs.mean(axis=1)),
        iqm_cost=intervals.these_tasks(costs, intervals.interquartile_mean),
        final_cost=float(np.mean([run.costs[:, -1].mean() for run in own])),
        valid_loss=_final(own, "valid_loss"),
        test_loss=_final(own, "test_loss"),
        accuracy=float(np.mean(known)) if known else float("nan"),
        difference=difference,
        wins=wins,
        num_tasks=len(own),
        seconds_per_step=float(np.mean([run.seconds_per_step for run in own])),
        num_diverged=int(sum(run.diverged.sum() for run in own)),
        num_runs=costs.size,
        num_provisional=sum(run.normalizer.source == "provisional" for run in own),
    )


def _final(own: list[Runs], field: str) -> float:
    return float(np.mean([bounded(run, getattr(run, field)[:, -1]) for run in own]))


def _with_interval(interval: Interval, sign: bool = False) -> str:
    shape = "+.4f" if sign else ".4f"
    value, low, high = (format(number, shape) for number in interval)
    return value if np.isnan(interval.low) else f"{value} [{low}, {high}]"


def _aligned(rows: list[list[str]]) -> str:
    """Columns as wide as their widest entry; the first flush left, the rest flush right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [
            cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)

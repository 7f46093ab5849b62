"""Every number of a report as CSV: a row an optimizer and task, a row an optimizer, curves.

Cells are empty where something cannot be said, and "inf" where a loss was not finite.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from opt_gym.archive.task_records import SPLITS, TaskRecord
from opt_gym.judge.comparisons import Paired
from opt_gym.judge.intervals import Interval
from opt_gym.judge.speed import SpeedUp
from opt_gym.report.matched import matched_by_task
from opt_gym.report.running import Timing
from opt_gym.report.scoring import Scores, TaskScores
from opt_gym.report.verdict import Judged
from opt_gym.runtime.files import write_table

Row = dict[str, Any]
"""Cells by column."""

_EMPTY: dict[str, Any] = {
    "interval": Interval(np.nan, np.nan, np.nan),
    "speed": SpeedUp(np.nan, censored=False),
}
_SHARES = ("above_1", "above_2", "above_10")
_INTERVALS = ("mean_cost", "iqm_cost")
_SPEEDS = ("speed_up", "cosine_speed_up")


class Table(NamedTuple):
    """Rows that become a file."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def tables(
    all_judged: Sequence[Judged],
    records: Mapping[str, TaskRecord],
    timings: Mapping[tuple[str, str], Timing],
) -> list[Table]:
    """tasks, scores, curves, matched and timings.

    Args:
        all_judged: one a horizon.
        records: the archive's, by task.
        timings: by (entrant, task).
    """
    found = {
        "tasks": [row for one in all_judged for row in task_rows(one)],
        "scores": [row for one in all_judged for row in score_rows(one)],
        "curves": [row for one in all_judged for row in _curve_rows(one)],
        "matched": [row for one in all_judged for row in _matched_rows(one, records)],
        "timings": [timing_row(one) for one in timings.values()],
    }
    columns = {
        "matched": ("horizon", "entrant", "baseline", "task", "improvement"),
        "timings": tuple(timing_row(Timing("", "", 1.0, 1.0, 0.0, 0.0))),
    }
    return [
        Table(name, columns.get(name) or tuple(rows[0] if rows else ()), tuple(rows))
        for name, rows in found.items()
    ]


def write_tables(folder: Path, made: Iterable[Table]) -> list[Path]:
    """Writes NAME.csv of each, atomically; returns the files."""
    return [
        write_table(
            folder / f"{table.name}.csv",
            table.columns,
            ([_cell(row[column]) for column in table.columns] for row in table.rows),
        )
        for table in made
    ]


def task_rows(judged: Judged) -> list[Row]:
    """A row an optimizer and task."""
    comparison = judged.comparison
    rows = []
    for one in comparison.optimizers:
        for task in comparison.tasks:
            about = {
                "horizon": comparison.horizon,
                "optimizer": one.name,
                "is_entrant": one.is_entrant,
                "in_hindsight": one.in_hindsight,
                "task": task.name,
                "part": task.part,
                "family": task.family,
                "num_weights": task.num_weights,
                "batch_size": task.batch_size,
            }
            rows.append({**about, **_flat(judged.per_task[one.name, task.name])})
    return rows


def score_rows(judged: Judged) -> list[Row]:
    """A row an optimizer; *_low and *_high are 95 % intervals, docs/judging.md says of what."""
    comparison = judged.comparison
    return [
        {
            "horizon": comparison.horizon,
            "optimizer": one.name,
            "is_entrant": one.is_entrant,
            "in_hindsight": one.in_hindsight,
            "about": one.about,
            **_flat(judged.of(one.name)),
        }
        for one in comparison.optimizers
    ]


def timing_row(timing: Timing) -> Row:
    """With the ratio of both times."""
    return {
        "optimizer": timing.entrant,
        "task": timing.task,
        "seconds_a_step": timing.seconds,
        "adamw_seconds_a_step": timing.adamw,
        "times_adamw": timing.seconds / timing.adamw,
        "state_bytes_a_weight": timing.state_bytes,
        "adamw_state_bytes_a_weight": timing.adamw_bytes,
    }


def _curve_rows(judged: Judged) -> Iterator[Row]:
    comparison = judged.comparison
    for (name, task), found in comparison.results.items():
        if found.inner_steps is None or found.mean is None or found.spread is None:
            continue
        for place, step in enumerate(found.inner_steps):
            row: Row = {
                "horizon": comparison.horizon,
                "optimizer": name,
                "task": task,
                "inner_step": int(step),
            }
            for split, mean, spread in zip(
                SPLITS, found.mean, found.spread, strict=True
            ):
                row[f"{split}_mean"] = mean[place]
                row[f"{split}_spread"] = spread[place]
            yield row


def _matched_rows(judged: Judged, records: Mapping[str, TaskRecord]) -> Iterator[Row]:
    comparison = judged.comparison
    for one in comparison.entrants:
        rows = matched_by_task(comparison, one.name, records)
        for title, row in rows.items():
            for task, improvement in row.items():
                yield {
                    "horizon": comparison.horizon,
                    "entrant": one.name,
                    "baseline": title,
                    "task": task,
                    "improvement": improvement,
                }


def _flat(scores: TaskScores | Scores) -> Row:
    """Scores with a column a number; the same columns whatever is known."""
    row: Row = {}
    for field, value in scores._asdict().items():
        if field in ("task", "optimizer"):
            continue
        if field in _INTERVALS and isinstance(scores, Scores):
            row |= _interval(field, value)
        elif field in _SPEEDS:
            factor, censored = value or _EMPTY["speed"]
            row |= {field: factor, f"{field}_is_a_bound": value and censored}
        elif field in ("primary", "co_primary"):
            row |= _paired(field, value)
        elif field in ("shares", "cosine_shares"):
            known = value or (None,) * len(_SHARES)
            prefix = field.removesuffix("shares") + "speed_up"
            row |= {f"{prefix}_{s}": x for s, x in zip(_SHARES, known, strict=True)}
        elif field == "lost":
            row[field] = " ".join(value)
        else:
            row[field] = value
    return row


def _interval(field: str, value: Interval | None) -> Row:
    given = value or _EMPTY["interval"]
    return {field: given.value, f"{field}_low": given.low, f"{field}_high": given.high}


def _paired(field: str, value: Paired | None) -> Row:
    row = {
        **_interval(f"{field}_mean", value and value.mean),
        **_interval(f"{field}_iqm", value and value.iqm),
    }
    for name in ("worst", "p_value", "wins", "losses", "num_tasks"):
        row[f"{field}_{name}"] = None if value is None else getattr(value, name)
    return row


def _cell(value: Any) -> Any:
    """As a CSV file has it: nothing for None and NaN, yes and no as 1 and 0."""
    if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
        return ""
    if isinstance(value, bool | np.bool_):
        return int(value)
    return float(value) if isinstance(value, np.floating) else value

"""The tables of the page: cells with what they are sorted by."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from opt_gym.judge.intervals import Interval
from opt_gym.judge.speed import SpeedUp
from opt_gym.report.scoring import Scores, TaskScores
from opt_gym.report.side_by_side import Comparison, Optimizer, TaskInfo
from opt_gym.report.verdict import Judged
from opt_gym.report.words_of_numbers import interval, p_value, plain_number, signed

LAST = "1e308"
"""What is not known is sorted behind every number."""


class Cell(NamedTuple):
    """Text, what it is sorted by, and small text after it; a number stands right."""

    text: str
    order: str = ""
    small: str = ""
    is_number: bool = False


class TableOfPage(NamedTuple):
    """A table: (words, explanation) of columns, and rows of as many cells."""

    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[Cell, ...], ...]


_SCORES = (
    ("optimizer", "† its setting was chosen in hindsight"),
    ("tasks", "with a result, of all"),
    ("mean", "normalized loss over a run; [these tasks]"),
    ("IQM", "interquartile mean over tasks; [these tasks]"),
    ("worst tenth", "mean of the worst tenth of tasks"),
    (
        "Δ primary",
        "mean over a run, minus the primary baseline's; [tasks like these]",
    ),
    ("p", "sign flip of the primary difference"),
    ("lost", "tasks worse than the primary baseline by more than 0.1"),
    ("final", "normalized loss after the last step"),
    ("Δ final", "minus the co-primary baseline's; [tasks like these]"),
    ("improves", "probability to end lower than the co-primary baseline"),
    ("rank", "of the final loss, mean over tasks that all have"),
    ("speed-up", "median; steps of Adam at its best rate, over its own"),
    ("area", "of the performance profile, 1x to 4x"),
    ("diverged", "runs, of all"),
)

_TASKS = (
    ("task", ""),
    ("entrant", ""),
    ("mean", "normalized loss over a run"),
    ("Δ primary", "mean, minus the primary baseline's"),
    ("final", "normalized loss after the last step"),
    ("Δ final", "minus the co-primary baseline's"),
    ("test loss", "of the weights at the end"),
    ("test at best valid", "loss of the weights at the best validation loss"),
    ("accuracy", "at the end"),
    ("speed-up", "steps of Adam at its best rate, over its own"),
    ("time", "steps to the target, over the reference's"),
    ("diverged", "seeds, of all"),
    ("part", "list of the suite"),
    ("family", ""),
    ("weights", "of the network"),
)


def score_table(judged: Judged) -> TableOfPage:
    """A row an optimizer."""
    comparison = judged.comparison
    rows = [
        _score_row(comparison, one, judged.of(one.name))
        for one in comparison.optimizers
    ]
    return _without_empty(TableOfPage(_SCORES, tuple(rows)))


def task_table(judged: Judged) -> TableOfPage:
    """A row an entrant and task; one that failed, too."""
    comparison = judged.comparison
    rows = [
        _task_row(task, judged.per_task[one.name, task.name])
        for one in comparison.entrants
        for task in comparison.tasks
    ]
    return _without_empty(
        TableOfPage(_TASKS, tuple(rows)), ("entrant", "part", "family")
    )


def _score_row(
    comparison: Comparison, one: Optimizer, scores: Scores
) -> tuple[Cell, ...]:
    primary, final = scores.primary, scores.co_primary
    lost = None if not comparison.primary or primary is None else len(scores.lost)
    return (
        Cell(f"{one.name}{' †' * one.in_hindsight}", small=one.about),
        _count(scores.num_tasks, len(comparison.tasks)),
        _interval_cell(scores.mean_cost),
        _interval_cell(scores.iqm_cost),
        _number(scores.worst),
        _interval_cell(primary and primary.mean, with_sign=True),
        _p_value(primary and primary.p_value),
        Cell("–", LAST, is_number=True) if lost is None else _whole(lost),
        _number(scores.final_cost),
        _interval_cell(final and final.mean, with_sign=True),
        _number(scores.improves),
        _number(scores.rank),
        _speed(scores.speed_up),
        _number(scores.profile_area),
        _count(scores.num_diverged, scores.num_runs),
    )


def _task_row(task: TaskInfo, scores: TaskScores) -> tuple[Cell, ...]:
    return (
        Cell(task.name, small=_why(scores.error)),
        Cell(scores.optimizer),
        _number(scores.mean_cost),
        _number(scores.difference, with_sign=True),
        _number(scores.final_cost),
        _number(scores.final_difference, with_sign=True),
        _number(scores.test_loss),
        _number(scores.test_at_best_valid),
        _number(scores.accuracy),
        _speed(scores.speed_up),
        _number(scores.time_ratio),
        _count(scores.diverged, scores.num_seeds),
        Cell(task.part),
        Cell(task.family),
        _whole(task.num_weights),
    )


def _number(value: float | None, *, with_sign: bool = False) -> Cell:
    if value is None or np.isnan(value):
        return Cell("–", LAST, is_number=True)
    order = f"{value:.9g}" if np.isfinite(value) else LAST
    text = signed(value) if with_sign else plain_number(value)
    return Cell(text, order, is_number=True)


def _interval_cell(value: Interval | None, *, with_sign: bool = False) -> Cell:
    if value is None:
        return Cell("–", LAST, is_number=True)
    small = interval(value).strip()
    if not with_sign:
        small = small.replace("+", "")
    return _number(value.value, with_sign=with_sign)._replace(small=small)


def _speed(value: SpeedUp | None) -> Cell:
    if value is None:
        return Cell("–", LAST, is_number=True)
    more = ">" if value.censored else ""
    return Cell(f"{more}{value.factor:.2g}x", f"{value.factor:.9g}", is_number=True)


def _count(number: int, of: int) -> Cell:
    return Cell(f"{number} / {of}", str(number), is_number=True)


def _p_value(value: float | None) -> Cell:
    if value is None:
        return Cell("–", LAST, is_number=True)
    text = p_value(value).removeprefix("p ").removeprefix("= ")
    return Cell(text, f"{value:.9g}", is_number=True)


def _whole(number: int) -> Cell:
    return Cell(f"{number:,}", str(number), is_number=True)


def _why(error: str) -> str:
    """There is no result: the last line of what was said."""
    lines = error.strip().splitlines()
    return f"no result: {lines[-1][:200]}" if lines else ""


def _without_empty(table: TableOfPage, about: Sequence[str] = ()) -> TableOfPage:
    """Without columns in which nothing is known, or of `about` all is the same."""
    kept = []
    for place, (name, _) in enumerate(table.columns):
        words = {row[place].text for row in table.rows}
        if words - {"", "–"} and (name not in about or len(words) > 1):
            kept.append(place)

    def only(cells: Sequence) -> tuple:
        return tuple(cells[place] for place in kept)

    return TableOfPage(only(table.columns), tuple(only(row) for row in table.rows))

"""Improvement at matched trials: the talk's picture of violins, a row a baseline.

Source: Metz, talk on learned optimizers at the Institute for Advanced Study (2019).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from opt_gym.archive.task_records import TaskRecord
from opt_gym.report.archive_baselines import GLOBAL_ADAM
from opt_gym.report.side_by_side import Comparison


def matched_trials(
    comparison: Comparison, entrant: str, records: Mapping[str, TaskRecord]
) -> dict[str, Float[np.ndarray, " tasks"]]:
    """The talk's nine rows: a baseline's mean cost minus the entrant's, above 0 is better.

    A row has the tasks for which the archive knows it; none where it knows nothing.
    """
    rows = matched_by_task(comparison, entrant, records)
    return {title: np.array(list(row.values())) for title, row in rows.items()}


def matched_by_task(
    comparison: Comparison, entrant: str, records: Mapping[str, TaskRecord]
) -> dict[str, dict[str, float]]:
    """The same by title of the row and name of the task."""
    tasks = comparison.common([entrant])
    rows: dict[str, dict[str, float]] = {title: {} for title in _ROWS}
    for task, cost in zip(tasks, comparison.mean_costs(entrant, tasks), strict=True):
        record = records.get(task.name)
        for title, of in _ROWS.items():
            theirs = None if record is None else of(record)
            if theirs is not None:
                rows[title][task.name] = theirs - float(cost.mean())
    return rows


def _setting(name: str, record: TaskRecord) -> float | None:
    found = record.measured.get(name)
    return None if found is None else float(found.mean_cost.mean())


def _best_rate(record: TaskRecord) -> float | None:
    costs = [float(one.mean_cost.mean()) for one in record.of_group("adam").values()]
    return min(costs, default=None)


def _average_trial(space: str, record: TaskRecord) -> float | None:
    trials = record.trials.get(space)
    return None if trials is None else float(trials[:, 0].mean())


def _best_trial(spaces: Sequence[str], count: int, record: TaskRecord) -> float | None:
    found = [record.trials.get(space) for space in spaces]
    costs = [trials[:count, 0] for trials in found if trials is not None]
    if len(costs) < len(spaces) or any(len(cost) < count for cost in costs):
        return None
    return float(np.concatenate(costs).min())


_ROWS = {
    "one Adam rate for all": lambda record: _setting(GLOBAL_ADAM, record),
    "one trial of Adam8p": lambda record: _average_trial("adam8p_wide_grid", record),
    "one trial of NAdamW": lambda record: _average_trial("nadamw_grid", record),
    "Adam's rate per task (14)": _best_rate,
    "Adam8p per task (10)": lambda record: _best_trial(
        ["adam8p_wide_grid"], 10, record
    ),
    "OptList per task (10)": lambda record: _best_trial(["opt_list"], 10, record),
    "OptList per task (1,000)": lambda record: _best_trial(["opt_list"], 1000, record),
    "Adam8p per task (1,000)": lambda record: _best_trial(
        ["adam8p_wide_grid"], 1000, record
    ),
    "both per task (2,000)": lambda record: _best_trial(
        ["opt_list", "adam8p_wide_grid"], 1000, record
    ),
}

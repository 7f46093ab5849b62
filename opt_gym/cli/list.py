"""`opt-gym list`: names of everything there is. Imports no JAX, but for formats and suites."""

import sys
from typing import Annotated, Literal

import tyro

from envs_registry import names
from envs_registry.benchmark_sets import BENCHMARK_SETS
from opt_gym import plugins
from opt_gym.task_statistics import statistics_table

Kind = Literal[
    "tasks",
    "sets",
    "suites",
    "architectures",
    "trainers",
    "features",
    "actions",
    "formats",
]
_PLUGINS = {
    "architectures": "architecture",
    "trainers": "trainer",
    "features": "features",
    "actions": "action",
}


def list_names(
    kind: Annotated[Kind, tyro.conf.Positional] = "tasks",
    family: str | None = None,
    contains: str = "",
    min_params: int | None = None,
    max_params: int | None = None,
    dataset: str | None = None,
    max_seconds: float | None = None,
) -> int:
    """Lists what there is, one name a line.

    Try:
      opt-gym list                        every environment id
      opt-gym list --family conv_pooling --contains seed1
      opt-gym list --max-params 10000 --max-seconds 30     small and quick ones
      opt-gym list --dataset cifar --min-params 100000
      opt-gym list architectures          learned and hand-designed optimizers
      opt-gym list sets                   frozen lists of tasks
      opt-gym list suites                 what `opt-gym report` judges on
      opt-gym list formats                what `opt-gym import` reads

    Args:
        kind: what to list; "tasks" prints Gymnasium ids, "sets" frozen lists of tasks,
            "suites" the judge's, "formats" the kinds of published θ that can be imported.
        family: only the tasks of this family, its named ones included.
        contains: only names with this text.
        min_params: only tasks with so many parameters at least.
        max_params: only tasks with so many parameters at most.
        dataset: only tasks whose data set has this text in its name ("none": synthetic).
        max_seconds: only tasks that take so many seconds per 10,000 inner steps at most,
            on one core of the machine that measured the table (see `opt-gym stats`).
    """
    if family is not None and family not in names.families():
        raise ValueError(plugins.unknown("task family", family, names.families()))
    if kind == "tasks":
        tasks = names.task_names()
        if family is not None:
            tasks = [task for task in tasks if names.family_of(task) == family]
        tasks = _measured(tasks, min_params, max_params, dataset, max_seconds)
        lines = [names.env_id(task) for task in tasks]
    elif kind == "sets":
        lines = [
            f"{name}  {len(tasks)} tasks: {tasks[0]} ... {tasks[-1]}"
            for name, tasks in BENCHMARK_SETS.items()
        ]
    elif kind == "suites":
        from envs_registry.judge_suites import SUITES

        lines = [
            f"{name}  {suite.status}: {suite.about}" for name, suite in SUITES.items()
        ]
    elif kind == "formats":
        from learned.published.published_formats import FORMATS

        lines = [f"{name}  {form.title}" for name, form in FORMATS.items()]
    else:
        lines = plugins.names(_PLUGINS[kind])
    lines = [line for line in lines if contains in line]
    for line in lines:
        print(line)
    if not lines:
        print(f"no {kind} match", file=sys.stderr)
    return 0


def _measured(
    tasks: list[str],
    min_params: int | None,
    max_params: int | None,
    dataset: str | None,
    max_seconds: float | None,
) -> list[str]:
    """Those that the table of statistics says are within the bounds; all without bounds."""
    if (min_params, max_params, dataset, max_seconds) == (None,) * 4:
        return tasks
    table = statistics_table.known_rows(names.STATISTICS_TABLE)
    rows = {task: statistics_table.find(table, task) for task in tasks}
    unknown = [task for task, row in rows.items() if row is None]
    if unknown:
        print(
            f"{len(unknown)} of {len(tasks)} tasks are left out: not measured "
            f"({unknown[0]}{', ...' if unknown[1:] else ''})",
            file=sys.stderr,
        )

    def within(row: statistics_table.Row) -> bool:
        size, seconds = row.num_params, row.seconds_per_10k_steps
        return (
            (min_params is None or (size is not None and size >= min_params))
            and (max_params is None or (size is not None and size <= max_params))
            and (dataset is None or dataset in row.dataset)
            and (
                max_seconds is None or (seconds is not None and seconds <= max_seconds)
            )
        )

    return [task for task, row in rows.items() if row is not None and within(row)]

"""`opt-gym stats`: what every task is and costs, measured; the summary and the picture."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from envs_registry import names
from opt_gym.task_statistics import statistics_table


def stats(
    tasks: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
    table: Path | None = None,
    workers: int = 1,
    limit: float = 300.0,
    memory: float = 6.0,
    again: bool = False,
    data: Literal["auto", "embedded", "tfds"] = "embedded",
    summary: bool = False,
    markdown: bool = False,
    plots: Path | None = None,
) -> int:
    """Measures number of parameters and seconds per 10,000 inner steps of every task.

    A task is built, its training step compiled, and stepped 10 times with Adam at 0.001 on
    fresh batches; more steps are timed where they are short. A row of the table is written
    as a task ends, and tasks that have one are skipped, so it can be interrupted and
    repeated. A task that fails, dies or takes too long has a row that says so. All 1,299
    tasks of TaskSet take about half an hour with 2 workers on 2 cores.

    Try:
      opt-gym stats --workers 2                       all of TaskSet
      opt-gym stats mlp_family_seed3 quadratic_family_seed0 --table mine.csv
      opt-gym stats --summary                         of the table that comes with opt-gym
      opt-gym stats --summary --markdown > statistics.md
      opt-gym stats --plots statistics.png --table mine.csv

    Args:
        tasks: names, ids, frozen lists or .json files; by default all of TaskSet.
        table: the CSV file to write; by default statistics.csv in your cache folder. With
            --summary or --plots: to read, by default the one that comes with opt-gym.
        workers: processes, each on a core of its own.
        limit: seconds for one task.
        memory: GiB for one worker (where the system is Linux).
        again: measure the tasks again whose row has an error.
        data: where data sets come from.
        summary: measure nothing, print the summary of the table.
        markdown: the summary as a page in Markdown.
        plots: measure nothing, draw the table's two histograms into this PNG.
    """
    if summary or markdown or plots is not None:
        _report(table or names.STATISTICS_TABLE, summary or markdown, markdown, plots)
        return 0
    path = table or statistics_table.user_table()
    jobs = _jobs(tasks, data)
    known = statistics_table.read_table(path)
    done = {name for name, row in known.items() if not (again and row.error)}
    waiting = [job for job in jobs if job[0] not in done]
    _measure(path, waiting, len(jobs), workers, limit, memory)
    names_of_jobs = [name for name, _, _ in jobs]
    rows = statistics_table.put_first(path, names_of_jobs)
    print(
        statistics_table.format_summary(
            rows[name] for name in names_of_jobs if name in rows
        )
    )
    print(f"\n{path} has the rows")
    return 0


def _measure(
    path: Path,
    waiting: list[tuple],
    total: int,
    workers: int,
    limit: float,
    memory: float,
) -> None:
    from tqdm import tqdm

    from opt_gym.runtime.worker_processes import run_jobs

    function = "opt_gym.task_statistics.measurement:measure_job"
    outcomes = run_jobs(function, waiting, workers=workers, limit=limit, memory=memory)
    with tqdm(
        outcomes, initial=total - len(waiting), total=total, unit="task", smoothing=0.02
    ) as bar:
        for outcome in bar:
            row = outcome.result or statistics_table.Row(outcome.job[0])
            row = row._replace(error=row.error or outcome.error)
            statistics_table.append_row(path, row)
            bar.set_postfix_str(row.name)
            if row.error:
                bar.write(f"opt-gym: {row.name}: {row.error}", file=sys.stderr)


def _jobs(tasks: Sequence[str], data: str) -> list[tuple]:
    """(name, config or None, source) of everything to measure."""
    if not tasks:
        return [(name, None, data) for name in names.published_tasks()]
    from opt_gym.cli._tasks import expand

    return [
        (name, chosen if isinstance(chosen, dict) else None, data)
        for name, chosen in expand(tasks).items()
    ]


def _report(path: Path, summary: bool, markdown: bool, plots: Path | None) -> None:
    rows = statistics_table.read_table(path)
    if not rows:
        raise ValueError(f"{path} has no rows; `opt-gym stats` measures them")
    if summary:
        page = statistics_table.format_page(rows) if markdown else None
        print(
            page or statistics_table.format_summary(rows.values()),
            end="" if page else "\n",
        )
    if plots is not None:
        from opt_gym.task_statistics.pictures import plot_set

        print(f"wrote {plot_set(plots, rows.values())}", file=sys.stderr)

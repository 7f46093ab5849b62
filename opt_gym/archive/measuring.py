"""Measures what an archive lacks, one group of settings on one task at a time."""

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from opt_gym import factory, normalize
from opt_gym.archive import archive_files
from opt_gym.archive.groups import GROUPS, REFERENCE, Group
from opt_gym.archive.task_records import (
    NEUTRAL,
    Measured,
    TaskRecord,
    judges_normalizer,
    longer_of,
    measured,
    write_record,
)
from opt_gym.data.digest import digest_data
from opt_gym.evaluation.baselines import stacked_theta
from opt_gym.evaluation.evaluations import run_all
from opt_gym.evaluation.jobs import EvaluationJob
from opt_gym.evaluation.runs import EvaluationSettings, Runs
from opt_gym.normalize import REFERENCE_HORIZON
from opt_gym.records import Config, Normalizer
from opt_gym.runtime import strategy, worker_processes

PACKAGES = ("opt-gym", "jax", "jaxlib", "numpy", "optax")

NUM_POINTS = 50
"""Of a curve, log-spaced."""

_FUNCTION = "opt_gym.archive.measuring:measure_job"


class GroupJob(NamedTuple):
    """One group on one task.

    Attributes:
        group: its name.
        task: name, and config where it is not that behind the name.
        config, source: the config (or None) and where its data come from.
        record: what is known of the task already.
        until: the time (seconds since 1970) after which it is not begun.
    """

    group: str
    task: str
    config: Config | None
    source: str
    record: TaskRecord
    until: float


class Found(NamedTuple):
    """What a job found: settings or trials, and what is written down of the measurement."""

    settings: dict[str, Measured]
    trials: dict[str, np.ndarray]
    about: dict[str, Any]


class Progress(NamedTuple):
    """What came of a job: what went wrong ("" if nothing), and how many are done."""

    group: str
    task: str
    error: str
    done: int
    of: int


def archive_settings(group: Group, source: str) -> EvaluationSettings:
    """How every run of a group is made."""
    return EvaluationSettings(
        horizon=round(group.factor * REFERENCE_HORIZON),
        num_seeds=group.num_seeds,
        num_points=NUM_POINTS if group.curves else 2,
        data=source,
        normalizer=NEUTRAL,
        timed=False,
    )


def empty_record(name: str, config: Config | None, source: str) -> TaskRecord:
    """Of a task that nothing is known of."""
    task = factory.as_task(config or name)
    digest = digest_data(task.load_data(source))
    return TaskRecord(name, normalize.digest_config(task.config), digest)


def measure_job(job: GroupJob, report: Any = None) -> Found | None:
    """Runs a group on a task, for a worker process; None where there is no time left."""
    if time.time() > job.until:
        return None
    strategy.use_compilation_cache()
    began = time.monotonic()
    group = GROUPS[job.group]
    runs = runs_of(group, job)
    normalizer = _normalizer(group, job, runs)
    settings = {r.optimizer: measured(r, normalizer, curves=group.curves) for r in runs}
    jax.clear_caches()
    strategy.trim_memory()
    about = {
        "seconds": round(time.monotonic() - began, 1),
        "date": date.today().isoformat(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
    }
    if group.space:
        return Found({}, {group.space: _trials(settings)}, about)
    return Found(settings, {}, about)


def _trials(settings: dict[str, Measured]) -> np.ndarray:
    """[trials, 3]: mean cost, final train and valid loss."""
    return np.array(
        [[one.mean_cost[0], *one.final_losses[0, :2]] for one in settings.values()]
    )


def _normalizer(group: Group, job: GroupJob, runs: Sequence[Runs]) -> Normalizer:
    """The judge's, which the reference group makes; for who does without it, the table's."""
    if group.name == REFERENCE:
        curves = {run.optimizer: measured(run, NEUTRAL, curves=True) for run in runs}
        return judges_normalizer(curves)
    if group.needs_reference:
        return judges_normalizer(job.record.of_group(REFERENCE))
    task = factory.as_task(job.config or job.task)
    return normalize.lookup(task, "train", job.source)


def runs_of(group: Group, job: GroupJob) -> list[Runs]:
    """The runs of all settings of a group; `optimizer` is the setting's name."""
    optimizer, thetas = group.optimizer(), group.thetas(job.record)
    theta = stacked_theta(optimizer, list(thetas.values()))
    task = job.config or job.task
    evaluation = EvaluationJob(job.task, task, optimizer, theta, tuple(thetas))
    return run_all([evaluation], archive_settings(group, job.source))


def measure(
    tasks: Mapping[str, Config | None],
    groups: Sequence[str],
    folder: Path,
    *,
    known: Sequence[Path] = (),
    source: str = "auto",
    workers: int = 0,
    limit: float | None = None,
    seconds: float = np.inf,
) -> Iterator[Progress]:
    """Measures what is missing, and says what came of every job.

    Groups in order; of each, the tasks that took least in the groups before come first. What
    a job found is written when it ends, so it can be interrupted and repeated.

    Args:
        tasks: config by name; None where it is that behind the name.
        groups: names.
        folder: of the archive.
        known: other folders, what these have is not measured again.
        source: of the data.
        workers, limit: see `worker_processes.run_jobs`.
        seconds: no job begins after so many.
    """
    until = time.time() + seconds
    for group in groups:
        jobs = _missing(tasks, group, [folder, *known], source, until)
        outcomes = worker_processes.run_jobs(
            _FUNCTION, jobs, workers=workers, limit=limit
        )
        for done, outcome in enumerate(outcomes):
            error = outcome.error
            if not error and outcome.result is None:
                error = "no time was left"
            elif not error:
                _keep(folder, outcome.job, outcome.result)
            yield Progress(group, outcome.job.task, error, done + 1, len(jobs))


def _missing(
    tasks: Mapping[str, Config | None],
    group: str,
    folders: Sequence[Path],
    source: str,
    until: float,
) -> list[GroupJob]:
    """The jobs of a group that the folders have nothing of, the quickest first."""
    jobs = []
    for name, config in tasks.items():
        record = empty_record(name, config, source)
        known = archive_files.find(record, folders) or record
        needed = GROUPS[group].needs_reference and group != REFERENCE
        ready = not needed or REFERENCE in known.groups
        if group not in known.groups and ready and GROUPS[group].thetas(known):
            jobs.append(GroupJob(group, name, config, source, known, until))
    return sorted(jobs, key=lambda job: _seconds(job.record))


def _seconds(record: TaskRecord) -> float:
    return sum(about["seconds"] for about in record.groups.values())


def _keep(folder: Path, job: GroupJob, found: Found) -> None:
    """Adds what a job found to the task's file."""
    known = archive_files.find(job.record, [folder]) or job.record
    record = known._replace(
        measured={**known.measured, **found.settings},
        trials=longer_of(known.trials, found.trials),
        groups={**known.groups, job.group: found.about},
    )
    write_record(folder, record)

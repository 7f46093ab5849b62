"""From a suite and entrants to comparisons: what the archive knows, and what is run."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from opt_gym import factory, normalize, plugins
from opt_gym.archive import archive_files
from opt_gym.archive.measuring import empty_record
from opt_gym.archive.task_records import Measured, TaskRecord, judges_normalizer
from opt_gym.data.catalog import made_of
from opt_gym.env import num_weights
from opt_gym.normalize import REFERENCE_HORIZON
from opt_gym.records import Normalizer, Task
from opt_gym.report import archive_baselines, running
from opt_gym.report.entrants import Entrant
from opt_gym.report.running import EntrantJob, Finished, RunSettings, Timing, TimingJob
from opt_gym.report.side_by_side import Comparison, Optimizer, TaskInfo
from opt_gym.report.suites import Suite

TellProgress = Callable[[Finished, int, int], None]
"""Called as (what ended, jobs done, jobs)."""

NUM_TIMED = 3
"""Tasks on which steps are timed: the smallest, the middle and the largest network."""


class Known(NamedTuple):
    """What is known before anything is run.

    Attributes:
        tasks: of the suite.
        records: the archive's, by task; empty ones where it has nothing.
        notes: what a reader has to know: data that differ, tasks the archive lacks.
    """

    tasks: tuple[TaskInfo, ...]
    records: Mapping[str, TaskRecord]
    notes: tuple[str, ...]


class Outcome(NamedTuple):
    """A finished report, before it is written.

    Attributes:
        suite, settings: what was asked.
        entrants: who is judged.
        comparisons: one a horizon.
        known: of the archive.
        timings: by (entrant, task).
        trained_on: sizes of the tasks that the entrant was trained on, low and high; None
            where it is not known, or there are several entrants.
    """

    suite: Suite
    settings: RunSettings
    entrants: tuple[Entrant, ...]
    comparisons: tuple[Comparison, ...]
    known: Known
    timings: Mapping[tuple[str, str], Timing]
    trained_on: Mapping[str, tuple[float, float]] | None = None


def look_up(suite: Suite, source: str = "auto") -> Known:
    """What the archive knows of a suite's tasks.

    Raises:
        ValueError: an unknown task, a suite without tasks or with two of one name, a damaged
            file of the archive.
    """
    names = [name for own in suite.parts.values() for name in own]
    if not names or len(set(names)) < len(names):
        raise ValueError(
            f"suite {suite.name!r} has no tasks, or one name for two of them: {names}"
        )
    tasks, records, others, unknown = [], {}, [], []
    for part, own in suite.parts.items():
        for name, given in own.items():
            task = factory.as_task(given)
            wanted = empty_record(name, task.config, source)
            # A task whose functions were replaced is none of the archive's.
            record = archive_files.find(wanted) if plugins.is_told(task) else None
            if record is None:
                (others if archive_files.other_data(wanted) else unknown).append(name)
            records[name] = record or wanted
            tasks.append(_info(name, part, task, records[name], source))
    notes = []
    if others:
        notes.append(
            f"{len(others)} of {len(tasks)} tasks have other data here than in the archive "
            f"({_some(others)}): measure their baselines with `opt-gym archive`"
        )
    if unknown:
        notes.append(
            f"the archive lacks {len(unknown)} of {len(tasks)} tasks ({_some(unknown)}): "
            "`opt-gym archive` measures their baselines"
        )
    provisional = [
        t.name for t in tasks if t.normalizers["train"].source == "provisional"
    ]
    if provisional:
        notes.append(
            f"{len(provisional)} tasks have a provisional normalizer, 0 at a lower bound "
            f"that nothing may reach ({_some(provisional)})"
        )
    return Known(tuple(tasks), records, tuple(notes))


def judge(
    suite: Suite,
    entrants: Sequence[Entrant],
    settings: RunSettings,
    *,
    workers: int = 0,
    limit: float | None = None,
    memory: float | None = None,
    timed: bool = True,
    spread: Callable[..., Any] | None = None,
    progress: TellProgress | None = None,
) -> Outcome:
    """Runs the entrants on a suite and sets them beside the archive.

    Args:
        suite, entrants, settings: what to run.
        workers, limit, memory: see `runtime.worker_processes.run_jobs`.
        timed: whether steps are timed afterwards.
        spread: see `running.run`.
        progress: told of every job that ended.

    Raises:
        ValueError: no entrants, or two of one name.
    """
    names = [one.name for one in entrants]
    if not names:
        raise ValueError("a report needs at least one entrant")
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two entrants are named {name!r}")
    known = look_up(suite, settings.source)
    given = {name: task for own in suite.parts.values() for name, task in own.items()}
    jobs = [
        EntrantJob(
            entrant, task.name, given[task.name], settings, task.normalizers["train"]
        )
        for task in _longest_first(known)
        for entrant in entrants
    ]
    spreads = {} if spread is None else {"spread": spread}
    finished = running.run(jobs, workers=workers, limit=limit, memory=memory, **spreads)
    done = []
    for one in finished:
        done.append(one)
        if progress is not None:
            progress(one, len(done), len(jobs))
    comparisons = tuple(
        _comparison(suite, horizon, place, known, entrants, done)
        for place, horizon in enumerate(settings.horizons)
    )
    timings: Mapping[tuple[str, str], Timing] = {}
    if timed:
        chosen = timed_tasks(known.tasks)
        asked = [
            TimingJob(entrant, task, given[task], settings)
            for task in chosen
            for entrant in entrants
        ]
        timings = running.time_entrants(asked, limit)
    return Outcome(
        suite,
        settings,
        tuple(entrants),
        comparisons,
        known,
        timings,
        trained_on(entrants[0]) if len(entrants) == 1 else None,
    )


def trained_on(entrant: Entrant) -> dict[str, tuple[float, float]] | None:
    """Numbers of weights and batch sizes of an entrant's training tasks, low and high."""
    listed = entrant.training.get("tasks")
    if not isinstance(listed, list | tuple) or not listed:
        return None
    try:
        tasks = [
            factory.as_task(one["config"] if isinstance(one, dict) else one)
            for one in listed
        ]
        sizes = [num_weights(task, task.load_data("embedded")) for task in tasks]
    except (ValueError, KeyError, TypeError):  # tasks of somebody else's
        return None
    batches = [task.batch_size for task in tasks]
    return {
        "num_weights": (min(sizes), max(sizes)),
        "batch_size": (min(batches), max(batches)),
    }


def timed_tasks(tasks: Sequence[TaskInfo]) -> list[str]:
    """The smallest, the middle and the largest network."""
    by_size = sorted(tasks, key=lambda task: task.num_weights)
    places = np.linspace(0, len(by_size) - 1, min(NUM_TIMED, len(by_size)))
    return [by_size[round(place)].name for place in places]


def _comparison(
    suite: Suite,
    horizon: int,
    place: int,
    known: Known,
    entrants: Sequence[Entrant],
    done: Sequence[Finished],
) -> Comparison:
    results = {
        (one.job.entrant.name, one.job.name): one.found[place]
        for one in done
        if not one.error
    }
    errors = {
        (one.job.entrant.name, one.job.name): one.error for one in done if one.error
    }
    is_reference = horizon == REFERENCE_HORIZON
    if not is_reference:
        results = {pair: _by_curve(one) for pair, one in results.items()}
    listed = [one.optimizer for one in archive_baselines.BASELINES]
    listed.append(archive_baselines.LONG_ADAM)
    # An entrant may have a baseline's name.
    taken = {one.name for one in entrants}
    apart = {
        one.name: f"{one.name} (archive)" if one.name in taken else one.name
        for one in listed
    }
    for task in known.tasks:
        record = known.records[task.name]
        if is_reference:
            theirs = archive_baselines.baselines_of(record)
        else:
            theirs = archive_baselines.longer_baselines_of(
                record, horizon, task.normalizers
            )
        results.update({(apart[name], task.name): one for name, one in theirs.items()})
    shown = {name for name, _ in results}
    optimizers = [Optimizer(one.name, True, about=one.about) for one in entrants]
    renamed = [one._replace(name=apart[one.name]) for one in listed]
    optimizers += [one for one in renamed if one.name in shown]
    primary, co_primary = archive_baselines.ONE_TRIAL, archive_baselines.BEST_COSINE
    if not is_reference:
        primary = co_primary = archive_baselines.LONG_ADAM.name
    primary, co_primary = apart[primary], apart[co_primary]
    return Comparison(
        suite=suite.name,
        horizon=horizon,
        tasks=known.tasks,
        optimizers=tuple(optimizers),
        results=results,
        errors=errors,
        primary=primary if primary in shown else "",
        co_primary=co_primary if co_primary in shown else "",
    )


def _by_curve(found: Measured) -> Measured:
    """Its final losses those of the curve, as the baselines of other horizons have them."""
    assert found.mean is not None
    ends = found.mean[:, -1]
    if not np.isfinite(ends).all():  # a mean cannot say which seeds diverged
        return found
    return found._replace(final_losses=np.tile(ends, (len(found.mean_cost), 1)))


def _info(
    name: str, part: str, task: Task, record: TaskRecord, source: str
) -> TaskInfo:
    return TaskInfo(
        name=name,
        part=part,
        family=str(task.config.get("family", "")),
        num_weights=num_weights(task, task.load_data(source)),
        batch_size=task.batch_size,
        has_floor=task.loss_floor == 0.0,
        normalizers=_normalizers(task, record, source),
        examples=made_of(task.dataset, source),
    )


def _normalizers(task: Task, record: TaskRecord, source: str) -> dict[str, Normalizer]:
    """The judge's; of a task that the archive lacks, the training loss's as `make` has it."""
    curves = record.of_group("adam")
    if not curves:
        return {"train": normalize.lookup(task, "train", source)}
    found = {"train": judges_normalizer(curves)}
    try:
        found["valid"] = judges_normalizer(curves, "valid")
    except ValueError:  # nothing lowers the validation loss
        return found
    return found


def _longest_first(known: Known) -> list[TaskInfo]:
    """By what Adam took in the archive; of those it lacks, by size."""

    def length(task: TaskInfo) -> tuple[float, int]:
        about = known.records[task.name].groups.get("adam", {})
        return about.get("seconds", np.inf), task.num_weights * max(task.batch_size, 1)

    return sorted(known.tasks, key=length, reverse=True)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more

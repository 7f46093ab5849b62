"""How the runs of an evaluation are made: from the cache, else one program a task."""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from opt_gym import factory
from opt_gym.checks import check_whole
from opt_gym.evaluation import run_cache
from opt_gym.evaluation.program import (
    COUNTED,
    Curves,
    Program,
    build_program,
    compile_now,
    evaluation_steps,
    schedule,
    seconds_per_step,
)
from opt_gym.evaluation.runs import ARRAYS, EvaluationSettings, Runs, TaskLike
from opt_gym.records import Data, Env, LearnedOptimizer
from opt_gym.runtime import strategy
from opt_gym.runtime.array_files import read_arrays, write_arrays

TellProgress = Callable[[str, int, int], None]
"""Called as (task's name, tasks done, tasks) after each task; a search calls it as (its
name, trials done, trials) after each round."""


MAX_COMPILERS = 4
"""A compiler takes up to 350 MB while it works (measured with `nominal` on small_mlp)."""

Ready = TypeVar("Ready")


class EvaluationJob(NamedTuple):
    """Variants of one optimizer on one task. theta has a leading axis [variants]."""

    name: str
    task: TaskLike
    optimizer: LearnedOptimizer
    theta: PyTree
    labels: tuple[str, ...]


class _Prepared(NamedTuple):
    """A job with its environment; `cached` are the runs found, by (horizon, variant)."""

    job: EvaluationJob
    env: Env
    data: Data
    digests: dict[tuple[int, int], str]
    cached: dict[tuple[int, int], Runs]
    program: Program | None


def run_jobs(
    jobs: Sequence[EvaluationJob],
    settings: EvaluationSettings,
    cache: Path | None = None,
    progress: TellProgress | None = None,
) -> list[list[Runs]]:
    """The runs of every job, in order: for each horizon, for each variant.

    As many programs as there are cores, at most four, are compiled at a time (XLA compiles
    one program on one core), then run and timed one after the other, then forgotten.
    """
    check_settings(settings)
    results: list[list[Runs]] = []
    for job in prepare_jobs(jobs, lambda job: _prepare(job, settings, cache)):
        results.append(_run(job, settings, cache))
        if progress is not None:
            progress(job.job.name, len(results), len(jobs))
    return results


def repeated(
    jobs: Sequence[EvaluationJob], settings: EvaluationSettings
) -> Callable[[PyTree], list[list[Runs]]]:
    """A function of θ (no leading axis) that runs all jobs with it.

    Programs are compiled at its first call and kept, if there is room for them: for who
    evaluates one optimizer again and again.
    """
    check_settings(settings)
    ready: list[_Prepared] = []

    def run(theta: PyTree) -> list[list[Runs]]:
        prepared = iter(ready or prepare_jobs(jobs, prepare))
        thetas = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], theta)
        results, kept = [], []
        for program in prepared:
            again = program._replace(job=program.job._replace(theta=thetas))
            results.append(_run(again, settings, None))
            if not strategy.is_crowded():
                kept.append(program)
        ready[:] = kept if len(kept) == len(jobs) else []
        return results

    def prepare(job: EvaluationJob) -> _Prepared:
        return _prepare(job, settings, None)

    return run


def prepare_jobs(
    jobs: Sequence[EvaluationJob], prepare: Callable[[EvaluationJob], Ready]
) -> Iterator[Ready]:
    """What `prepare` makes of every job, its compiled program above all, one after another.

    As many at a time as there are cores, at most four.
    """
    workers = min(jax.local_device_count(), MAX_COMPILERS)
    for first in range(0, len(jobs), workers):
        with ThreadPoolExecutor(workers) as pool:
            group = list(pool.map(prepare, jobs[first : first + workers]))
        strategy.trim_memory()
        yield from group


def env_of(job: EvaluationJob, settings: EvaluationSettings) -> Env:
    """The environment of a job."""
    policy, asked = job.optimizer, settings.env_settings
    return factory.make_env(
        job.task, policy.features, policy.action_map, asked, settings.normalizer
    )


def _prepare(
    job: EvaluationJob, settings: EvaluationSettings, cache: Path | None
) -> _Prepared:
    env = env_of(job, settings)
    data = factory.load_data(env)
    digests: dict[tuple[int, int], str] = {}
    cached: dict[tuple[int, int], Runs] = {}
    if cache is not None and run_cache.is_cacheable(job.optimizer, env):
        for horizon in settings.horizons:
            for variant in range(len(job.labels)):
                theta = jax.tree.map(lambda leaf, row=variant: leaf[row], job.theta)
                digest = run_cache.digest(
                    env,
                    job.optimizer,
                    theta,
                    settings._replace(horizon=horizon, normalizer=None)._asdict(),
                )
                digests[horizon, variant] = digest
                record = read_arrays(cache / f"{digest}.npz")
                if record is not None:
                    cached[horizon, variant] = _from_cache(record, env, job, variant)
    program = None
    if len(cached) < len(settings.horizons) * len(job.labels):
        program = build_program(
            env,
            job.optimizer,
            settings,
            num_variants=len(job.labels),
            num_kept=max(settings.horizons),
        )
        compile_now(program, job.theta, data)
    return _Prepared(job, env, data, digests, cached, program)


def _run(
    prepared: _Prepared, settings: EvaluationSettings, cache: Path | None
) -> list[Runs]:
    job, env, data, digests, cached, program = prepared
    runs: dict[tuple[int, int], Runs] = dict(cached)
    for horizon in settings.horizons:
        places = [(horizon, variant) for variant in range(len(job.labels))]
        if program is None or all(place in runs for place in places):
            continue
        steps = evaluation_steps(horizon, settings.num_points, settings.spacing)
        seconds = math.nan
        if settings.timed:
            seconds = seconds_per_step(program, job.theta, data, horizon)
        plan = schedule(steps, settings.num_points)
        curves = program.run(job.theta, data, plan)
        for place in places:
            rows = slice(
                place[1] * settings.num_seeds, (place[1] + 1) * settings.num_seeds
            )
            own: Curves = jax.tree.map(lambda leaf, rows=rows: leaf[rows], curves)
            runs[place] = _runs(job, env, steps, seconds, own, job.labels[place[1]])
            if cache is not None and place in digests:
                record = _to_cache(runs[place])
                write_arrays(cache / f"{digests[place]}.npz", record)
    return [
        runs[horizon, variant]
        for horizon in settings.horizons
        for variant in range(len(job.labels))
    ]


def _runs(
    job: EvaluationJob,
    env: Env,
    steps: np.ndarray,
    seconds: float,
    curves: Curves,
    label: str,
) -> Runs:
    losses = np.moveaxis(np.asarray(curves.losses), -1, 0)
    counted = COUNTED[env.objective]
    return Runs(
        task=job.name,
        config=env.task.config,
        optimizer=label,
        horizon=int(steps[-1]),
        objective=env.objective,
        normalizer=env.normalizer,
        seconds_per_step=seconds,
        inner_steps=steps,
        train_loss=losses[0],
        valid_loss=losses[1],
        test_loss=losses[2],
        objective_loss=losses[counted],
        accuracy=np.asarray(curves.accuracy),
        final_losses=np.asarray(curves.final_losses)[:, :3],
        final_accuracy=np.asarray(curves.final_accuracy),
        mean_cost=np.asarray(curves.mean_cost),
        diverged=np.asarray(curves.diverged),
        step_losses=np.asarray(curves.step_losses)[:, : int(steps[-1])],
    )


def _to_cache(runs: Runs) -> dict[str, np.ndarray]:
    record = {field: np.asarray(getattr(runs, field)) for field in ARRAYS}
    record["seconds_per_step"] = np.asarray(runs.seconds_per_step)
    return record


def _from_cache(
    record: dict[str, np.ndarray], env: Env, job: EvaluationJob, variant: int
) -> Runs:
    return Runs(
        task=job.name,
        config=env.task.config,
        optimizer=job.labels[variant],
        horizon=int(record["inner_steps"][-1]),
        objective=env.objective,
        normalizer=env.normalizer,
        seconds_per_step=float(record["seconds_per_step"]),
        **{field: record[field] for field in ARRAYS},
    )


def check_settings(settings: EvaluationSettings) -> None:
    """Raises a ValueError where settings cannot be."""
    check_whole("seed", settings.seed, 0)
    check_whole("num_points", settings.num_points, 2)
    horizon = settings.horizon
    if isinstance(horizon, tuple) and not horizon:
        raise ValueError("horizon must be an integer >= 1, or several, got none")
    for one in horizon if isinstance(horizon, tuple) else (horizon,):
        check_whole("horizon", one, 1)
        evaluation_steps(one, settings.num_points, settings.spacing)
    check_whole("num_seeds", settings.num_seeds, 1)
    check_whole("num_batches", settings.num_batches, 1)
    check_whole("final_batches", settings.final_batches, 1)

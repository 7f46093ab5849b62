"""Runs entrants on the tasks of a suite: one job an entrant and task, each in a worker."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from opt_gym import factory
from opt_gym.archive.task_records import NEUTRAL, Measured, measured
from opt_gym.evaluation.evaluations import jobs_of, run_all
from opt_gym.evaluation.runs import EvaluationSettings
from opt_gym.records import Normalizer
from opt_gym.report.entrants import Entrant
from opt_gym.runtime import strategy, worker_processes

_FUNCTION = "opt_gym.report.running:run_job"


class RunSettings(NamedTuple):
    """How entrants are run.

    Attributes:
        horizons: inner steps.
        num_seeds: the first of the archive's.
        source: of the data.
        cache: a folder for runs, None to keep nothing.
    """

    horizons: tuple[int, ...] = (1000,)
    num_seeds: int = 5
    source: str = "auto"
    cache: Path | None = None

    @property
    def evaluation(self) -> EvaluationSettings:
        """The same, as an evaluation takes it."""
        return EvaluationSettings(
            horizon=self.horizons,
            num_seeds=self.num_seeds,
            data=self.source,
            normalizer=NEUTRAL,
            timed=False,
        )


class EntrantJob(NamedTuple):
    """One entrant on one task, at all horizons."""

    entrant: Entrant
    name: str
    task: Any
    settings: RunSettings
    normalizer: Normalizer


def run_job(job: EntrantJob, report: Any = None) -> list[Measured]:
    """What is measured at every horizon; for a worker process."""
    strategy.use_compilation_cache()
    settings, together = job.settings, [job.settings.horizons]
    if job.entrant.make_for is not None:  # one optimizer, one program a horizon
        together = [(horizon,) for horizon in settings.horizons]
    runs = []
    try:
        for horizons in together:
            policy, theta = job.entrant.made(horizons[0])
            runs += run_all(
                jobs_of(policy, {job.name: job.task}, theta),
                settings._replace(horizons=horizons).evaluation,
                settings.cache,
            )
    finally:
        jax.clear_caches()
        strategy.trim_memory()
    return [measured(run, job.normalizer, curves=True) for run in runs]


class Finished(NamedTuple):
    """What came of a job: what was measured at every horizon, or what went wrong."""

    job: EntrantJob
    found: Sequence[Measured]
    error: str


def run(
    jobs: Sequence[EntrantJob],
    *,
    workers: int = 0,
    limit: float | None = None,
    memory: float | None = None,
    spread: Callable[..., Iterator[Any]] = worker_processes.run_jobs,
) -> Iterator[Finished]:
    """Results as jobs end; one that fails is a result like another.

    Args:
        jobs: the longest first.
        workers, limit, memory: see `worker_processes.run_jobs`.
        spread: what hands jobs to workers: `ray_jobs.run_jobs` for a Ray cluster.
    """
    keywords = {"workers": workers, "limit": limit, "memory": memory}
    for outcome in spread(_FUNCTION, jobs, **keywords):
        found = () if outcome.error else outcome.result
        yield Finished(outcome.job, found, outcome.error)


class Timing(NamedTuple):
    """Seconds of an inner step on a task, the entrant's and AdamW's, alternately and alone.

    Attributes:
        seconds, adamw: of the quickest round.
        state_bytes, adamw_bytes: what each remembers, bytes a weight.
    """

    task: str
    entrant: str
    seconds: float
    adamw: float
    state_bytes: float
    adamw_bytes: float


class TimingJob(NamedTuple):
    """An entrant to time on a task."""

    entrant: Entrant
    name: str
    task: Any
    settings: RunSettings


ROUNDS, FEWEST_ROUNDS = 7, 2
"""Of an alternation; the quickest of each counts."""

PATIENCE = 10.0
"""Seconds after which no further round begins: where steps are long, two of them tell."""


def time_job(job: TimingJob, report: Any = None) -> Timing:
    """For a worker process that has the machine for itself."""
    from opt_gym.adapters.optax_text import from_text
    from opt_gym.evaluation import program as programs
    from opt_gym.evaluation.jobs import env_of

    strategy.use_compilation_cache()
    settings = job.settings.evaluation
    horizon = min(job.settings.horizons)
    policies = [job.entrant.made(horizon), (from_text("adamw(1e-3)"), None)]
    ready = []
    for policy, given in policies:
        theta = policy.init_theta(jax.random.key(0)) if given is None else given
        thetas = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], theta)
        (one,) = jobs_of(policy, {job.name: job.task}, theta)
        env = env_of(one, settings)
        data = factory.load_data(env)
        program = programs.build_program(
            env, policy, settings, num_variants=1, num_kept=max(settings.horizons)
        )
        programs.compile_now(program, thetas, data)
        ready.append((program, thetas, data, _state_bytes(env, policy, theta, data)))
    best, began = [np.inf, np.inf], time.monotonic()
    for rounds in range(ROUNDS):
        if rounds >= FEWEST_ROUNDS and time.monotonic() - began > PATIENCE:
            break
        for place, (program, thetas, data, _) in enumerate(ready):
            seconds = programs.seconds_per_step(program, thetas, data, horizon)
            best[place] = min(best[place], seconds)
    mine, theirs = best
    return Timing(job.name, job.entrant.name, mine, theirs, ready[0][3], ready[1][3])


def _state_bytes(env: Any, policy: Any, theta: Any, data: Any) -> float:
    """Bytes a weight of what an optimizer remembers: features, carry, action map."""
    from opt_gym.episode import start

    key = jax.random.key(0)
    state = jax.eval_shape(lambda d: start(key, env, policy, theta, d, 10), data)
    kept = (state.env.features, state.carry, state.env.action)
    sizes = [leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(kept)]
    num_weights = sum(leaf.size for leaf in jax.tree.leaves(state.env.params))
    return sum(sizes) / num_weights


def time_entrants(
    jobs: Sequence[TimingJob], limit: float | None = None
) -> Mapping[tuple[str, str], Timing]:
    """By (entrant, task), one after the other in one process; what failed is left out."""
    outcomes = worker_processes.run_jobs(
        "opt_gym.report.running:time_job", jobs, workers=1, limit=limit
    )
    return {(o.job.entrant.name, o.job.name): o.result for o in outcomes if not o.error}

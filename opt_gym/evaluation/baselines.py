"""Hand-designed baselines as data: a space of settings, how many are tried, and for whom.

    Baseline("adam_lr", num_trials=14, per_task=False)   one rate for all, the best on the
                                                         training tasks
    Baseline("adam_lr", num_trials=14, per_task=True)    the best rate of every single task

The second is chosen in hindsight on the very runs it is judged by, which favours it. Costs of
trials come from the table of normalizers where `opt-gym normalize` wrote them, so that only
the chosen settings have to be run.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PyTree

from opt_gym import factory, normalize, plugins
from opt_gym.evaluation.evaluate import name_tasks
from opt_gym.evaluation.jobs import Job, Progress, run_jobs
from opt_gym.evaluation.records import Runs, Settings, TaskLike
from opt_gym.records import LearnedOptimizer, Task


class Space(NamedTuple):
    """An ordered list of settings of one hand-designed optimizer.

    Attributes:
        architecture: the plug-in.
        title: for reports.
        trials: per trial, the entries of θ that differ from the architecture's own.
        measured: whether the table of normalizers has the costs of these very trials.
    """

    architecture: str
    title: str
    trials: tuple[dict[str, float], ...]
    measured: bool = False


SPACES = {
    "adam_lr": Space(
        "adam",
        "Adam",
        tuple({"learning_rate": rate} for rate in normalize.LEARNING_RATES),
        measured=True,
    ),
}


class Baseline(NamedTuple):
    """Which settings an optimizer may try: the first `num_trials` of a space.

    per_task: the best is chosen for every task, else one for all on the training tasks.
    """

    space: str
    num_trials: int
    per_task: bool

    @property
    def title(self) -> str:
        """For reports: "Adam, per-task best of 14"."""
        kind = "per-task best" if self.per_task else "global best"
        return f"{SPACES[self.space].title}, {kind} of {self.num_trials}"


GLOBAL_ADAM = Baseline("adam_lr", 14, per_task=False)
PER_TASK_ADAM = Baseline("adam_lr", 14, per_task=True)


class Choice(NamedTuple):
    """What a baseline uses: the number of a trial in its space, by task."""

    baseline: Baseline
    trials: dict[str, int]

    def setting(self, task: str) -> dict[str, float]:
        """The chosen entries of θ."""
        return SPACES[self.baseline.space].trials[self.trials[task]]


def evaluate_baselines(
    baselines: Sequence[Baseline],
    tasks: Sequence[TaskLike] | Mapping[str, TaskLike],
    training_tasks: Sequence[TaskLike] | Mapping[str, TaskLike] = (),
    settings: Settings = Settings(),  # noqa: B008 — a NamedTuple cannot change
    cache: Path | None = None,
    progress: Progress | None = None,
) -> tuple[list[Runs], list[Choice]]:
    """Chooses the trials of every baseline and runs them.

    One program serves all baselines of a space on a task; a trial that two of them chose is
    run once.

    Args:
        baselines: what to run.
        tasks: to run them on.
        training_tasks: where baselines with one setting for all choose it.
        settings, cache, progress: as `opt_gym.evaluate`.

    Returns:
        The runs (for each baseline, each task, each horizon), and the choices.

    Raises:
        ValueError: an unknown space, a number of trials it does not have, or a global
            baseline without training tasks.
    """
    named = name_tasks(tasks)
    training = name_tasks(training_tasks) if training_tasks else {}
    choices = [choose(b, named, training, settings, cache) for b in baselines]
    runs: dict[tuple[int, str], list[Runs]] = {}
    for space in dict.fromkeys(b.space for b in baselines):
        of_space = [i for i, b in enumerate(baselines) if b.space == space]
        trials = {
            task: sorted({choices[i].trials[task] for i in of_space}) for task in named
        }
        jobs = [_job(space, name, task, trials[name]) for name, task in named.items()]
        results = run_jobs(jobs, settings, cache, progress)
        for name, found in zip(named, results, strict=True):
            for i in of_space:
                row = trials[name].index(choices[i].trials[name])
                own = found[row :: len(trials[name])]
                title = baselines[i].title
                runs[i, name] = [one._replace(optimizer=title) for one in own]
    order = [(i, name) for i in range(len(baselines)) for name in named]
    return [one for place in order for one in runs[place]], choices


def choose(
    baseline: Baseline,
    tasks: Mapping[str, TaskLike],
    training_tasks: Mapping[str, TaskLike],
    settings: Settings = Settings(),  # noqa: B008
    cache: Path | None = None,
) -> Choice:
    """The trial with the lowest mean cost: on each task, or over the training tasks.

    Raises:
        ValueError: see `evaluate_baselines`.
    """
    _check(baseline)
    if baseline.per_task:
        costs = trial_costs(baseline.space, tasks, settings, cache)
        best = np.argmin(costs[:, : baseline.num_trials], axis=1)
        return Choice(baseline, dict(zip(tasks, map(int, best), strict=True)))
    if not training_tasks:
        raise ValueError(f"{baseline.title!r} needs training tasks to choose on")
    costs = trial_costs(baseline.space, training_tasks, settings, cache)
    best = int(np.argmin(costs[:, : baseline.num_trials].mean(axis=0)))
    return Choice(baseline, dict.fromkeys(tasks, best))


def trial_costs(
    space: str,
    tasks: Mapping[str, TaskLike],
    settings: Settings = Settings(),  # noqa: B008
    cache: Path | None = None,
) -> Float[np.ndarray, "tasks trials"]:
    """Mean ℓ̃ of every trial of a space on every task, averaged over seeds.

    Where there are several horizons, the first counts.
    """
    horizon = settings.horizon
    first = horizon if isinstance(horizon, int) else horizon[0]
    settings = settings._replace(horizon=first)
    known = {name: _measured(space, task, settings) for name, task in tasks.items()}
    count = len(SPACES[space].trials)
    jobs = [
        _job(space, name, task, range(count))
        for name, task in tasks.items()
        if known[name] is None
    ]
    for job, runs in zip(jobs, run_jobs(jobs, settings, cache), strict=True):
        known[job.name] = np.array([one.mean_cost.mean() for one in runs])
    return np.stack([known[name] for name in tasks])  # type: ignore[arg-type]


def stacked_theta(
    optimizer: LearnedOptimizer, trials: Sequence[dict[str, float]]
) -> PyTree:
    """The θ of several settings of a hand-designed optimizer, with a leading axis."""
    initial = optimizer.init_theta(jax.random.key(0))
    return {
        name: jnp.stack([jnp.float32(trial.get(name, value)) for trial in trials])
        for name, value in initial.items()
    }


def _measured(space: str, task: TaskLike, settings: Settings) -> np.ndarray | None:
    if not SPACES[space].measured or settings.normalizer is not None:
        return None
    if settings.horizon != normalize.REFERENCE_HORIZON:
        return None
    if not isinstance(task, Task):
        task = factory.make_task(factory.task_config(task))
    return normalize.trial_costs(
        task, settings.objective, settings.data, settings.corruption
    )


def _job(space: str, name: str, task: TaskLike, trials: Sequence[int]) -> Job:
    optimizer = plugins.build("architecture", SPACES[space].architecture)
    chosen = [SPACES[space].trials[trial] for trial in trials]
    labels = tuple(
        f"{optimizer.name} " + " ".join(f"{k}={v:g}" for k, v in trial.items())
        for trial in chosen
    )
    return Job(name, task, optimizer, stacked_theta(optimizer, chosen), labels)


def _check(baseline: Baseline) -> None:
    if baseline.space not in SPACES:
        raise ValueError(plugins.unknown("space", baseline.space, list(SPACES)))
    count = len(SPACES[baseline.space].trials)
    if not 1 <= baseline.num_trials <= count:
        raise ValueError(
            f"num_trials must be 1 to {count} for {baseline.space!r}, got "
            f"{baseline.num_trials}"
        )

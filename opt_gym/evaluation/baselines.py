"""Hand-designed baselines as data: a space of settings, how many are tried, and for whom.

    Baseline("adam_lr", num_trials=14, per_task=False)   one rate for all, the best on the
                                                         training tasks
    Baseline("adam_lr", num_trials=14, per_task=True)    the best rate of every single task
    Baseline("nadamw_grid", 1000, per_task=True)         the best of 1,000 settings, likewise
    Baseline("opt_list", 10, per_task=True)              the best of the published first ten

What is best per task is chosen in hindsight on the very runs it is judged by, which favours
it. Costs of trials come from the table of normalizers where `opt-gym normalize` wrote them,
else from a search (`search` beside this file), which is cached; then the chosen settings are
run with everything measured.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PyTree

from opt_gym import factory, normalize, plugins
from opt_gym.evaluation import search_spaces
from opt_gym.evaluation.evaluations import name_tasks
from opt_gym.evaluation.jobs import EvaluationJob, TellProgress, run_jobs
from opt_gym.evaluation.runs import EvaluationSettings, Runs, TaskLike
from opt_gym.evaluation.search import search
from opt_gym.evaluation.search_spaces import SearchSpace
from opt_gym.plugins import unknown
from opt_gym.records import LearnedOptimizer


def _rates(title: str, architecture: str, **options: Any) -> SearchSpace:
    """The learning rates that define "best", for another optimizer."""
    rates = normalize.LEARNING_RATES
    return SearchSpace(
        title=title,
        architecture=architecture,
        options=options,
        num_trials=len(rates),
        sample=lambda number: {"learning_rate": rates[number]},
        theta=dict,
    )


SPACES = {
    "adam_lr": _rates("Adam", "adam"),
    "adam_cosine_lr": _rates("Adam with cosine decay", "adam", decay="cosine"),
    "sgd_lr": _rates("SGD", "sgd"),
    **search_spaces.SPACES,
}
"""By name: the learning rates that define "best", and TaskSet's spaces."""

_MEASURED = "adam_lr"
"""The space whose costs the table of normalizers has."""


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


def parse_baseline(text: str) -> Baseline:
    """The baseline of a `text`: "space:trials" (global) or "space:trials:per_task".

    Raises:
        ValueError: anything else, an unknown space, or a number of trials it does not have.
    """
    space, _, rest = text.partition(":")
    count, _, kind = rest.partition(":")
    if space not in SPACES:
        raise ValueError(unknown("space of baselines", space, list(SPACES)))
    if not count.isdecimal() or kind not in ("", "global", "per_task"):
        raise ValueError(
            f"a baseline is space:trials, space:trials:global or space:trials:per_task, "
            f"got {text!r}"
        )
    baseline = Baseline(space, int(count), per_task=kind == "per_task")
    _check(baseline)
    return baseline


class Choice(NamedTuple):
    """What a baseline uses: the number of a trial in its space, by task."""

    baseline: Baseline
    trials: dict[str, int]

    def setting(self, task: str) -> dict[str, float]:
        """The chosen entries of θ."""
        return SPACES[self.baseline.space].trial(self.trials[task])


def evaluate_baselines(
    baselines: Sequence[Baseline],
    tasks: Sequence[TaskLike] | Mapping[str, TaskLike],
    training_tasks: Sequence[TaskLike] | Mapping[str, TaskLike] = (),
    settings: EvaluationSettings = EvaluationSettings(),  # noqa: B008 — a NamedTuple cannot change
    cache: Path | None = None,
    progress: TellProgress | None = None,
) -> tuple[list[Runs], list[Choice]]:
    """Chooses the trials of every baseline and runs them.

    One program serves all baselines of a space on a task; a trial that two of them chose is
    run once.

    Args:
        baselines: what to run.
        tasks: to run them on.
        training_tasks: where baselines with one setting for all choose it.
        settings, cache, progress: as `opt_gym.evaluate`; a search tells its progress too.

    Returns:
        The runs (for each baseline, each task, each horizon), and the choices.

    Raises:
        ValueError: an unknown space, a number of trials it does not have, a baseline that is
            listed twice, or a global one without training tasks.
    """
    for baseline in baselines:
        _check(baseline)
        if baselines.count(baseline) > 1:
            raise ValueError(f"baseline {baseline.title!r} is listed twice")
    named = name_tasks(tasks)
    training = name_tasks(training_tasks) if training_tasks else {}
    choices = [choose(b, named, training, settings, cache, progress) for b in baselines]
    runs: dict[tuple[int, str], list[Runs]] = {}
    for space in dict.fromkeys(b.space for b in baselines):
        of_space = [i for i, b in enumerate(baselines) if b.space == space]
        trials = {
            task: sorted({choices[i].trials[task] for i in of_space}) for task in named
        }
        jobs = [_job(space, name, task, trials[name]) for name, task in named.items()]
        results = run_jobs(jobs, settings, cache, progress)
        for name, of_trials in zip(named, results, strict=True):
            for i in of_space:
                row = trials[name].index(choices[i].trials[name])
                own = of_trials[row :: len(trials[name])]
                title = baselines[i].title
                runs[i, name] = [run._replace(optimizer=title) for run in own]
    order = [(i, name) for i in range(len(baselines)) for name in named]
    return [run for place in order for run in runs[place]], choices


def choose(
    baseline: Baseline,
    tasks: Mapping[str, TaskLike],
    training_tasks: Mapping[str, TaskLike],
    settings: EvaluationSettings = EvaluationSettings(),  # noqa: B008
    cache: Path | None = None,
    progress: TellProgress | None = None,
) -> Choice:
    """The trial with the lowest mean cost: on each task, or over the training tasks.

    One trial is no choice: nothing is run for it, and no training tasks are needed.

    Raises:
        ValueError: see `evaluate_baselines`.
    """
    _check(baseline)
    space, count, per_task = baseline
    if count == 1:
        return Choice(baseline, dict.fromkeys(tasks, 0))
    if per_task:
        costs = trial_costs(space, count, tasks, settings, cache, progress)
        best = np.argmin(costs, axis=1)
        return Choice(baseline, dict(zip(tasks, map(int, best), strict=True)))
    if not training_tasks:
        raise ValueError(f"{baseline.title!r} needs training tasks to choose on")
    costs = trial_costs(space, count, training_tasks, settings, cache, progress)
    best = int(np.argmin(costs.mean(axis=0)))
    return Choice(baseline, dict.fromkeys(tasks, best))


def trial_costs(
    space: str,
    num_trials: int,
    tasks: Mapping[str, TaskLike],
    settings: EvaluationSettings = EvaluationSettings(),  # noqa: B008
    cache: Path | None = None,
    progress: TellProgress | None = None,
) -> Float[np.ndarray, "tasks trials"]:
    """Mean ℓ̃ of the first trials of a space on every task, averaged over seeds.

    Where there are several horizons, the first counts.

    Raises:
        ValueError: see `evaluate_baselines`.
    """
    _check(Baseline(space, num_trials, per_task=True))
    settings = settings._replace(horizon=settings.horizons[0])
    known = {name: _measured(space, task, settings) for name, task in tasks.items()}
    jobs = [
        _job(space, name, task, range(num_trials))
        for name, task in tasks.items()
        if known[name] is None
    ]
    for job, costs in zip(jobs, search(jobs, settings, cache, progress), strict=True):
        known[job.name] = costs.mean(axis=1)
    return np.stack([known[name][:num_trials] for name in tasks])  # type: ignore[index]


def stacked_theta(
    optimizer: LearnedOptimizer, trials: Sequence[dict[str, float]]
) -> PyTree:
    """The θ of several settings of a hand-designed optimizer, with a leading axis."""
    initial = optimizer.init_theta(jax.random.key(0))
    return {
        name: jnp.asarray(
            [trial.get(name, float(value)) for trial in trials], jnp.float32
        )
        for name, value in initial.items()
    }


def _measured(
    space: str, task: TaskLike, settings: EvaluationSettings
) -> np.ndarray | None:
    if space != _MEASURED or settings.normalizer is not None:
        return None
    if settings.horizon != normalize.REFERENCE_HORIZON:
        return None
    return normalize.trial_costs(
        factory.as_task(task), settings.objective, settings.data, settings.corruption
    )


def _job(space: str, name: str, task: TaskLike, trials: Sequence[int]) -> EvaluationJob:
    chosen = SPACES[space]
    optimizer = plugins.build("architecture", chosen.architecture, chosen.options)
    theta = stacked_theta(optimizer, [chosen.trial(trial) for trial in trials])
    labels = tuple(f"{space} {trial}" for trial in trials)
    return EvaluationJob(name, task, optimizer, theta, labels)


def _check(baseline: Baseline) -> None:
    if baseline.space not in SPACES:
        raise ValueError(unknown("space of baselines", baseline.space, list(SPACES)))
    count = SPACES[baseline.space].num_trials
    if not 1 <= baseline.num_trials <= count:
        raise ValueError(
            f"num_trials must be 1 to {count} for {baseline.space!r}, got "
            f"{baseline.num_trials}"
        )

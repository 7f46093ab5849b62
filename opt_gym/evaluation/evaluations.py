"""Evaluation: any learned optimizer or optax transformation on any list of tasks.

    runs = opt_gym.evaluate(optax.adam(1e-3), ["OptTask-mlp-v0"], horizon=1000)
    runs[0].train_loss    # [seeds, points]

The environment and `unroll` are those that outer-training uses. Statistics of the result are
in `comparison` beside this file, CSV in `curves`, pictures in `plots`, hand-designed
baselines in `baselines`.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

from opt_gym.adapters.foreign import from_optax
from opt_gym.data.corruptions import Corruption
from opt_gym.evaluation.comparison import Summary, compare
from opt_gym.evaluation.jobs import EvaluationJob, TellProgress, repeated, run_jobs
from opt_gym.evaluation.runs import EvaluationSettings, Runs, TaskLike
from opt_gym.policy import check_theta
from opt_gym.records import LearnedOptimizer, Normalizer, Task
from opt_gym.setting_kinds import plain

Optimizer = LearnedOptimizer | optax.GradientTransformation


def evaluate(
    optimizer: Optimizer,
    tasks: TaskLike | Sequence[TaskLike] | Mapping[str, TaskLike],
    theta: PyTree = None,
    *,
    name: str | None = None,
    variants: Sequence[str] = (),
    cache: Path | None = None,
    progress: TellProgress | None = None,
    horizon: int | Sequence[int] = 1000,
    num_seeds: int = 5,
    seed: int = 0,
    num_points: int = 50,
    spacing: str = "log",
    num_batches: int = 5,
    final_batches: int = 20,
    objective: str = "train",
    corruption: str | tuple[Corruption, ...] = "training",
    data: str = "auto",
    valid_every: int = 0,
    normalizer: Normalizer | None = None,
    timed: bool = True,
) -> list[Runs]:
    """Trains every task with the optimizer, over all seeds, and records its curves.

    Args:
        optimizer: a learned optimizer, or an optax transformation.
        tasks: ids, configs or Tasks; a mapping gives them names of its own.
        theta: of the learned optimizer; by default its initial one (for hand-designed
            optimizers: the hyperparameters they were made with).
        name: of the optimizer in the result.
        variants: names of θ's leading axis, if it has one: a baseline with 14 learning
            rates is one θ with 14 rows, and 14 x 5 runs are one compiled program.
        cache: a folder to keep results in and to find them; an interrupted evaluation goes
            on where it was. Only for architectures (an optax transformation is a closure,
            nothing tells two of them apart).
        progress: called as (task's name, tasks done, tasks) after each task.
        horizon, num_seeds, seed, num_points, spacing, num_batches, final_batches, objective,
            corruption, data, valid_every, normalizer, timed: see `EvaluationSettings`.

    Returns:
        For each task, for each horizon, for each variant: its `Runs`.

    Raises:
        ValueError: an unknown task or setting, a θ that does not fit its architecture or has
            no such leading axis.
    """
    settings = EvaluationSettings(
        tuple(map(plain, horizon)) if np.iterable(horizon) else plain(horizon),
        num_seeds,
        seed,
        num_points,
        spacing,
        num_batches,
        final_batches,
        objective,
        corruption,
        data,
        valid_every,
        normalizer,
        timed,
    )
    jobs = jobs_of(optimizer, tasks, theta, name, variants)
    return run_all(jobs, settings, cache, progress)


def jobs_of(
    optimizer: Optimizer,
    tasks: TaskLike | Sequence[TaskLike] | Mapping[str, TaskLike],
    theta: PyTree = None,
    name: str | None = None,
    variants: Sequence[str] = (),
) -> list[EvaluationJob]:
    """A job a task; arguments and errors as those of `evaluate`."""
    if isinstance(optimizer, LearnedOptimizer):
        policy = optimizer
    else:
        policy = from_optax(optimizer, name or "optax")
    if theta is None:
        theta = policy.init_theta(jax.random.key(0))
    if not variants:
        theta = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], theta)
    label = name or policy.name
    labels = tuple(f"{label} {v}" for v in variants) or (label,)
    check_theta(policy, _one_variant(theta, len(labels)))
    return [
        EvaluationJob(key, task, policy, theta, labels)
        for key, task in name_tasks(tasks).items()
    ]


def run_all(
    jobs: Sequence[EvaluationJob],
    settings: EvaluationSettings,
    cache: Path | None = None,
    progress: TellProgress | None = None,
) -> list[Runs]:
    """For each job, for each horizon, for each variant: its `Runs`."""
    return list(chain.from_iterable(run_jobs(jobs, settings, cache, progress)))


def evaluator(
    optimizer: LearnedOptimizer,
    tasks: TaskLike | Sequence[TaskLike] | Mapping[str, TaskLike],
    settings: EvaluationSettings,
) -> Callable[[PyTree], Summary]:
    """θ -> its `Summary` on these tasks; programs compile at the first call and are kept.

    Args:
        optimizer: whose θ it takes, without a leading axis.
        tasks: as those of `evaluate`.
        settings: of every evaluation; of several horizons, the `Summary` is of the first.

    Raises:
        ValueError: an unknown task or setting.
    """
    run = repeated(jobs_of(optimizer, tasks), settings)

    def summary(theta: PyTree) -> Summary:
        return compare([*chain.from_iterable(run(theta))])[0]

    return summary


def name_tasks(
    tasks: TaskLike | Sequence[TaskLike] | Mapping[str, TaskLike],
) -> dict[str, TaskLike]:
    """Tasks by name: an id without `OptTask-` and `-v0`, else the family and a number.

    Args:
        tasks: as those of `evaluate`; one of them may stand alone.

    Raises:
        ValueError: no task, or two of one name.
    """
    if isinstance(tasks, str | Task) or (isinstance(tasks, dict) and "family" in tasks):
        tasks = [tasks]  # type: ignore[list-item]
    if isinstance(tasks, Mapping) and tasks:
        return dict(tasks)
    named: dict[str, TaskLike] = {}
    for number, task in enumerate(tasks):
        if isinstance(task, str):
            label = task.removeprefix("opt_gym:").removeprefix("OptTask-")
            label = label.removesuffix("-v0")
        else:
            config = task.config if isinstance(task, Task) else task
            label = f"{config.get('family', 'task')} {number}"
        if label in named:
            raise ValueError(f"task {label!r} is listed twice")
        named[label] = task
    if not named:
        raise ValueError("expected at least one task, got none")
    return named


def _one_variant(theta: PyTree, expected: int) -> PyTree:
    """Shapes of one row of θ; a ValueError where it has not `expected` rows."""
    for leaf in jax.tree.leaves(theta):
        if np.ndim(leaf) < 1 or np.shape(leaf)[0] != expected:
            raise ValueError(
                f"theta needs a leading axis of {expected}, one row a variant, got a "
                f"leaf of shape {np.shape(leaf)}"
            )
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf)[1:], jnp.float32), theta
    )

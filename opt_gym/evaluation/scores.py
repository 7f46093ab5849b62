"""What an environment is worth: the return of doing nothing, of noise, and of good optimizers.

A return is minus the outer-loss: −1 where the loss stays what it was, 0 where it is at once
the best that was ever reached.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PRNGKeyArray, PyTree

from opt_gym.evaluation.baselines import (
    PER_TASK_ADAM,
    Baseline,
    evaluate_baselines,
)
from opt_gym.evaluation.evaluations import jobs_of, run_all
from opt_gym.evaluation.jobs import TellProgress
from opt_gym.evaluation.runs import EvaluationSettings, Runs, TaskLike
from opt_gym.gym._settings import ACTION_SCALE
from opt_gym.records import LearnedOptimizer

BEST_SGD = Baseline("sgd_lr", 14, per_task=True)


class Score(NamedTuple):
    """Mean returns over seeds on one task; `solved` is what to reach: the best Adam's."""

    task: str
    zero: float
    random: float
    sgd: float
    adam: float
    learned: float

    @property
    def solved(self) -> float:
        """The return from which on an environment counts as solved."""
        return self.adam


def score(
    tasks: Sequence[TaskLike] | Mapping[str, TaskLike],
    learned: LearnedOptimizer,
    theta: PyTree,
    settings: EvaluationSettings,
    cache: Path | None = None,
    progress: TellProgress | None = None,
) -> list[Score]:
    """Scores of tasks at one horizon.

    Args:
        tasks: ids, configs or Tasks.
        learned, theta: a learned optimizer.
        settings: of every run, with one horizon.
        cache, progress: as `opt_gym.evaluate`.
    """
    columns = [
        run_all(jobs_of(policy, tasks, name=name), settings, progress=progress)
        for name, policy in (("zero", optax.set_to_zero()), ("random", random_action()))
    ]
    baselines = [BEST_SGD, PER_TASK_ADAM]
    tuned, _ = evaluate_baselines(baselines, tasks, (), settings, cache, progress)
    count = len(columns[0])
    columns += [tuned[:count], tuned[count:]]
    columns.append(run_all(jobs_of(learned, tasks, theta), settings, cache, progress))
    return [
        Score(runs[0].task, *(_mean_return(run) for run in runs))
        for runs in zip(*columns, strict=True)
    ]


def format_scores(scores: Sequence[Score], learned: str) -> str:
    """A table in Markdown."""
    lines = [
        f"| environment | zero | random | best SGD | best Adam | {learned} | solved at |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in scores:
        numbers = (row.zero, row.random, row.sgd, row.adam, row.learned, row.solved)
        lines.append(
            f"| {row.task} | " + " | ".join(f"{x:.3f}" for x in numbers) + " |"
        )
    return "\n".join(lines)


def random_action(scale: float = ACTION_SCALE) -> optax.GradientTransformation:
    """Updates that are uniform noise, as `action_space.sample()` gives."""

    def init(params: PyTree) -> PRNGKeyArray:
        return jax.random.key(0)

    def update(
        updates: PyTree, state: Any, params: PyTree = None
    ) -> tuple[PyTree, Any]:
        leaves, structure = jax.tree.flatten(updates)
        keys = jax.random.split(state, len(leaves) + 1)
        noise = [
            scale * jax.random.uniform(key, leaf.shape, jnp.float32, -1.0, 1.0)
            for key, leaf in zip(keys[1:], leaves, strict=True)
        ]
        return jax.tree.unflatten(structure, noise), keys[0]

    return optax.GradientTransformation(init, update)


def _mean_return(runs: Runs) -> float:
    return -float(runs.mean_cost.mean())

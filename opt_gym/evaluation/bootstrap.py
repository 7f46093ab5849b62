"""Statistics over tasks x seeds: IQM, bootstrap intervals, paired differences, wins.

A table of scores has one row a task and one column a seed. All intervals are percentiles of a
seeded bootstrap.

Source: Agarwal et al. 2021, arXiv:2108.13264 (interquartile mean, stratified bootstrap).
"""

import numpy as np
from jaxtyping import Float

from opt_gym.judge.intervals import Interval, Scores, checked, interquartile_mean

NUM_RESAMPLES = 5000
_BLOCK = 250


def iqm(scores: Scores, *, level: float = 0.95, seed: int = 0) -> Interval:
    """The interquartile mean over all tasks and seeds.

    The bootstrap is stratified: seeds are drawn anew within every task, tasks are kept. It
    says how sure the number is for these tasks, not for others.
    """
    scores = checked(scores)
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(NUM_RESAMPLES // _BLOCK):  # in blocks, for a thousand tasks' sake
        drawn = rng.integers(0, scores.shape[1], (_BLOCK, *scores.shape))
        resampled = np.take_along_axis(scores[None], drawn, axis=-1)
        values.append(interquartile_mean(resampled.reshape(_BLOCK, -1)))
    return _interval(
        float(interquartile_mean(scores.ravel())), np.concatenate(values), level
    )


def mean(scores: Scores, *, level: float = 0.95, seed: int = 0) -> Interval:
    """The mean over tasks of the mean over seeds; tasks are drawn anew."""
    return _over_tasks(checked(scores).mean(axis=1), level, seed)


def mean_difference(
    scores: Scores, reference: Scores, *, level: float = 0.95, seed: int = 0
) -> Interval:
    """The mean over tasks of (scores − reference), paired by task; tasks are drawn anew.

    Raises:
        ValueError: tables with other numbers of tasks.
    """
    scores, reference = checked(scores), checked(reference)
    if len(scores) != len(reference):
        raise ValueError(
            f"paired by task, but there are {len(scores)} and {len(reference)} tasks"
        )
    return _over_tasks(scores.mean(axis=1) - reference.mean(axis=1), level, seed)


def wins(scores: Scores, reference: Scores) -> int:
    """The number of tasks whose mean over seeds is lower than the reference's."""
    return int(np.sum(checked(scores).mean(axis=1) < checked(reference).mean(axis=1)))


def _over_tasks(
    per_task: Float[np.ndarray, " tasks"], level: float, seed: int
) -> Interval:
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(per_task), (NUM_RESAMPLES, len(per_task)))
    return _interval(float(per_task.mean()), per_task[drawn].mean(axis=1), level)


def _interval(value: float, resampled: np.ndarray, level: float) -> Interval:
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))

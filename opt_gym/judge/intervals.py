"""How sure a number is: two kinds of intervals, and a p-value.

*These tasks*: the tasks are given, the inner seeds (initial weights, batches) might have been
others. *Tasks like these*: the tasks were drawn, others might have been. Seeds of an
outer-training are neither: they are shown one by one.

Sources: Agarwal et al. 2021, arXiv:2108.13264 (the stratified bootstrap over seeds); Efron
1987, JASA 82:171 (BCa); Fisher 1935, The design of experiments (the test that flips signs).
"""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

FEWEST_SEEDS = 5
"""Below, seeds cannot tell: one alone would give an interval of no width."""

FEWEST_TASKS = 5
NUM_RESAMPLES = 5000
_BLOCK = 250

Scores = Float[np.ndarray, "tasks seeds"]
Statistic = Callable[..., Float[np.ndarray, "..."]]
"""Of one number a task, along the last axis: takes `axis=`."""


class Interval(NamedTuple):
    """A number, `value`, and its interval; low and high are NaN where none can be given."""

    value: float
    low: float
    high: float


def interquartile_mean(
    scores: Float[np.ndarray, "... n"], axis: int = -1
) -> Float[np.ndarray, "..."]:
    """The mean of the middle half of `scores` along `axis`: ⌊n/4⌋ dropped at either end."""
    ordered = np.sort(np.moveaxis(np.asarray(scores), axis, -1), axis=-1)
    cut = ordered.shape[-1] // 4
    return ordered[..., cut : ordered.shape[-1] - cut].mean(axis=-1)


def worst_tenth(
    scores: Float[np.ndarray, "... n"], axis: int = -1
) -> Float[np.ndarray, "..."]:
    """The mean of the ⌈n/10⌉ greatest: what a mean of the middle never shows.

    They are the greatest of `scores` along `axis`.
    """
    ordered = np.sort(np.moveaxis(np.asarray(scores), axis, -1), axis=-1)
    count = -(-ordered.shape[-1] // 10)
    return ordered[..., -count:].mean(axis=-1)


def these_tasks(
    scores: Scores,
    statistic: Statistic = np.mean,
    *,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """A statistic of the means over seeds, and how it depends on the seeds.

    Seeds are drawn anew within every task. A percentile interval of that is too narrow by
    √((k − 1)/k), for k seeds: the drawn ones vary about their mean by that much less than
    seeds do. It is widened by as much.

    Args:
        scores: [tasks, seeds], finite.
        statistic: of one number a task.
        level: of the interval.
        seed: of the resampling.

    Raises:
        ValueError: scores that are not finite, or of another shape.
    """
    scores = checked(scores)
    _check_level(level)
    num_seeds = scores.shape[1]
    value = float(statistic(scores.mean(axis=1), axis=-1))
    if num_seeds < FEWEST_SEEDS:
        return Interval(value, np.nan, np.nan)
    random = np.random.default_rng(seed)
    drawn = []
    for _ in range(NUM_RESAMPLES // _BLOCK):  # in blocks, for a thousand tasks' sake
        picked = random.integers(0, num_seeds, (_BLOCK, *scores.shape))
        means = np.take_along_axis(scores[None], picked, axis=-1).mean(axis=-1)
        drawn.append(statistic(means, axis=-1))
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    wider = np.sqrt(num_seeds / (num_seeds - 1))
    return Interval(
        value, value + wider * (low - value), value + wider * (high - value)
    )


def tasks_like_these(
    per_task: Float[np.ndarray, " tasks"],
    statistic: Statistic = np.mean,
    *,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """A statistic of one number a task, and how it depends on the tasks.

    BCa; where leaving out any one task changes nothing, as for a mean of the middle of many
    equal numbers, it does not exist, and the percentile interval stands for it.

    Args:
        per_task: such as the paired differences of two optimizers.
        statistic, level, seed: as for `these_tasks`.

    Raises:
        ValueError: numbers that are not finite.
    """
    from scipy import stats

    (per_task,) = checked(np.asarray(per_task)[None])
    _check_level(level)
    value = float(statistic(per_task, axis=-1))
    if len(per_task) < FEWEST_TASKS:
        return Interval(value, np.nan, np.nan)
    for method in ("BCa", "percentile"):
        with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", stats.DegenerateDataWarning)
            low, high = stats.bootstrap(
                (per_task,),
                statistic,
                n_resamples=NUM_RESAMPLES,
                confidence_level=level,
                vectorized=True,
                method=method,
                rng=np.random.default_rng(seed),
            ).confidence_interval
        if np.isfinite([low, high]).all():
            break
    return Interval(value, float(low), float(high))


def sign_flip(differences: Float[np.ndarray, " tasks"], *, seed: int = 0) -> float:
    """How often chance alone would give a mean difference as far from 0: a p-value.

    If two optimizers were alike, the sign of each task's difference would be a coin's.

    Args:
        differences: paired, one a task.
        seed: of the signs, where there are too many to try all.

    Raises:
        ValueError: numbers that are not finite.
    """
    from scipy import stats

    (differences,) = checked(np.asarray(differences)[None])
    # Of one task, either sign is as far from 0; scipy takes two at least.
    if len(differences) < 2 or not np.any(differences):
        return 1.0
    return float(
        stats.permutation_test(
            (differences,),
            np.mean,
            permutation_type="samples",
            vectorized=True,
            n_resamples=9999,
            rng=np.random.default_rng(seed),
        ).pvalue
    )


def _check_level(level: float) -> None:
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must be between 0 and 1, got {level}")


def checked(scores: Scores) -> Scores:
    """`scores` as float64.

    Raises:
        ValueError: another shape than [tasks, seeds], no numbers, or some that are not finite.
    """
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 2 or scores.size == 0:
        raise ValueError(f"scores must have shape [tasks, seeds], got {scores.shape}")
    if not np.all(np.isfinite(scores)):
        raise ValueError("scores must be finite: use normalized losses, in [-2, 2]")
    return scores

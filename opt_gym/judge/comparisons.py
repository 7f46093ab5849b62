"""An entrant beside a baseline: paired differences, final losses, robustness."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from opt_gym.judge import intervals
from opt_gym.judge.intervals import Interval, Scores

WORSE = 0.1
"""A task counts as lost where the normalized loss is higher by more than this."""


class Paired(NamedTuple):
    """Entrant minus baseline, over tasks; negative is better.

    Attributes:
        mean, iqm: over tasks, with the interval over tasks like these.
        worst: the mean over the worst tenth of tasks.
        p_value: of the mean, by flipping signs.
        wins, losses, num_tasks: tasks that are lower, and higher by more than `WORSE`.
    """

    mean: Interval
    iqm: Interval
    worst: float
    p_value: float
    wins: int
    losses: int
    num_tasks: int


def paired(entrant: Scores, baseline: Scores) -> Paired:
    """The primary score: normalized losses [tasks, seeds] of both on the same tasks.

    `entrant` and `baseline` have the tasks in the same order, and may differ in seeds.

    Raises:
        ValueError: other numbers of tasks.
    """
    if len(entrant) != len(baseline):
        raise ValueError(f"paired by task, but of {len(entrant)} and {len(baseline)}")
    off = np.mean(entrant, axis=1) - np.mean(baseline, axis=1)
    return Paired(
        mean=intervals.tasks_like_these(off),
        iqm=intervals.tasks_like_these(off, intervals.interquartile_mean),
        worst=float(intervals.worst_tenth(off)),
        p_value=intervals.sign_flip(off),
        wins=int(np.sum(off < 0)),
        losses=int(np.sum(off > WORSE)),
        num_tasks=len(off),
    )


def probability_of_improvement(
    entrant: Float[np.ndarray, " seeds"], baseline: Float[np.ndarray, " seeds"]
) -> float:
    """How often a run of the entrant is lower than one of the baseline; ties are half.

    What is not finite is higher than all that is.

    Source: Agarwal et al. 2021, arXiv:2108.13264.
    """
    mine, theirs = (
        np.where(np.isfinite(x), x, np.inf)
        for x in (np.asarray(entrant)[:, None], np.asarray(baseline)[None])
    )
    return float(np.mean((mine < theirs) + 0.5 * (mine == theirs)))


def log_ratio(
    entrant: Float[np.ndarray, " seeds"], baseline: Float[np.ndarray, " seeds"]
) -> float:
    """log10 of the ratio of two mean final losses; only where losses have the floor 0.

    inf where the entrant diverged.

    Raises:
        ValueError: a loss below 0, or a baseline that is 0 or not finite.
    """
    mine, theirs = float(np.mean(entrant)), float(np.mean(baseline))
    if mine < 0 or not 0 < theirs < np.inf:
        raise ValueError(f"a ratio needs losses above their floor, 0: {mine}, {theirs}")
    if not np.isfinite(mine):
        return float("inf")
    return float(np.log10(mine / theirs)) if mine else -float("inf")


def ranks(
    losses: Float[np.ndarray, "optimizers tasks"],
) -> Float[np.ndarray, "optimizers tasks"]:
    """The rank of each optimizer on each task, 1 the lowest, ties shared; NaN is last.

    `losses` has one number a pair, such as the mean over seeds of the final loss.
    """
    from scipy import stats

    finite = np.where(np.isfinite(losses), losses, np.inf)
    return stats.rankdata(finite, axis=0)


def diverged(
    flags: Bool[np.ndarray, "tasks seeds"], final: Scores
) -> Bool[np.ndarray, "tasks seeds"]:
    """Runs that were not finite, or ended above where they began (normalized loss > 1).

    Args:
        flags: whether a loss or gradient of the run was not finite.
        final: normalized losses after the last step.
    """
    final = np.asarray(final)
    return np.asarray(flags) | ~np.isfinite(final) | (final > 1.0)


def uses_to_pay(outer_seconds: float, seconds: float, baseline_seconds: float) -> float:
    """How many trainings pay for an outer-training; inf where a use saves no time.

    Args:
        outer_seconds: that it took.
        seconds, baseline_seconds: of one training with the entrant, and of one that reaches
            the same with the baseline, the trials of its tuning included.
    """
    saved = baseline_seconds - seconds
    return outer_seconds / saved if saved > 0 else float("inf")

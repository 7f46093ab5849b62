"""How much faster: steps that a tuned Adam needs, time to a target, performance profiles.

Sources: Metz et al. 2022, arXiv:2211.09760 (speed-up over Adam with a tuned rate); Dahl et al.
2023, arXiv:2306.07179, after Dolan and Moré 2002 (performance profiles, and their area).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from opt_gym.judge.targets import best_so_far, mean_curve, steps_to

PROFILE_END = 4.0
"""The area under a performance profile is taken from 1 to here."""

THRESHOLDS = (1.0, 2.0, 10.0)


class SpeedUp(NamedTuple):
    """How many times as many steps Adam needs; `censored`: more than that, it never got there.

    `factor` is Adam's steps over the entrant's horizon; if censored, its longest run's.
    A mean over tasks would be one over censored numbers: medians and shares are shown.
    """

    factor: float
    censored: bool


NO_SPEED_UP = SpeedUp(0.0, censored=False)
"""Of a loss that is not finite, and of a failure: Adam has as much before its first step."""


def speed_up(
    final_loss: float,
    horizon: int,
    inner_steps: Int[np.ndarray, " points"],
    adam_losses: Float[np.ndarray, "rates seeds points"],
) -> SpeedUp:
    """Steps that Adam, at whatever rate is best there, needs to a loss, over the horizon.

    A loss that is not finite has `NO_SPEED_UP`.

    Args:
        final_loss: of the entrant at its horizon T, on the same batches (`mean_curve`).
        horizon: T.
        inner_steps: of Adam's runs, which may be longer than T.
        adam_losses: of every rate.
    """
    if not np.isfinite(final_loss):
        return NO_SPEED_UP
    envelope = np.min([best_so_far(mean_curve(one)) for one in adam_losses], axis=0)
    steps = steps_to(final_loss, inner_steps, envelope)
    if np.isfinite(steps):
        return SpeedUp(steps / horizon, censored=False)
    return SpeedUp(float(inner_steps[-1]) / horizon, censored=True)


def shares_above(
    speed_ups: Sequence[SpeedUp], thresholds: Sequence[float] = THRESHOLDS
) -> list[float]:
    """The share of `speed_ups`, one a task, known to be above each of `thresholds`.

    A censored one counts where Adam's longest run was that long.
    """
    factors = np.array([one.factor for one in speed_ups])
    censored = np.array([one.censored for one in speed_ups])
    return [
        float(np.mean((factors > threshold) | (censored & (factors >= threshold))))
        for threshold in thresholds
    ]


def median(speed_ups: Sequence[SpeedUp]) -> SpeedUp:
    """The median of `speed_ups`, one a task; a lower bound where it falls on a censored one."""
    ordered = sorted(speed_ups, key=lambda one: (one.censored, one.factor))
    middle = ordered[(len(ordered) - 1) // 2 : len(ordered) // 2 + 1]
    factor = float(np.mean([one.factor for one in middle]))
    return SpeedUp(factor, any(one.censored for one in middle))


def time_ratio(
    target: float,
    entrant: tuple[Int[np.ndarray, " points"], Float[np.ndarray, "seeds points"]],
    reference: tuple[Int[np.ndarray, " points"], Float[np.ndarray, "seeds points"]],
    seconds_per_step: tuple[float, float] = (1.0, 1.0),
) -> float:
    """Time of the entrant to a target over that of the reference; inf for a miss.

    Args:
        target: the loss to reach.
        entrant, reference: (inner steps, losses) of each.
        seconds_per_step: of each; by default time is counted in steps.

    Raises:
        ValueError: the reference misses its own target.
    """
    times = [
        steps_to(target, steps, mean_curve(losses)) * seconds
        for (steps, losses), seconds in zip(
            (entrant, reference), seconds_per_step, strict=True
        )
    ]
    if not np.isfinite(times[1]):
        raise ValueError(f"the reference never reaches its target, {target}")
    if times[1] == 0.0:  # a target that the initial weights have
        return 1.0 if times[0] == 0.0 else float("inf")
    return times[0] / times[1]


def profile(
    ratios: Float[np.ndarray, " tasks"], within: Float[np.ndarray, " k"]
) -> Float[np.ndarray, " k"]:
    """The share of tasks whose time ratio is at most each of `within`.

    `ratios` has one number a task, as `time_ratio` gives it: inf for a miss.
    """
    ratios = np.asarray(ratios, np.float64)
    return np.mean(ratios[:, None] <= np.asarray(within)[None], axis=0)


def profile_area(
    ratios: Float[np.ndarray, " tasks"], end: float = PROFILE_END
) -> float:
    """The mean height of a performance profile from 1 to `end`: 1 at best, 0 at worst.

    `ratios` is as for `profile`; one below 1 counts as 1.
    """
    clipped = np.clip(np.asarray(ratios, np.float64), 1.0, end)
    return float(np.mean((end - clipped) / (end - 1.0)))

"""Losses over inner steps, and when they reach a target.

A curve here is a mean over seeds of losses that were measured at a few inner steps on fixed
batches. "Reached" means for the first time: what is compared is a running minimum.
"""

import numpy as np
from jaxtyping import Float, Int

WINDOW = 3
"""Points that a smoothed one is the mean of; points are log-spaced, so that it is a fixed
share of the steps done so far."""


def smoothed(
    losses: Float[np.ndarray, "... points"],
) -> Float[np.ndarray, "... points"]:
    """The mean of each point and as many points to either side as `WINDOW` and the ends allow.

    Points are along the last axis of `losses`; the first and the last stay what they are.
    """
    losses = np.asarray(losses, np.float64)
    last = losses.shape[-1] - 1
    columns = []
    for place in range(last + 1):
        reach = min(WINDOW // 2, place, last - place)
        columns.append(losses[..., place - reach : place + reach + 1].mean(axis=-1))
    return np.stack(columns, axis=-1)


def best_so_far(
    losses: Float[np.ndarray, "... points"],
) -> Float[np.ndarray, "... points"]:
    """The running minimum of `losses` along the points; what is not finite never counts."""
    losses = np.where(np.isfinite(losses), losses, np.inf)
    return np.minimum.accumulate(losses, axis=-1)


def mean_curve(
    losses: Float[np.ndarray, "seeds points"],
) -> Float[np.ndarray, " points"]:
    """The mean of `losses` over seeds, infinite where one of them is not finite, smoothed."""
    losses = np.where(np.isfinite(losses), losses, np.inf)
    with np.errstate(invalid="ignore"):
        return smoothed(losses.mean(axis=0))


def steps_to(
    target: float,
    inner_steps: Int[np.ndarray, " points"],
    losses: Float[np.ndarray, " points"],
) -> float:
    """The inner step at which a curve reaches a target for the first time; inf if never.

    Between two points a loss falls as a straight line does.

    Args:
        target: the loss to reach.
        inner_steps: of the points, ascending.
        losses: at these steps; what is not finite reaches nothing.
    """
    curve = best_so_far(losses)
    reached = np.flatnonzero(curve <= target)
    if not len(reached):
        return float("inf")
    place = int(reached[0])
    if place == 0 or not np.isfinite(curve[place - 1]):
        return float(inner_steps[place])
    before, after = curve[place - 1], curve[place]
    share = (before - target) / (before - after)
    return float(
        inner_steps[place - 1] + share * (inner_steps[place] - inner_steps[place - 1])
    )

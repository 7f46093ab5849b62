"""Mean normalized loss over tasks, against the inner step."""

from typing import Any

import numpy as np
from jaxtyping import Float

from opt_gym.evaluation.house_style import plain_ticks, worth_log
from opt_gym.evaluation.plots import LEAST_COST
from opt_gym.report.figures.figure_parts import (
    Drawing,
    Head,
    Look,
    cost_curve,
    entries,
    has_curve,
    looks,
    shown_together,
)
from opt_gym.report.side_by_side import Comparison

SIZE = (9.0, 4.4)
"""Without the head."""

_RESAMPLES = 2000
_MOST_BANDS = 3
"""More of them hide one another."""


def aggregate_curve(comparison: Comparison) -> Drawing | None:
    """All optimizers with curves, over the tasks that they have in common; None without any.

    The band of an entrant is a 95 % interval, tasks drawn anew; many entrants have none.
    """
    together = shown_together(comparison, has_curve(comparison))
    if not together.optimizers:
        return None
    found = [
        comparison.results[name, task.name]
        for name in together.optimizers
        for task in together.tasks
    ]
    grid = max(
        (one.inner_steps for one in found if one.inner_steps is not None), key=len
    )
    at = grid[grid > 0].astype(float)
    curves = {
        name: np.stack(
            [
                cost_curve(comparison.results[name, task.name], task, at)
                for task in together.tasks
            ]
        )
        for name in together.optimizers
    }
    shown = looks(comparison)
    tasks = f"{len(together.tasks)} task{'s' * (len(together.tasks) > 1)}"
    title = f"Normalized training loss, mean over {tasks}"
    head = Head(title, entries(together.optimizers, shown))
    entrants = {one.name for one in comparison.entrants}

    def draw(figure: Any) -> None:
        axes = head.draw(figure).subplots()
        _draw(axes, at, curves, shown, entrants)

    size = (SIZE[0], SIZE[1] + head.height(SIZE[0]))
    return Drawing(size, draw, title, together.note(len(comparison.tasks)))


def _draw(
    axes: Any,
    at: Float[np.ndarray, " points"],
    curves: dict[str, Float[np.ndarray, "tasks points"]],
    shown: dict[str, Look],
    entrants: set[str],
) -> None:
    means = {name: per_task.mean(axis=0) for name, per_task in curves.items()}
    for name, per_task in curves.items():
        if name in entrants and len(per_task) > 1 and len(entrants) <= _MOST_BANDS:
            low, high = _band(per_task)
            color = shown[name].color
            axes.fill_between(at, low, high, color=color, alpha=0.12, lw=0)
        axes.plot(at, means[name], **shown[name].options)
    axes.set_xscale("log")
    every = np.concatenate(list(means.values()))
    low, high = every.min(), every.max()
    if worth_log(every, decades=0.3):
        axes.set_yscale("log", nonpositive="clip")
        axes.set_ylim(max(low / 1.15, LEAST_COST), high * 1.15)
    else:
        room = 0.05 * (high - low) or 0.1
        axes.set_ylim(low - room, high + room)
    plain_ticks(axes)
    axes.set_xlabel("inner step")
    axes.set_ylabel("1 = initial, 0 = best of 14 Adams")


def _band(
    per_task: Float[np.ndarray, "tasks points"],
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """The middle 95 % of means over tasks that are drawn anew."""
    rng = np.random.default_rng(0)
    num = len(per_task)
    counts = rng.multinomial(num, np.full(num, 1 / num), _RESAMPLES)
    low, high = np.quantile(counts @ per_task / num, (0.025, 0.975), axis=0)
    return low, high

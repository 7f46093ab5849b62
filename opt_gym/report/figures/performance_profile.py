"""The share of tasks on which a target is reached within a factor of the reference's time."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from opt_gym.evaluation.house_style import INK, MUTED, plain, shortened
from opt_gym.judge.speed import PROFILE_END, profile, profile_area
from opt_gym.report.figures.figure_parts import (
    MOST_LETTERS,
    Drawing,
    Head,
    in_order,
    looks,
)
from opt_gym.report.side_by_side import Comparison

SIZE = (8.0, 4.2)
"""Without the head."""

_LOWEST, _HIGHEST = 0.1, 10.0
"""What is faster or slower than this is not told apart."""


def performance_profile(
    comparison: Comparison, ratios: Mapping[str, Float[np.ndarray, " tasks"]]
) -> Drawing | None:
    """A staircase an optimizer; its area from 1 to 4 is in the legend.

    Args:
        comparison: for the order and the colors.
        ratios: time to the target over the reference's, by optimizer: inf is a miss, NaN was
            not measured and is left out.
    """
    known = {
        name: np.asarray(ratios[name], np.float64)
        for name in in_order(comparison, set(ratios))
    }
    known = {name: own[~np.isnan(own)] for name, own in known.items()}
    empty = [name for name, own in known.items() if not own.size]
    known = {name: own for name, own in known.items() if own.size}
    if not known:
        return None
    shown = looks(comparison)
    most = max(own.size for own in known.values())

    def label(name: str, own: Float[np.ndarray, " tasks"]) -> str:
        fewer = f", {own.size} tasks" if own.size < most else ""
        area = f"{profile_area(own):.2f}"
        return f"{area}  {shortened(name, MOST_LETTERS)}{fewer}"

    title = (
        f"Share of {most} task{'s' * (most > 1)} on which the target is reached in time"
    )
    head = Head(
        title, [(label(name, own), shown[name].options) for name, own in known.items()]
    )

    def draw(figure: Any) -> None:
        axes = head.draw(figure).subplots()
        _draw(axes, known, {name: shown[name].options for name in known})

    note = f"left out, not measured: {', '.join(empty)}" if empty else ""
    size = (SIZE[0], SIZE[1] + head.height(SIZE[0]))
    return Drawing(size, draw, title, note)


def _draw(
    axes: Any,
    known: dict[str, Float[np.ndarray, " tasks"]],
    options: dict[str, dict[str, Any]],
) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    every = np.concatenate(list(known.values()))
    low = np.clip(every.min() / 1.1, _LOWEST, 0.9)
    axes.axvspan(1.0, PROFILE_END, color="#f4f5f7", lw=0, zorder=0)
    axes.axvline(1.0, color=MUTED, lw=0.9, zorder=1)
    for name, own in known.items():
        inside = np.unique(own[(own > low) & (own < _HIGHEST)])
        within = np.concatenate([[low], inside, [_HIGHEST]])
        heights = profile(own, within)
        axes.step(within, heights, where="post", **options[name])
    axes.set_xscale("log")
    axes.set_xlim(low, _HIGHEST)
    axes.set_ylim(-0.02, 1.03)
    ticks = [x for x in (0.1, 0.2, 0.5, 1, 2, 4, 10) if low <= x <= _HIGHEST]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{plain(x)}x"))
    axes.set_xlabel("time to the target, over that of the reference")
    axes.set_ylabel("share of tasks")
    axes.text(
        1.03,
        0.01,
        "the legend's numbers: mean height from 1x to 4x",
        fontsize=7.5,
        color=INK,
        va="bottom",
    )

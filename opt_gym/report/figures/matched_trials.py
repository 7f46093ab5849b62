"""Improvement at matched trials: a violin a row, as in Metz's talk."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from opt_gym.evaluation.house_style import INK, MUTED, plain_ticks, wrapped
from opt_gym.judge.intervals import interquartile_mean
from opt_gym.report.figures.figure_parts import (
    ENTRANT_COLORS,
    Drawing,
    Head,
    robust_limit,
)

WIDTH, ROW_HEIGHT = 9.0, 0.52
"""Inches."""

_LEAST = 4
"""Tasks that a violin needs; fewer are only dots."""


class Violin(NamedTuple):
    """One row: its title, and one number a task, all finite."""

    title: str
    differences: Float[np.ndarray, " tasks"]


def matched_trials(
    rows: Mapping[str, Float[np.ndarray, " tasks"]],
    entrant: str = "",
    color: str = ENTRANT_COLORS[0],
) -> Drawing | None:
    """One horizontal violin a row, every task a dot; right of 0 the entrant is better.

    Args:
        rows: by title, how much lower the entrant's mean normalized loss is than that of
            what the row names: *its* loss minus the entrant's, one a task. What is not
            finite is left out, and so is a row without numbers, which the note says.
        entrant: for the title.
        color: of the violins.
    """
    kept, empty, without = [], [], 0
    for title, given in rows.items():
        numbers = np.asarray(given, np.float64).ravel()
        finite = numbers[np.isfinite(numbers)]
        without += numbers.size - finite.size
        if finite.size:
            kept.append(Violin(title, finite))
        else:
            empty.append(title)
    if not kept:
        return None
    title = f"Improvement of {entrant or 'the entrant'} at matched trials"
    dots: dict[str, Any] = {"marker": "o", "ls": "none", "color": color}
    means = [abs(float(one.differences.mean())) for one in kept]
    limit = robust_limit(np.concatenate([one.differences for one in kept]))
    limit = max(limit, 1.1 * max(means))
    beyond = any((np.abs(one.differences) > limit).any() for one in kept)
    far: dict[str, Any] = {**dots, "marker": ">", "ms": 4, "mew": 0}
    head = Head(
        title,
        [
            ("a task", {**dots, "ms": 3.5, "alpha": 0.6, "mew": 0}),
            *([("beyond the axis", far)] if beyond else []),
            (
                "mean",
                {"marker": "D", "ls": "none", "color": INK, "mfc": "white", "ms": 5},
            ),
            (
                "interquartile mean",
                {"marker": "|", "ls": "none", "color": INK, "ms": 11},
            ),
        ],
    )

    def draw(figure: Any) -> None:
        axes = head.draw(figure).subplots()
        for place, one in enumerate(kept):
            _draw_row(axes, place, one, limit, color)
        _label(axes, kept, limit)

    notes = []
    if empty:
        notes.append(f"rows without data: {', '.join(empty)}")
    if without:
        notes.append(f"{without} numbers that are not finite are left out")
    height = head.height(WIDTH) + ROW_HEIGHT * len(kept) + 0.75
    return Drawing((WIDTH, height), draw, title, "; ".join(notes))


def _draw_row(axes: Any, place: int, one: Violin, limit: float, color: str) -> None:
    numbers = one.differences
    grid = np.linspace(-limit, limit, 400)
    density = _density(numbers, grid)
    if density is not None:
        half = 0.36 * density / density.max()
        axes.fill_between(
            grid, place - half, place + half, color=color, alpha=0.2, lw=0, zorder=2
        )
    inside = np.abs(numbers) <= limit
    rng = np.random.default_rng(place)
    spread = 0.16 if len(numbers) > 1 else 0.0
    y = place + rng.uniform(-spread, spread, len(numbers))
    axes.plot(
        numbers[inside], y[inside], "o", color=color, ms=3.4, alpha=0.6, mew=0, zorder=3
    )
    far_look: dict[str, Any] = {"color": color, "ms": 4.2, "mew": 0, "zorder": 3}
    for side, marker in ((1, ">"), (-1, "<")):
        far = side * numbers > limit
        if far.any():
            x = np.full(far.sum(), side * limit)
            axes.plot(x, y[far], marker, clip_on=False, **far_look)
    mean, middle = float(numbers.mean()), float(interquartile_mean(numbers))
    axes.plot(
        np.clip(middle, -limit, limit), place, "|", color=INK, ms=16, mew=2.2, zorder=5
    )
    axes.plot(
        np.clip(mean, -limit, limit), place, "D", color=INK, mfc="white", ms=5, zorder=6
    )
    better = int((numbers > 0).sum())
    axes.annotate(
        f"mean {mean:+.3f}, IQM {middle:+.3f}\n{better} of {len(numbers)} better",
        (1.0, place),
        xycoords=("axes fraction", "data"),
        xytext=(9, 0),
        textcoords="offset points",
        va="center",
        fontsize=7.5,
        color=INK,
    )


def _label(axes: Any, kept: list[Violin], limit: float) -> None:
    axes.axvline(0.0, color=MUTED, lw=1.1, zorder=1)
    axes.set_xlim(-limit, limit)
    axes.set_ylim(len(kept) - 0.45, -0.55)
    plain_ticks(axes)
    axes.set_yticks(
        range(len(kept)),
        [wrapped(one.title, 30) for one in kept],
        fontsize=8.5,
        color=INK,
    )
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(
        "mean normalized loss of the row's tuning, minus the entrant's\n"
        "← entrant is worse  |  entrant is better →"
    )


def _density(
    numbers: Float[np.ndarray, " tasks"], grid: Float[np.ndarray, " k"]
) -> Float[np.ndarray, " k"] | None:
    """A Gaussian kernel's, robustly wide; None for too few numbers, or equal ones."""
    if len(numbers) < _LEAST:
        return None
    low, high = np.quantile(numbers, (0.25, 0.75))
    width = min(float(numbers.std()), (high - low) / 1.34 or float(numbers.std()))
    width = max(0.9 * width * len(numbers) ** -0.2, 1.5 * float(grid[1] - grid[0]))
    if numbers.std() == 0:
        return None
    away = (grid[:, None] - numbers[None]) / width
    return np.exp(-0.5 * away**2).sum(axis=1)

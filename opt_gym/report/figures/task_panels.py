"""Small panels, one a task: training losses against steps or seconds, with seed bands."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from opt_gym.archive.task_records import Measured
from opt_gym.evaluation.house_style import MUTED, scale_losses
from opt_gym.evaluation.plots import (
    PANEL_HEIGHT,
    TITLE_SIZE,
    WIDTH,
    columns_for,
    panel_title,
)
from opt_gym.report.figures.figure_parts import (
    BACKGROUND,
    Drawing,
    Entry,
    Head,
    entries,
    looks,
    mean_cost_of,
    say_nothing_there,
)
from opt_gym.report.side_by_side import Comparison, TaskInfo

PAGE = 20
"""Tasks on one page, at most."""

HIGHEST_COST = 1.15
"""Losses above this normalized loss are drawn there: what happens above is no news."""

_THIN = {"color": BACKGROUND, "lw": 0.7, "zorder": 2}
_LOST = {
    "marker": "x",
    "ms": 6,
    "mew": 1.7,
    "ls": "none",
    "zorder": 7,
    "clip_on": False,
}


class Cast(NamedTuple):
    """Who is drawn in the panels: with color and band, and as a thin grey line."""

    strong: tuple[str, ...]
    thin: tuple[str, ...]


Times = Callable[[str, TaskInfo, Measured], np.ndarray | None]
"""(optimizer, task, result) -> x of its points, or None: not drawn."""


def cast(
    comparison: Comparison,
    chosen: Sequence[str] | None = None,
    background: Sequence[str] | None = None,
) -> Cast:
    """Entrants and a few baselines, and the others behind them.

    Args:
        comparison: of them.
        chosen: baselines that are drawn like entrants; by default the primary and the
            co-primary, or, where there are none, the one with the lowest mean cost.
        background: those with thin lines; by default all other baselines.
    """
    names = [one.name for one in comparison.baselines]
    if chosen is None:
        chosen = [n for n in (comparison.primary, comparison.co_primary) if n in names]
        chosen = chosen or _lowest(comparison, names)
    if background is None:
        background = [name for name in names if name not in chosen]
    drawn = {
        name
        for (name, _), found in comparison.results.items()
        if found.mean is not None
    }
    strong = [one.name for one in comparison.entrants]
    strong += [n for n in chosen if n in drawn and n in names and n not in strong]
    thin = [name for name in background if name in drawn and name not in strong]
    return Cast(tuple(strong), tuple(thin))


def pages(
    comparison: Comparison,
    tasks: Sequence[TaskInfo],
    who: Cast,
    x_of: Times,
    words: tuple[str, str],
) -> list[Drawing]:
    """Pages of panels; the parts of a suite do not share one.

    Args:
        comparison: whose results.
        tasks: that get a panel.
        who: is drawn.
        x_of: where its points are.
        words: the beginning of the titles, and what x is.
    """
    parts: dict[str, list[TaskInfo]] = {}
    for task in tasks:
        parts.setdefault(task.part, []).append(task)
    cut = []
    for part, own in parts.items():
        num = math.ceil(len(own) / PAGE)
        size = math.ceil(len(own) / num)
        for page in range(num):
            which = f", page {page + 1} of {num}" if num > 1 else ""
            title = f"{words[0]}: {part or comparison.suite}{which}"
            cut.append((title, own[page * size : (page + 1) * size]))
    return [_page(comparison, own, who, x_of, (title, words[1])) for title, own in cut]


def _page(
    comparison: Comparison,
    tasks: Sequence[TaskInfo],
    who: Cast,
    x_of: Times,
    words: tuple[str, str],
) -> Drawing:
    title, x_label = words
    head = Head(title, _legend(comparison, who))
    columns = columns_for(len(tasks))
    rows = math.ceil(len(tasks) / columns)
    width = WIDTH if columns > 1 else 0.6 * WIDTH
    height = head.height(width) + (PANEL_HEIGHT * rows if columns > 1 else 3.6) + 0.2

    def draw(figure: Any) -> None:
        below = head.draw(figure)
        panels: Any = below.subplots(rows, columns, squeeze=False, sharex=True)
        for index, axes in enumerate(panels.flat):
            if index >= len(tasks):
                axes.set_visible(False)
                continue
            draw_panel(axes, comparison, tasks[index], who, x_of)
            name = tasks[index].name.replace("_", " ")
            axes.set_title(
                panel_title(name, columns), loc="left", fontsize=TITLE_SIZE, pad=3
            )
            if index % columns == 0:
                axes.set_ylabel("training loss")
            if index + columns >= len(tasks):
                axes.set_xlabel(x_label)
                axes.tick_params(labelbottom=True)

    return Drawing((width, height), draw, title)


class _Curve(NamedTuple):
    """One optimizer's in a panel, where it is finite and bounded."""

    name: str
    x: np.ndarray
    mean: np.ndarray
    spread: np.ndarray


def draw_panel(
    axes: Any, comparison: Comparison, task: TaskInfo, who: Cast, x_of: Times
) -> None:
    """One task: lines are means over seeds, bands their spread, a cross ends a lost run."""
    curves = _curves(comparison, task, who, x_of)
    axes.set_xscale("log")
    if not any(one.x.size for one in curves):
        say_nothing_there(axes)
        axes.set_yticks([])
    else:
        scale_losses(axes, np.concatenate([one.mean for one in curves]))
    shown = looks(comparison)
    cap = _cap(task)
    for one in curves:
        if one.name in who.thin:
            axes.plot(one.x, one.mean, **_THIN)
            continue
        look = shown[one.name]
        axes.plot(one.x, one.mean, **look.options)
        low, high = _band(one, axes.get_yscale() == "log")
        band: dict[str, Any] = {"color": look.color, "alpha": 0.14, "lw": 0}
        # Where a mean is cut off, its spread says nothing of what is shown.
        high = np.minimum(high, cap)
        axes.fill_between(one.x, low, high, where=one.mean < cap, **band)
        if comparison.diverged(one.name, task).any() and one.x.size:
            axes.plot(one.x[-1], one.mean[-1], color=look.color, **_LOST)
    _say_who_failed(axes, comparison, task, who)


def _curves(
    comparison: Comparison, task: TaskInfo, who: Cast, x_of: Times
) -> list[_Curve]:
    """In the order they are drawn."""
    cap, curves = _cap(task), []
    for name in (*who.thin, *reversed(who.strong)):
        found = comparison.result(name, task)
        if found is None or found.mean is None or found.spread is None:
            continue
        x = x_of(name, task, found)
        if x is not None:
            fits = (x > 0) & np.isfinite(found.mean[0])
            mean = np.minimum(found.mean[0][fits], cap)
            spread = np.nan_to_num(found.spread[0][fits], posinf=0.0)
            curves.append(_Curve(name, x[fits], mean, spread))
    return curves


def _band(one: _Curve, log: bool) -> tuple[np.ndarray, np.ndarray]:
    """A spread about the mean; as a factor where the axis is logarithmic."""
    high = one.mean + one.spread
    if not log:
        return one.mean - one.spread, high
    # Not mean², which overflows where a loss exploded.
    return one.mean * (one.mean / np.maximum(high, np.finfo(float).tiny)), high


def _say_who_failed(
    axes: Any, comparison: Comparison, task: TaskInfo, who: Cast
) -> None:
    entrants = [one.name for one in comparison.entrants if one.name in who.strong]
    failed = [name for name in entrants if (name, task.name) in comparison.errors]
    if failed:
        words = failed[0] if len(failed) == 1 else f"{len(failed)} entrants"
        axes.text(
            0.02,
            0.03,
            f"{words[:20]} failed",
            transform=axes.transAxes,
            fontsize=6.5,
            color=looks(comparison)[failed[0]].color if len(failed) == 1 else MUTED,
        )


def _legend(comparison: Comparison, who: Cast) -> list[Entry]:
    known = entries(who.strong, looks(comparison))
    if who.thin:
        known.append((f"{len(who.thin)} other baselines", {**_THIN, "lw": 1.2}))
    if any(
        (name, task.name) in comparison.results
        and comparison.diverged(name, task).any()
        for name in who.strong
        for task in comparison.tasks
    ):
        known.append(("a seed diverged", {**_LOST, "color": MUTED}))
    return known


def _cap(task: TaskInfo) -> float:
    """The highest loss that is drawn."""
    normalizer = task.normalizers.get("train")
    if normalizer is None:
        return math.inf
    return normalizer.best + HIGHEST_COST * (normalizer.initial - normalizer.best)


def _lowest(comparison: Comparison, names: Sequence[str]) -> list[str]:
    costs = {
        name: np.mean(
            [
                2.0 if math.isnan(cost) else cost
                for cost in (
                    mean_cost_of(comparison, name, t) for t in comparison.tasks
                )
            ]
        )
        for name in names
    }
    return [min(costs, key=lambda name: costs[name])] if costs else []

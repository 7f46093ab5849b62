"""What the page draws with plotly: figures as JSON, which `templates/report.js` hands on.

A color is the name of a CSS variable, so that the page can be light or dark. Names are
escaped, because plotly reads a little HTML.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from opt_gym.archive.task_records import SPLITS, TaskRecord
from opt_gym.evaluation.runs import normalized
from opt_gym.judge.speed import PROFILE_END, profile
from opt_gym.report.baselines import BEST_ADAM
from opt_gym.report.comparison import Comparison, TaskInfo
from opt_gym.report.judged import Judged
from opt_gym.report.matched import matched_by_task
from opt_gym.report.words_of_numbers import counted, listed, plain_number, signed

Json = dict[str, Any]

NUM_COLORS = {"entrant": 6, "baseline": 8}
_DASHES = ("solid", "dash", "dot")
_SLOWEST = 10.0
"""The end of a profile's axis."""


class Chart(NamedTuple):
    """A figure of the page.

    Attributes:
        name: as the static figure that shows the same is called.
        title, caption: for people.
        figures: plotly's {data, layout}, by what is chosen; one without a choice.
        height: pixels.
        width: at least; what is wider than the screen scrolls in its box.
        curves: instead of `figures`, what task curves are drawn of.
    """

    name: str
    title: str
    caption: str
    figures: Mapping[str, Json] = {}
    height: int = 420
    width: int = 0
    curves: Json | None = None


def charts(judged: Judged, records: Mapping[str, TaskRecord]) -> list[Chart]:
    """All that there is something to draw of.

    Args:
        judged: at one horizon.
        records: the archive's, by task.
    """
    found = [
        aggregate(judged.comparison),
        violins(judged, records),
        heat(judged),
        profiles(judged),
        task_curves(judged.comparison),
    ]
    return [one for one in found if one is not None]


def lines(comparison: Comparison) -> dict[str, Json]:
    """How the line of each optimizer looks; entrants and what they are measured by stand out."""
    found: dict[str, Json] = {}
    counts = dict.fromkeys(NUM_COLORS, 0)
    for one in comparison.optimizers:
        if one.name in (comparison.primary, comparison.co_primary):
            dash = "solid" if one.name == comparison.primary else "dash"
            found[one.name] = {"color": "var(--ink)", "dash": dash, "width": 1.8}
            continue
        kind = "entrant" if one.is_entrant else "baseline"
        turn, color = divmod(counts[kind], NUM_COLORS[kind])
        counts[kind] += 1
        found[one.name] = {
            "color": f"var(--{kind}-{color + 1})",
            "dash": _DASHES[turn % len(_DASHES)],
            "width": 2.4 if one.is_entrant else 1.4,
        }
    return found


def shown_at_first(comparison: Comparison) -> set[str]:
    """Others are there for who asks for them in the legend."""
    kept = {comparison.primary, comparison.co_primary, BEST_ADAM}
    entrants = {one.name for one in comparison.entrants}
    few = {one.name for one in comparison.baselines[: max(0, 4 - len(entrants))]}
    return kept | entrants | (few if not kept & set(_names(comparison)) else set())


def aggregate(comparison: Comparison) -> Chart | None:
    """Mean normalized loss of those that have all of the entrants' tasks."""
    tasks = _tasks_with_curves(comparison)
    names = [
        n for n in _names(comparison) if all(_curve(comparison, n, t) for t in tasks)
    ]
    if not tasks or not names:
        return None
    steps = [comparison.results[n, t.name].inner_steps for n in names for t in tasks]
    grid = max((one for one in steps if one is not None), key=len)
    grid = grid[grid > 0]
    looks, first = lines(comparison), shown_at_first(comparison)
    data = []
    for name in names:
        mean = np.mean([_costs_at(comparison, name, t, grid) for t in tasks], axis=0)
        data.append(
            {
                **_trace(name, looks, first),
                "x": grid.tolist(),
                "y": _rounded(mean),
                "hovertemplate": "step %{x}: %{y:.3g}",
            }
        )
    every = np.concatenate([one["y"] for one in data])
    kind = "log" if every.min() > 0 and every.max() > 3 * every.min() else "linear"
    left = [name for name in _names(comparison) if name not in names]
    return Chart(
        "aggregate_curve",
        "Training loss, all tasks",
        f"Normalized training loss, mean over {counted(len(tasks), 'task')} and seeds, by "
        "inner step: 1 is the initial loss, 0 the best of 14 Adams. A click on a name shows "
        f"or hides it.{_left_out(left)}",
        {
            "": {
                "data": data,
                "layout": _axes("inner step", "log", "normalized loss", kind),
            }
        },
        height=460,
    )


def profiles(judged: Judged) -> Chart | None:
    """The share of tasks within a factor of the reference's time."""
    comparison = judged.comparison
    looks, first = lines(comparison), shown_at_first(comparison)
    data = []
    for name in _names(comparison):
        known = [row.time_ratio for row in judged.rows(name)]
        ratios = np.array([one for one in known if one is not None])
        if not len(ratios):
            continue
        inside = ratios[(ratios > 0.1) & (ratios < _SLOWEST)]
        at = np.unique(np.concatenate([[0.1], inside, [1.0, PROFILE_END, _SLOWEST]]))
        area = plain_number(judged.of(name).profile_area)
        data.append(
            {
                **_trace(name, looks, first),
                "name": f"{escape(name, quote=False)} · {area}",
                "x": _rounded(at),
                "y": _rounded(profile(ratios, at)),
                "line": {**looks[name], "shape": "hv"},
                "hovertemplate": "within %{x:.2f}x: %{y:.0%} of tasks",
            }
        )
    if not data:
        return None
    layout = _axes("steps to the target, over the reference's", "log", "share of tasks")
    layout["yaxis"] |= {"range": [-0.03, 1.03], "tickformat": ".0%"}
    layout["xaxis"] |= {
        "range": [-1, 1],
        "tickvals": [0.1, 0.2, 0.5, 1, 2, 4, 10],
        "ticktext": ["0.1x", "0.2x", "0.5x", "1x", "2x", "4x", "10x"],
    }
    return Chart(
        "performance_profile",
        "Time to target",
        "The share of tasks on which the loss that the best of 14 Adams has at the end is "
        "reached within a factor of its steps; higher and further left is better. Beside each "
        "name the area from 1x to 4x.",
        {"": {"data": data, "layout": layout}},
        height=440,
    )


def violins(judged: Judged, records: Mapping[str, TaskRecord]) -> Chart | None:
    """Improvement at matched trials, a dot a task."""
    comparison, looks = judged.comparison, lines(judged.comparison)
    figures, missing = {}, set()
    for one in comparison.entrants:
        rows = matched_by_task(comparison, one.name, records)
        missing |= {title for title, row in rows.items() if not row}
        data = [
            _violin(title, row, looks[one.name]["color"])
            for title, row in reversed(rows.items())
            if row
        ]
        if data:
            layout = _axes("improvement: its mean normalized loss minus the entrant's")
            layout["yaxis"] = {"automargin": True, "showgrid": False}
            layout["xaxis"] |= {"zeroline": True, "zerolinewidth": 2}
            layout |= {"showlegend": False, "violinmode": "overlay"}
            figures[one.name] = {"data": data, "layout": layout}
    if not figures:
        return None
    most = max(len(figure["data"]) for figure in figures.values())
    return Chart(
        "matched_trials",
        "Improvement at matched trials",
        "Each dot is a task; right of 0 the entrant is better than a tuned optimizer that had "
        f"so many trials.{_left_out(sorted(missing), 'Not in the archive')}",
        figures,
        height=110 + 62 * most,
    )


def heat(judged: Judged) -> Chart | None:
    """Tasks by optimizers: the mean cost beside the one-trial baseline's."""
    comparison = judged.comparison
    names = [name for name in _names(comparison) if judged.of(name).num_tasks]
    if not names:
        return None
    has_primary = bool(comparison.primary)
    cells, words = [], []
    for task in reversed(comparison.tasks):
        rows = [judged.per_task[name, task.name] for name in names]
        known = [one.difference if has_primary else one.mean_cost for one in rows]
        cells.append([None if one is None else float(f"{one:.4g}") for one in known])
        words.append(
            [
                f"mean {plain_number(one.mean_cost)}, difference {signed(one.difference)}"
                if not one.error
                else escape(one.error.splitlines()[-1][:120], quote=False)
                for one in rows
            ]
        )
    sizes = np.array([abs(x) for row in cells for x in row if x is not None] or [1.0])
    limit = max(0.02, float(np.quantile(sizes, 0.9)))
    return Chart(
        "heat_map",
        "Tasks and optimizers",
        "Mean normalized loss of a run"
        + (
            ", minus the one-trial baseline's: blue is better, red is worse."
            if has_primary
            else "."
        )
        + " Empty cells were not measured, or failed.",
        {
            "": {
                "data": [_heat_trace(comparison, names, cells, words, limit)],
                "layout": _heat_layout(),
            }
        },
        height=190 + 20 * len(comparison.tasks),
        width=260 + 26 * len(names),
    )


def task_curves(comparison: Comparison) -> Chart | None:
    """What the page draws of the task and the split that are chosen."""
    names = [
        name
        for name in _names(comparison)
        if any(_curve(comparison, name, task) for task in comparison.tasks)
    ]
    if not names:
        return None
    looks, first = lines(comparison), shown_at_first(comparison)
    steps: list[list[int]] = []
    tasks = []
    for task in comparison.tasks:
        curves = []
        for number, name in enumerate(names):
            found = comparison.result(name, task)
            if found is None or found.mean is None or found.inner_steps is None:
                continue
            own = found.inner_steps.tolist()
            if own not in steps:
                steps.append(own)
            spread = found.spread if comparison.optimizers[number].is_entrant else None
            curves.append(
                [
                    number,
                    steps.index(own),
                    [_rounded(row) for row in found.mean],
                    None if spread is None else [_rounded(row) for row in spread],
                ]
            )
        if curves:
            tasks.append({"name": task.name, "curves": curves})
    return Chart(
        "task_curves",
        "Losses, task by task",
        "Means over seeds; the band of an entrant is one standard deviation over seeds.",
        height=460,
        curves={
            "traces": [_trace(name, looks, first) for name in names],
            "splits": list(SPLITS),
            "steps": steps,
            "tasks": tasks,
        },
    )


def _names(comparison: Comparison) -> list[str]:
    return [one.name for one in comparison.optimizers]


def _curve(comparison: Comparison, name: str, task: TaskInfo) -> bool:
    found = comparison.result(name, task)
    return found is not None and found.mean is not None and "train" in task.normalizers


def _tasks_with_curves(comparison: Comparison) -> list[TaskInfo]:
    """Those of all entrants, and of the primary baseline where that leaves any."""
    who = [one.name for one in comparison.entrants]
    found = [t for t in comparison.tasks if all(_curve(comparison, n, t) for n in who)]
    both = [t for t in found if _curve(comparison, comparison.primary, t)]
    return both or found


def _costs_at(
    comparison: Comparison, name: str, task: TaskInfo, at: np.ndarray
) -> Float[np.ndarray, " points"]:
    found = comparison.results[name, task.name]
    assert found.mean is not None
    assert found.inner_steps is not None
    costs = normalized(found.mean[0], task.normalizers["train"])
    return np.interp(at, found.inner_steps, costs)


def _trace(name: str, looks: Mapping[str, Json], first: set[str]) -> Json:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": escape(name, quote=False),
        "line": looks[name],
        "visible": True if name in first else "legendonly",
    }


def _violin(title: str, row: Mapping[str, float], color: str) -> Json:
    return {
        "type": "violin",
        "orientation": "h",
        "name": title,
        "x": _rounded(list(row.values())),
        "text": [escape(task, quote=False) for task in row],
        "hovertemplate": "%{text}: %{x:+.3f}",
        "hoveron": "points",
        "points": "all",
        "pointpos": 0,
        "jitter": 0.5,
        "spanmode": "hard",
        "line": {"color": color, "width": 1},
        "marker": {"color": color, "size": 6, "opacity": 0.75},
        "meanline": {"visible": True},
    }


def _heat_trace(
    comparison: Comparison,
    names: Sequence[str],
    cells: list[list[float | None]],
    words: list[list[str]],
    limit: float,
) -> Json:
    return {
        "type": "heatmap",
        "x": [escape(name, quote=False) for name in names],
        "y": [escape(task.name, quote=False) for task in reversed(comparison.tasks)],
        "z": cells,
        "text": words,
        "hovertemplate": "%{y}<br>%{x}<br>%{text}<extra></extra>",
        "zmin": -limit,
        "zmax": limit,
        "colorscale": [
            [0, "var(--cool)"],
            [0.5, "var(--mid)"],
            [1, "var(--warm)"],
        ],
        "xgap": 1,
        "ygap": 1,
        "colorbar": {"thickness": 10, "len": 0.9, "tickformat": "+.2f"},
    }


def _heat_layout() -> Json:
    axis = {"automargin": True, "showgrid": False, "tickfont": {"size": 11}}
    return {
        "xaxis": {**axis, "tickangle": -50, "side": "top", "type": "category"},
        "yaxis": {**axis, "type": "category"},
    }


def _axes(x: str, x_kind: str = "linear", y: str = "", y_kind: str = "linear") -> Json:
    return {
        "xaxis": {"title": {"text": x}, "type": x_kind, "automargin": True},
        "yaxis": {"title": {"text": y}, "type": y_kind, "automargin": True},
    }


def _left_out(names: Sequence[str], why: str = "Left out, on too few tasks") -> str:
    return f" {why}: {listed(names, 8)}." if names else ""


def _rounded(values: Any) -> list[float | None]:
    """Four digits; None for what is not finite: a gap."""
    return [
        float(f"{value:.4g}") if np.isfinite(value) else None
        for value in np.asarray(values, np.float64).ravel().tolist()
    ]

"""The interactive figures with a dot, a cell or a choice for every task."""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from opt_gym.archive.task_records import SPLITS, TaskRecord
from opt_gym.report.interactive_parts import (
    Chart,
    Json,
    axes,
    has_curve,
    left_out,
    lines,
    names_of,
    rounded,
    shown_at_first,
    trace,
)
from opt_gym.report.matched import matched_by_task
from opt_gym.report.side_by_side import Comparison
from opt_gym.report.verdict import Judged
from opt_gym.report.words_of_numbers import plain_number, signed


def violins(judged: Judged, records: Mapping[str, TaskRecord]) -> Chart | None:
    """Improvement at matched trials, a dot a task."""
    comparison, looks = judged.comparison, lines(judged.comparison)
    figures, missing = {}, set()
    for one in comparison.entrants:
        rows = matched_by_task(comparison, one.name, records)
        if any(rows.values()):  # one that failed everywhere says nothing of the archive
            missing |= {title for title, row in rows.items() if not row}
        data = [
            _violin(title, row, looks[one.name]["color"])
            for title, row in reversed(rows.items())
            if row
        ]
        if data:
            layout = axes("improvement")
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
        "Each dot is a task, and how much lower the entrant's mean normalized loss is there "
        "than that of a tuned optimizer with so many trials: right of 0 the entrant is better."
        f"{left_out(sorted(missing), 'Not in the archive')}",
        figures,
        height=110 + 62 * most,
    )


def heat(judged: Judged) -> Chart | None:
    """Tasks by optimizers: the mean cost beside the one-trial baseline's."""
    comparison = judged.comparison
    names = [name for name in names_of(comparison) if judged.of(name).num_tasks]
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
            f", minus that of “{comparison.primary}”: blue is better, red is worse."
            if has_primary
            else "."
        )
        + " An empty cell has no number, or none to compare with: the pointer says which.",
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
        for name in names_of(comparison)
        if any(has_curve(comparison, name, task) for task in comparison.tasks)
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
                    [rounded(row) for row in found.mean],
                    None if spread is None else [rounded(row) for row in spread],
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
            "traces": [trace(name, looks, first) for name in names],
            "splits": list(SPLITS),
            "steps": steps,
            "tasks": tasks,
        },
    )


def _violin(title: str, row: Mapping[str, float], color: str) -> Json:
    return {
        "type": "violin",
        "orientation": "h",
        "name": title,
        "x": rounded(list(row.values())),
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
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "xaxis": {**axis, "tickangle": -90, "side": "top", "type": "category"},
        "yaxis": {**axis, "type": "category"},
    }

"""What the page draws with plotly: figures as JSON, which `templates/report.js` hands on."""

from collections.abc import Mapping
from html import escape

import numpy as np
from jaxtyping import Float

from opt_gym.archive.task_records import TaskRecord
from opt_gym.evaluation.runs import normalized
from opt_gym.judge.speed import PROFILE_END, profile
from opt_gym.report.interactive_by_task import heat, task_curves, violins
from opt_gym.report.interactive_parts import (
    Chart,
    axes,
    has_curve,
    left_out,
    lines,
    names_of,
    rounded,
    shown_at_first,
    trace,
)
from opt_gym.report.side_by_side import Comparison, TaskInfo
from opt_gym.report.verdict import Judged
from opt_gym.report.words_of_numbers import counted, plain_number

_SLOWEST = 10.0
"""The end of a profile's axis."""


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


def aggregate(comparison: Comparison) -> Chart | None:
    """Mean normalized loss of those that have all of the entrants' tasks."""
    tasks = _tasks_with_curves(comparison)
    names = [
        n
        for n in names_of(comparison)
        if all(has_curve(comparison, n, t) for t in tasks)
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
                **trace(name, looks, first),
                "x": grid.tolist(),
                "y": rounded(mean),
                "hovertemplate": "step %{x}: %{y:.3g}",
            }
        )
    figures = {
        kind: {
            "data": data,
            "layout": axes("inner step", "log", "normalized loss", kind),
        }
        for kind in ("linear", "log")
    }
    left = [name for name in names_of(comparison) if name not in names]
    return Chart(
        "aggregate_curve",
        "Training loss, all tasks",
        f"Normalized training loss, mean over {counted(len(tasks), 'task')} and seeds, by "
        "inner step: 1 is the initial loss, 0 the best of 14 Adams; a logarithmic axis has no "
        f"place for what is not above 0.{left_out(left)}",
        figures,
        choice="Axis",
        height=460,
    )


def profiles(judged: Judged) -> Chart | None:
    """The share of tasks within a factor of the reference's time."""
    comparison = judged.comparison
    looks, first = lines(comparison), shown_at_first(comparison)
    data = []
    for name in names_of(comparison):
        known = [row.time_ratio for row in judged.rows(name)]
        ratios = np.array([one for one in known if one is not None])
        if not len(ratios):
            continue
        inside = ratios[(ratios > 0.1) & (ratios < _SLOWEST)]
        at = np.unique(np.concatenate([[0.1], inside, [1.0, PROFILE_END, _SLOWEST]]))
        area = plain_number(judged.of(name).profile_area)
        data.append(
            {
                **trace(name, looks, first),
                "name": f"{escape(name, quote=False)} · {area}",
                "x": rounded(at),
                "y": rounded(profile(ratios, at)),
                "line": {**looks[name], "shape": "hv"},
                "hovertemplate": "within %{x:.2f}x: %{y:.0%} of tasks",
            }
        )
    if not data:
        return None
    layout = axes("steps to the target, over the reference's", "log", "share of tasks")
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


def _tasks_with_curves(comparison: Comparison) -> list[TaskInfo]:
    """Those of all entrants that have any, and of the primary where that leaves some."""
    who = [
        one.name
        for one in comparison.entrants
        if any(has_curve(comparison, one.name, task) for task in comparison.tasks)
    ]
    found = [
        t for t in comparison.tasks if all(has_curve(comparison, n, t) for n in who)
    ]
    both = [t for t in found if has_curve(comparison, comparison.primary, t)]
    return both or found


def _costs_at(
    comparison: Comparison, name: str, task: TaskInfo, at: np.ndarray
) -> Float[np.ndarray, " points"]:
    found = comparison.results[name, task.name]
    assert found.mean is not None
    assert found.inner_steps is not None
    costs = normalized(found.mean[0], task.normalizers["train"])
    return np.interp(at, found.inner_steps, costs)

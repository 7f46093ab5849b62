"""Training losses against seconds, of the tasks on which optimizers were timed."""

from collections.abc import Mapping, Sequence

import numpy as np

from opt_gym.archive.task_records import Measured
from opt_gym.report.figures.figure_parts import Drawing
from opt_gym.report.figures.task_panels import Cast, cast, pages
from opt_gym.report.side_by_side import Comparison, TaskInfo


def loss_against_seconds(
    comparison: Comparison,
    seconds: Mapping[tuple[str, str], float],
    chosen: Sequence[str] | None = None,
) -> list[Drawing]:
    """A panel for every task on which somebody with a curve was timed.

    Args:
        comparison: whose results.
        seconds: of a step, by (optimizer's name, task's name).
        chosen: baselines drawn like entrants; by default all that were timed.
    """
    timed = {
        pair: found
        for pair, found in seconds.items()
        if pair in comparison.results
        and comparison.results[pair].mean is not None
        and np.isfinite(found)
        and found > 0
    }
    tasks = [t for t in comparison.tasks if any(t.name == name for _, name in timed)]
    if not tasks:
        return []
    names = {name for name, _ in timed}
    if chosen is None:
        chosen = [one.name for one in comparison.baselines if one.name in names]
    strong = [name for name in cast(comparison, chosen).strong if name in names]

    def x_of(name: str, task: TaskInfo, found: Measured) -> np.ndarray | None:
        each = timed.get((name, task.name))
        if each is None or found.inner_steps is None:
            return None
        return found.inner_steps * each

    words = ("Training loss against seconds", "seconds, evaluations not counted")
    return pages(comparison, tasks, Cast(tuple(strong), ()), x_of, words)

"""Training losses of every task against the inner step."""

from collections.abc import Sequence

import numpy as np

from opt_gym.archive.task_records import Measured
from opt_gym.report.figures.figure_parts import Drawing
from opt_gym.report.figures.task_panels import cast, pages
from opt_gym.report.side_by_side import Comparison, TaskInfo


def task_curves(
    comparison: Comparison,
    chosen: Sequence[str] | None = None,
    background: Sequence[str] | None = None,
) -> list[Drawing]:
    """A panel a task, pages of at most 20; lines are means over seeds, bands the spread.

    Args:
        comparison: whose results.
        chosen: baselines drawn like entrants; see `task_panels.cast`.
        background: drawn as thin grey lines: names in `comparison.results`, as the other
            rates of Adam.
    """
    has_any = {task for (_, task), found in comparison.results.items() if _drawn(found)}
    if not has_any:
        return []
    who = cast(comparison, chosen, background)
    words = ("Training loss", "inner step")
    return pages(comparison, comparison.tasks, who, _steps, words)


def _drawn(found: Measured) -> bool:
    return found.mean is not None


def _steps(_: str, __: TaskInfo, found: Measured) -> np.ndarray | None:
    return found.inner_steps

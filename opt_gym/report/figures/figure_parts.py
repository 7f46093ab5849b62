"""What the figures of a report share: who is drawn how, heads with legends, who has what."""

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from opt_gym.archive.task_records import Measured
from opt_gym.evaluation.house_style import INK, MUTED, Draw, shortened
from opt_gym.evaluation.runs import normalized
from opt_gym.report.side_by_side import Comparison, TaskInfo

ENTRANT_COLORS = ("#c2185b", "#1f6fd1", "#e07b00", "#12866f", "#7b3fc4", "#8c5a2b")
BASELINE_COLORS = (
    "#8a94a0",
    "#b49b6c",
    "#7fa69c",
    "#8fa3c4",
    "#a793bd",
    "#bd8f8f",
    "#9aa86f",
    "#6f8f9f",
)
BACKGROUND = "#cfd4da"
"""Of the thin lines of those that are only there to be seen beside."""

MOST_LETTERS = 30
"""Of a name in a legend; longer ones lose their middle."""

HEAD_SIZE, LEGEND_SIZE = 12.5, 8.5


class Drawing(NamedTuple):
    """A figure, or a page of one, that can be drawn.

    Attributes:
        size: width and height, inches.
        draw: fills the empty figure (constrained layout).
        title: of the page.
        note: what is left out, and why; "" where nothing is.
    """

    size: tuple[float, float]
    draw: Draw
    title: str
    note: str = ""


class Look(NamedTuple):
    """How the lines of an optimizer are drawn."""

    color: str
    line: Any
    width: float
    height: int
    """Above which others: entrants above baselines."""

    @property
    def options(self) -> dict[str, Any]:
        """Keywords of `axes.plot`."""
        return {
            "color": self.color,
            "ls": self.line,
            "lw": self.width,
            "zorder": self.height,
        }


Entry = tuple[str, dict[str, Any]]
"""Of a legend: a label, and how its line is drawn."""


def looks(comparison: Comparison) -> dict[str, Look]:
    """Entrants in strong colors, what they are measured by in ink, other baselines muted."""
    dashes: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1)))
    found = {}
    for place, one in enumerate(comparison.entrants):
        turn, color = divmod(place, len(ENTRANT_COLORS))
        found[one.name] = Look(ENTRANT_COLORS[color], dashes[turn % 3], 1.9, 5)
    place = 0
    for one in comparison.baselines:
        if one.name == comparison.primary:
            found[one.name] = Look(INK, "-", 1.6, 4)
        elif one.name == comparison.co_primary:
            found[one.name] = Look(INK, dashes[1], 1.4, 4)
        else:
            turn, color = divmod(place, len(BASELINE_COLORS))
            line = dashes[(place + turn) % 3]
            found[one.name] = Look(BASELINE_COLORS[color], line, 1.3, 3)
            place += 1
    return found


def in_order(comparison: Comparison, names: Collection[str]) -> list[str]:
    """Entrants, what they are measured by, the others."""
    first = [one.name for one in comparison.entrants]
    first += [name for name in (comparison.primary, comparison.co_primary) if name]
    everyone = [*first, *(one.name for one in comparison.optimizers)]
    return [name for name in dict.fromkeys(everyone) if name in names]


def entries(names: Sequence[str], shown: dict[str, Look]) -> list[Entry]:
    """Of a legend, for these optimizers."""
    return [(shortened(name, MOST_LETTERS), shown[name].options) for name in names]


class Head(NamedTuple):
    """The top of a figure: a title, and under it the legend, in columns."""

    title: str
    entries: Sequence[Entry] = ()

    def columns(self, width: float) -> int:
        """Of the legend, in a figure of so many inches."""
        longest = max((len(label) for label, _ in self.entries), default=0)
        each = (0.6 * longest + 5) * LEGEND_SIZE / 72
        return max(1, min(len(self.entries), int((width - 0.2) / each)))

    def height(self, width: float) -> float:
        """In inches."""
        rows = math.ceil(len(self.entries) / self.columns(width))
        return 0.34 + (0.02 + 0.185 * rows if rows else 0.0)

    def draw(self, figure: Any) -> Any:
        """Draws it on top of a figure; returns the subfigure below."""
        from matplotlib.lines import Line2D

        width, height = figure.get_size_inches()
        own = self.height(width)
        both: Any = figure.subfigures(2, 1, height_ratios=[own, height - own])
        top, below = both
        top.text(
            0.1 / width,
            1 - 0.08 / own,
            self.title,
            va="top",
            fontsize=HEAD_SIZE,
            fontweight="bold",
        )
        if self.entries:
            top.legend(
                [Line2D([], [], **look) for _, look in self.entries],
                [label for label, _ in self.entries],
                loc="lower left",
                bbox_to_anchor=(0.06 / width, 0.0),
                ncols=self.columns(width),
                frameon=False,
                fontsize=LEGEND_SIZE,
                handlelength=2.6,
                borderaxespad=0.0,
                borderpad=0.1,
                labelspacing=0.3,
            )
        return below


class Together(NamedTuple):
    """Optimizers, the tasks that all of them have, and who lacks too many."""

    optimizers: tuple[str, ...]
    tasks: tuple[TaskInfo, ...]
    left_out: tuple[str, ...]

    def note(self, num_tasks: int) -> str:
        """What is left out, in words."""
        parts = []
        if len(self.tasks) < num_tasks:
            parts.append(f"{len(self.tasks)} of {num_tasks} tasks, which all have")
        if self.left_out:
            parts.append(f"left out, on too few tasks: {', '.join(self.left_out)}")
        return "; ".join(parts)


def shown_together(
    comparison: Comparison, known: Callable[[str, TaskInfo], bool], share: float = 0.5
) -> Together:
    """The optimizers that can be averaged over the same tasks.

    Entrants come first, those with the most tasks before the others. Who would leave less
    than a share of the tasks is left out.
    """
    have = {
        one.name: [task for task in comparison.tasks if known(one.name, task)]
        for one in comparison.optimizers
    }
    first = {comparison.primary: 1, comparison.co_primary: 2}
    order = sorted(
        comparison.optimizers,
        key=lambda one: (
            0 if one.is_entrant else first.get(one.name, 3),
            -len(have[one.name]),
        ),
    )
    accepted: set[str] = set()
    tasks: list[TaskInfo] = []
    least = 0.0
    for name in (one.name for one in order if have[one.name]):
        names = {task.name for task in have[name]}
        common = (
            [task for task in tasks if task.name in names] if accepted else have[name]
        )
        least = least or share * len(common)
        if len(common) >= max(least, 1):
            tasks = common
            accepted.add(name)
    left_out = [one.name for one in comparison.optimizers if one.name not in accepted]
    return Together(
        tuple(in_order(comparison, accepted)), tuple(tasks), tuple(left_out)
    )


def has_curve(comparison: Comparison) -> Callable[[str, TaskInfo], bool]:
    """Whether a training curve and a normalizer for it are there."""

    def known(name: str, task: TaskInfo) -> bool:
        found = comparison.result(name, task)
        return (
            found is not None and found.mean is not None and "train" in task.normalizers
        )

    return known


def mean_cost_of(comparison: Comparison, name: str, task: TaskInfo) -> float:
    """ℓ̃ over all inner steps, mean over seeds; NaN without a result."""
    found = comparison.result(name, task)
    if found is None or not len(found.mean_cost):
        return math.nan
    return float(np.mean(found.mean_cost))


def cost_curve(
    found: Measured, task: TaskInfo, at: Float[np.ndarray, " points"]
) -> Float[np.ndarray, " points"]:
    """ℓ̃ of the mean training loss at these inner steps."""
    assert found.mean is not None
    assert found.inner_steps is not None
    costs = normalized(found.mean[0], task.normalizers["train"])
    return np.interp(at, found.inner_steps, costs)


def robust_limit(values: Any, least: float = 0.02) -> float:
    """How far from 0 an axis reaches so that a few far values do not flatten the others."""
    finite = np.abs(np.asarray(values, np.float64).ravel())
    finite = finite[np.isfinite(finite)]
    if not finite.size:
        return least
    usual = 2.5 * float(np.quantile(finite, 0.8))
    return max(least, min(float(finite.max()) * 1.08, usual))


def say_nothing_there(axes: Any, words: str = "no result") -> None:
    """In the middle of a panel that is otherwise empty."""
    axes.text(
        0.5,
        0.5,
        words,
        transform=axes.transAxes,
        ha="center",
        va="center",
        color=MUTED,
        fontsize=8,
    )

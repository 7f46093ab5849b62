"""All figures of a report, in the order they are shown, and their files."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from opt_gym.evaluation.house_style import FORMATS, write_figure
from opt_gym.report.figures.aggregate_curve import aggregate_curve
from opt_gym.report.figures.figure_parts import Drawing, looks
from opt_gym.report.figures.heat_map import heat_map
from opt_gym.report.figures.loss_against_seconds import loss_against_seconds
from opt_gym.report.figures.matched_trials import matched_trials
from opt_gym.report.figures.performance_profile import performance_profile
from opt_gym.report.figures.result_against_size import Ranges, result_against_size
from opt_gym.report.figures.task_curves import task_curves
from opt_gym.report.side_by_side import Comparison


class Material(NamedTuple):
    """What figures are drawn of. What is empty leaves out the figures that need it.

    Attributes:
        comparison: the results.
        matched: improvements at matched trials, by entrant and title of the row; the row's
            mean normalized loss minus the entrant's, one number a task.
        ratios: time to the target over the reference's, by optimizer, one a task.
        seconds: of a step, by (optimizer, task).
        trained_on: ranges of "num_weights", "batch_size" and "horizon".
        others: the same comparison at other horizons.
        chosen: baselines that task curves show like entrants; None: the two scores'.
        background: those shown there as thin lines; None: all other baselines.
    """

    comparison: Comparison
    matched: Mapping[str, Mapping[str, Float[np.ndarray, " tasks"]]] = {}
    ratios: Mapping[str, Float[np.ndarray, " tasks"]] = {}
    seconds: Mapping[tuple[str, str], float] = {}
    trained_on: Ranges | None = None
    others: Sequence[Comparison] = ()
    chosen: Sequence[str] | None = None
    background: Sequence[str] | None = None


class Figure(NamedTuple):
    """A figure of a report.

    Attributes:
        name: of its files.
        title: for people.
        caption: one sentence: what is seen, and which way is better.
        needs: fields of `Material`, without which it is left out.
        draw: its pages; empty where there is nothing to draw.
    """

    name: str
    title: str
    caption: str
    needs: tuple[str, ...]
    draw: Callable[[Material], list[Drawing]]

    def pages(self, material: Material) -> list[Drawing]:
        """Its pages; none where the material lacks what it needs."""
        if not all(getattr(material, field) for field in self.needs):
            return []
        return self.draw(material)


def _pages(*drawings: Drawing | None) -> list[Drawing]:
    return [drawing for drawing in drawings if drawing is not None]


def _violins(material: Material) -> list[Drawing]:
    shown = looks(material.comparison)
    return _pages(
        *(
            matched_trials(material.matched[one.name], one.name, shown[one.name].color)
            for one in material.comparison.entrants
            if one.name in material.matched
        )
    )


FIGURES = (
    Figure(
        "aggregate_curve",
        "Training loss, all tasks",
        "Normalized training loss (1 at the initial loss, 0 at the best of 14 Adams), the "
        "mean over tasks; lower is better, and the band is a 95 % interval over tasks.",
        ("comparison",),
        lambda m: _pages(aggregate_curve(m.comparison)),
    ),
    Figure(
        "matched_trials",
        "Improvement at matched trials",
        "How much lower the entrant's mean normalized loss is than that of a tuned optimizer "
        "with so many trials, a dot a task; right of zero the entrant is better.",
        ("matched",),
        _violins,
    ),
    Figure(
        "heat_map",
        "Tasks and optimizers",
        "Mean normalized loss of every optimizer on every task; blue is better than the "
        "one-trial baseline and red is worse (without one, darker is worse), and hatched was "
        "not measured.",
        ("comparison",),
        lambda m: _pages(heat_map(m.comparison)),
    ),
    Figure(
        "performance_profile",
        "Time to target",
        "The share of tasks on which the reference's loss is reached within a factor of the "
        "reference's time; higher and further left is better.",
        ("ratios",),
        lambda m: _pages(performance_profile(m.comparison, m.ratios)),
    ),
    Figure(
        "task_curves",
        "Training loss, task by task",
        "Means over seeds, and bands of one standard deviation; thin grey lines are other "
        "baselines, a cross is where a diverged run ends, and lower is better.",
        ("comparison",),
        lambda m: task_curves(m.comparison, m.chosen, m.background),
    ),
    Figure(
        "loss_against_seconds",
        "Training loss against seconds",
        "The same against the seconds that steps take on this machine, for the tasks that "
        "were timed; lower and further left is better.",
        ("seconds",),
        lambda m: loss_against_seconds(m.comparison, m.seconds),
    ),
    Figure(
        "result_against_size",
        "Result against size",
        "Mean normalized loss, minus the one-trial baseline's where there is one, against "
        "the size of a task; lower is better, and the shade is what θ was trained on.",
        ("comparison",),
        lambda m: _pages(result_against_size(m.comparison, m.trained_on, m.others)),
    ),
)
"""In the order they are shown."""


class Page(NamedTuple):
    """One drawing of a figure, and the name of its files without an ending."""

    figure: Figure
    name: str
    drawing: Drawing


def every_page(material: Material) -> Iterator[Page]:
    """All figures that can be drawn; pages of one are numbered where there are several."""
    for figure in FIGURES:
        drawings = figure.pages(material)
        for number, drawing in enumerate(drawings, start=1):
            several = f"_{number}" if len(drawings) > 1 else ""
            yield Page(figure, f"{figure.name}{several}", drawing)


def write_figures(
    folder: Path, material: Material, formats: Sequence[str] = FORMATS, dpi: int = 150
) -> dict[str, list[Path]]:
    """Writes every figure; returns files by the name of the page."""
    return {
        page.name: write_figure(
            folder / page.name, page.drawing.size, page.drawing.draw, formats, dpi
        )
        for page in every_page(material)
    }

"""A report's figures as files, and those of them that its page shows as they are."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from opt_gym.evaluation.house_style import render
from opt_gym.report.archive_baselines import BEST_ADAM, BEST_COSINE, ONE_TRIAL
from opt_gym.report.figures.every_figure import FIGURES, Material, Page, every_page
from opt_gym.report.figures.result_against_size import Ranges
from opt_gym.report.page import Picture
from opt_gym.report.running import Timing
from opt_gym.report.side_by_side import Comparison
from opt_gym.report.verdict import Judged
from opt_gym.runtime.files import write_atomically

INTERACTIVE = (
    "aggregate_curve",
    "matched_trials",
    "heat_map",
    "performance_profile",
    "task_curves",
)
"""Figures that plotly draws on the page: there they are not shown twice."""

AS_ADAMW = (ONE_TRIAL, BEST_ADAM, BEST_COSINE)
"""Adams of the archive, which has no seconds: a step of theirs counts as AdamW's here."""


def write_pictures(
    folder: Path,
    all_judged: Sequence[Judged],
    timings: Mapping[tuple[str, str], Timing],
    trained_on: Ranges | None = None,
) -> tuple[list[Path], list[Picture]]:
    """Writes every figure as PNG and SVG; returns the files, and what the page shows.

    Args:
        folder: of the files; those of a second horizon have it in their names.
        all_judged: one a horizon.
        timings: by (entrant, task).
        trained_on: sizes of the tasks that the entrant was trained on.
    """
    paths, pictures = [], []
    for place, judged in enumerate(all_judged):
        others = [one.comparison for one in all_judged if one is not judged]
        for page in every_page(material(judged, timings, others, trained_on)):
            contents = render(page.drawing.size, page.drawing.draw)
            suffix = f"-{judged.comparison.horizon}" if place else ""
            for ending, content in contents.items():
                path = folder / f"{page.name}{suffix}.{ending}"
                paths.append(write_atomically(path, content))
            if page.figure.name in INTERACTIVE:
                continue
            pictures.append(
                Picture(
                    judged.comparison.horizon,
                    page.drawing.title,
                    page.figure.caption,
                    contents["svg"].decode(),
                    _note(page),
                )
            )
    _remove_others(folder, paths)
    return paths, pictures


def _remove_others(folder: Path, kept: Sequence[Path]) -> None:
    """Figures of an earlier report in the same folder would be taken for this one's."""
    names = tuple(figure.name for figure in FIGURES)
    for path in folder.glob("*"):
        is_ours = path.suffix in (".png", ".svg") and path.stem.startswith(names)
        if is_ours and path not in kept:
            path.unlink()


def material(
    judged: Judged,
    timings: Mapping[tuple[str, str], Timing],
    others: Sequence[Comparison] = (),
    trained_on: Ranges | None = None,
) -> Material:
    """What the figures of a horizon are drawn of."""
    names = [one.name for one in judged.comparison.optimizers]
    return Material(
        comparison=judged.comparison,
        matched=judged.matched,
        ratios={
            name: np.array(
                [
                    np.nan if row.time_ratio is None else row.time_ratio
                    for row in judged.rows(name)
                ]
            )
            for name in names
        },
        seconds=_seconds(names, timings),
        others=others,
        trained_on=trained_on,
    )


def _note(page: Page) -> str:
    notes = [page.drawing.note]
    if page.figure.name == "loss_against_seconds":
        notes.append("Adams of the archive at AdamW's seconds a step")
    return "; ".join(note for note in notes if note)


def _seconds(
    names: Sequence[str], timings: Mapping[tuple[str, str], Timing]
) -> dict[tuple[str, str], float]:
    """Of a step, by (optimizer, task)."""
    found = {pair: one.seconds for pair, one in timings.items()}
    for task in {task for _, task in timings}:
        adamw = min(one.adamw for (_, name), one in timings.items() if name == task)
        found |= {(name, task): adamw for name in AS_ADAMW if name in names}
    return found

"""The picture of a set of tasks: how large they are and what they cost."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from opt_gym.evaluation.house_style import SUBJECT_COLOR, write_picture
from opt_gym.task_statistics.statistics_table import PER_10K, Row

_BINS_PER_DECADE = 4
_COLOR = "#4c78c9"


def plot_set(path: Path, rows: Iterable[Row]) -> Path:
    """Writes a PNG of two histograms with logarithmic x: parameters, and seconds.

    A bin is a quarter of a decade wide. Tasks without the number are left out.

    Raises:
        ValueError: no row has any number.
    """
    rows = list(rows)
    sizes = [row.num_params for row in rows if row.num_params]
    seconds = [row.seconds_per_10k_steps for row in rows if row.seconds_per_10k_steps]
    if not sizes or not seconds:
        raise ValueError(f"none of {len(rows)} rows has parameters and seconds to draw")

    def draw(figure: Any) -> None:
        left, right = figure.subplots(1, 2)
        _histogram(left, sizes, "Parameters", "number of parameters", "")
        title = f"Seconds per {PER_10K:,} inner steps"
        _histogram(right, seconds, title, "seconds, on one core", " s")

    return write_picture(path, (10, 3.6), draw)


def bin_edges(values: Sequence[float]) -> np.ndarray:
    """Edges a quarter of a decade apart, on whole quarters, that hold all values (> 0)."""
    low = math.floor(_BINS_PER_DECADE * math.log10(min(values)))
    high = math.floor(_BINS_PER_DECADE * math.log10(max(values))) + 1
    return 10.0 ** (np.arange(low, high + 1) / _BINS_PER_DECADE)


def _histogram(
    axes: Any, values: Sequence[float], title: str, label: str, unit: str
) -> None:
    edges = bin_edges(values)
    axes.hist(values, bins=edges, color=_COLOR, edgecolor="white", linewidth=0.6)
    middle = float(np.median(values))
    axes.axvline(middle, color=SUBJECT_COLOR, lw=1.4)
    shown = f"{middle:,.0f}" if middle >= 100 else f"{middle:.3g}"
    axes.annotate(
        f"median {shown}{unit}",
        (middle, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(4, -3),
        textcoords="offset points",
        va="top",
        fontsize=8.5,
        color=SUBJECT_COLOR,
    )
    axes.set_xscale("log")
    axes.margins(y=0.12)  # room for the median
    axes.grid(visible=False, axis="x")
    axes.set_title(f"{title} of {len(values):,} tasks", loc="left", fontsize=10)
    axes.set_xlabel(label)
    axes.set_ylabel("tasks")

"""What the interactive figures share: how lines look, axes, what is left out.

A color is the name of a CSS variable, so that the page can be light or dark. Names are
escaped, because plotly reads a little HTML.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np

from opt_gym.report.archive_baselines import BEST_ADAM
from opt_gym.report.side_by_side import Comparison, TaskInfo
from opt_gym.report.words_of_numbers import listed

Json = dict[str, Any]

NUM_COLORS = {"entrant": 6, "baseline": 8}
_DASHES = ("solid", "dash", "dot")


class Chart(NamedTuple):
    """A figure of the page.

    Attributes:
        name: as the static figure that shows the same is called.
        title, caption: for people.
        figures: plotly's {data, layout}, by what is chosen; one without a choice.
        choice: what is chosen.
        height: pixels.
        width: at least; what is wider than the screen scrolls in its box.
        curves: instead of `figures`, what task curves are drawn of.
    """

    name: str
    title: str
    caption: str
    figures: Mapping[str, Json] = {}
    choice: str = "Entrant"
    height: int = 420
    width: int = 0
    curves: Json | None = None


def lines(comparison: Comparison) -> dict[str, Json]:
    """How the line of each optimizer looks; entrants and their measures stand out."""
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
    return kept | entrants | (few if not kept & set(names_of(comparison)) else set())


def names_of(comparison: Comparison) -> list[str]:
    """Of all optimizers, in order."""
    return [one.name for one in comparison.optimizers]


def has_curve(comparison: Comparison, name: str, task: TaskInfo) -> bool:
    """Whether there is a training loss to draw, and to normalize."""
    found = comparison.result(name, task)
    return found is not None and found.mean is not None and "train" in task.normalizers


def trace(name: str, looks: Mapping[str, Json], first: set[str]) -> Json:
    """A line without its points."""
    return {
        "type": "scatter",
        "mode": "lines",
        "name": escape(name, quote=False),
        "line": looks[name],
        "visible": True if name in first else "legendonly",
    }


def axes(x: str, x_kind: str = "linear", y: str = "", y_kind: str = "linear") -> Json:
    """A layout with titles and kinds of axes."""
    return {
        "xaxis": {"title": {"text": x}, "type": x_kind, "automargin": True},
        "yaxis": {"title": {"text": y}, "type": y_kind, "automargin": True},
    }


def left_out(names: Sequence[str], why: str = "Left out, on too few tasks") -> str:
    """A sentence for a caption; nothing where nobody is."""
    return f" {why}: {listed(names, 8)}." if names else ""


def rounded(values: Any) -> list[float | None]:
    """Four digits; None for what is not finite: a gap."""
    return [
        float(f"{value:.4g}") if np.isfinite(value) else None
        for value in np.asarray(values, np.float64).ravel().tolist()
    ]

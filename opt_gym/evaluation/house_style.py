"""How pictures of this package look, and how they become files.

Drawn on a canvas of their own (Agg): no window, no backend switched, no global setting changed.
"""

import io
import math
import re
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from opt_gym.runtime.files import write_atomically

SUBJECT_COLOR = "#c2185b"
OTHER_COLORS = ("#5f6b7a", "#e09f1f", "#2a9d8f", "#4c78c9", "#8a5fbf")
LINES = ("-", "-", (0, (5, 1.5)), (0, (1.5, 1)))
"""Solid, solid, dashed, dotted: where two optimizers chose the same setting, both show."""

INK, MUTED, GRID = "#22262b", "#5b636c", "#e6e8eb"
FORMATS = ("png", "svg")

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "sans-serif"],
    "font.size": 9,
    "text.parse_math": False,  # a name may have a dollar
    "text.color": INK,
    "axes.edgecolor": "#b8bec5",
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "svg.fonttype": "none",
    "svg.hashsalt": "opt-gym",
}

Draw = Callable[[Any], Any]
"""Is given the empty matplotlib figure (constrained layout)."""


def write_picture(
    path: Path, size: tuple[float, float], draw: Draw, dpi: int = 150
) -> Path:
    """Writes a PNG in the house's style, atomically.

    Args:
        path: of the file.
        size: width and height, inches.
        draw: is given the empty matplotlib figure (constrained layout).
        dpi: dots an inch.
    """
    return write_atomically(path, render(size, draw, ("png",), dpi)["png"])


def write_figure(
    path: Path,
    size: tuple[float, float],
    draw: Draw,
    formats: Sequence[str] = FORMATS,
    dpi: int = 150,
) -> list[Path]:
    """Writes one figure in several formats, each file atomically; it is drawn once.

    Args:
        path: of the files, without their endings.
        size, draw, dpi: as in `write_picture`.
        formats: "png" and "svg".
    """
    return [
        write_atomically(path.with_name(f"{path.name}.{ending}"), content)
        for ending, content in render(size, draw, formats, dpi).items()
    ]


def render(
    size: tuple[float, float],
    draw: Draw,
    formats: Sequence[str] = FORMATS,
    dpi: int = 150,
) -> dict[str, bytes]:
    """One figure, drawn once, as the contents of files by format.

    The text of an SVG stays text, and the same drawing gives the same bytes.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    contents = {}
    with mpl.rc_context(rc=STYLE):
        figure = Figure(figsize=size, dpi=dpi, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        _write_powers_plainly(figure)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once, whatever is written and when
        for ending in formats:
            content = io.BytesIO()
            undated: Any = {"metadata": {"Date": None}} if ending == "svg" else {}
            figure.savefig(
                content, format=ending, dpi=dpi, facecolor="white", **undated
            )
            contents[ending] = _slim(content.getvalue(), ending)
    return contents


def _write_powers_plainly(figure: Any) -> None:
    """Labels of logarithmic axes as everywhere: `STYLE` takes mathematical markup literally."""
    from matplotlib.ticker import Formatter, LogFormatterMathtext

    class Plain(Formatter):
        """Plain numbers, where matplotlib would write any."""

        def __init__(self, marked: Any) -> None:
            self.marked = marked

        def __call__(self, x: float, pos: int | None = None) -> str:
            return plain(x) if self.marked(x, pos) else ""

        def set_locs(self, locs: Any) -> None:
            self.marked.set_locs(locs)

    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            for kind in ("major", "minor"):
                marked = getattr(axis, f"get_{kind}_formatter")()
                if isinstance(marked, LogFormatterMathtext):
                    getattr(axis, f"set_{kind}_formatter")(Plain(marked))


def _slim(content: bytes, ending: str) -> bytes:
    """An SVG whose coordinates have no more digits than an eye: a quarter less.

    What a browser's font makes a little longer is not cut at the edge.
    """
    if ending != "svg":
        return content
    digits = re.compile(rb"(\.\d\d)\d+")
    shorter = re.sub(
        rb' (?:d|x|y)="[^"]*"', lambda found: digits.sub(rb"\1", found[0]), content
    )
    return shorter.replace(b"<svg ", b'<svg overflow="visible" ', 1)


def worth_log(values: Any, decades: float = 1.0) -> bool:
    """Whether a logarithmic axis shows these: none below 0, and they span a decade.

    What is not finite is not looked at; exact zeros fall off the lower end.
    """
    finite = np.asarray(values, np.float64).ravel()
    finite = finite[np.isfinite(finite)]
    above = finite[finite > 0]
    if not above.size or finite.min() < 0:
        return False
    return bool(np.log10(above.max()) - np.log10(above.min()) >= decades)


def scale_losses(axes: Any, losses: Any, decades: float = 1.0) -> str:
    """Sets the scale, limits and ticks of the y axis for these losses.

    Logarithmic where `worth_log`, else linear, which a word in the panel's corner says. A
    loss below 0, as of a flow, is never cut to fit a logarithmic axis.

    Returns:
        "log" or "linear".
    """
    losses = np.asarray(losses, np.float64).ravel()
    losses = losses[np.isfinite(losses)]
    if worth_log(losses, decades):
        above = losses[losses > 0]
        low, high = np.log10(above.min()), np.log10(above.max())
        room = 0.05 * (high - low)
        axes.set_yscale("log", nonpositive="clip")
        axes.set_ylim(10 ** (low - room), 10 ** (high + room))
        plain_ticks(axes)
        return "log"
    if losses.size:
        low, high = losses.min(), losses.max()
        room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
        axes.set_ylim(low - room, high + 3.8 * room)  # the word stands above the lines
    plain_ticks(axes)
    axes.text(
        0.985,
        0.975,
        "linear",
        transform=axes.transAxes,
        ha="right",
        va="top",
        fontsize=6.5,
        color=MUTED,
        bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8},
    )
    return "linear"


def plain_ticks(axes: Any) -> None:
    """Few ticks, written as short as can be: decades where an axis is logarithmic."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "log":
            low, high = sorted(axis.get_view_interval())
            few = math.log10(high / low) < 1.6 if 0 < low < high < math.inf else False
            locator = LogLocator(subs=(1, 2, 5) if few else (1,), numticks=6)
            axis.set_major_locator(locator)
        else:
            axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))


def plain(value: float) -> str:
    """A tick's label: 0.01 rather than a power where that is short."""
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        return f"{value:,.6g}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def wrapped(text: str, letters: int, lines: int = 2) -> str:
    """Text on a few lines of so many letters; what is too long for them ends in "…"."""
    found = textwrap.wrap(text, letters, break_long_words=True, break_on_hyphens=False)
    if len(found) > lines:
        found = found[:lines]
        found[-1] = f"{found[-1][: letters - 1]}…"
    return "\n".join(found)


def shortened(name: str, letters: int) -> str:
    """A name without its middle, where it is too long: its end tells such names apart."""
    if len(name) <= letters:
        return name
    tail = (letters - 1) // 2
    return f"{name[: letters - 1 - tail]}…{name[-tail:]}"

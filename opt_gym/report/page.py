"""The page: one HTML file that opens without a network.

What a template is given is escaped by jinja; only the libraries, and pictures that
matplotlib drew, go in as they are.
"""

import base64
import functools
import gzip
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import util
from pathlib import Path
from typing import Any, NamedTuple

from opt_gym.report import page_rows
from opt_gym.report.assembly import Outcome
from opt_gym.report.csv_tables import timing_row
from opt_gym.report.definitions import COVERAGE, DEFINITIONS
from opt_gym.report.in_words import Finding
from opt_gym.report.interactive import charts
from opt_gym.report.report_json import archive_digest, as_json, versions
from opt_gym.report.verdict import Judged
from opt_gym.report.words_of_numbers import duration, plain_number
from opt_gym.runtime.files import write_atomically

TEMPLATES = Path(__file__).with_name("templates")
NEEDED = ("itables", "jinja2", "plotly")


class Picture(NamedTuple):
    """A drawing that stands still.

    Attributes:
        horizon: at which.
        title, caption: of the figure.
        svg: the content of an SVG file.
        note: what is left out; "" where nothing is.
    """

    horizon: int
    title: str
    caption: str
    svg: str
    note: str = ""


def check_installed() -> None:
    """What the page is made with is there.

    Raises:
        ValueError: it is not, with the command that installs it.
    """
    missing = [name for name in NEEDED if util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f"opt-gym report needs {', '.join(missing)}: pip install 'opt-gym[report]'"
        )


def write_page(
    path: Path,
    outcome: Outcome,
    all_judged: Sequence[Judged],
    findings: Sequence[Finding],
    pictures: Sequence[Picture] = (),
    command: str = "",
) -> Path:
    """Writes the page, atomically.

    Args:
        path: of the file.
        outcome: the finished report.
        all_judged: its comparisons' scores, one a horizon.
        findings: what is said of entrants.
        pictures: those that are not drawn by plotly.
        command: that makes the report again.

    Raises:
        ValueError: packages that the page needs are missing.
    """
    text = html(outcome, all_judged, findings, pictures, command)
    return write_atomically(path, text.encode())


def html(
    outcome: Outcome,
    all_judged: Sequence[Judged],
    findings: Sequence[Finding],
    pictures: Sequence[Picture] = (),
    command: str = "",
) -> str:
    """The text of the page; see `write_page`."""
    check_installed()
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "plain": plain_number,
        "duration": duration,
        "breakable": _breakable,
    }
    given = _given(outcome, all_judged, findings, pictures, command)
    return environment.get_template("report.html").render(given)


def _given(
    outcome: Outcome,
    all_judged: Sequence[Judged],
    findings: Sequence[Finding],
    pictures: Sequence[Picture],
    command: str,
) -> dict[str, Any]:
    """What the template is given."""
    from markupsafe import Markup

    records = outcome.known.records
    sections, drawn = [], {}
    for judged in all_judged:
        horizon = judged.comparison.horizon
        own = charts(judged, records)
        drawn |= {f"{chart.name}-{horizon}": as_json(chart) for chart in own}
        sections.append(
            {
                "horizon": horizon,
                "charts": [(f"{chart.name}-{horizon}", chart) for chart in own],
                "scores": page_rows.score_table(judged),
                "tasks": page_rows.task_table(judged),
                "pictures": [
                    one._replace(svg=Markup(inlined(one.svg)))
                    for one in pictures
                    if one.horizon == horizon
                ],
            }
        )
    return {
        "suite": outcome.suite,
        "settings": outcome.settings,
        "num_tasks": len(outcome.known.tasks),
        "entrants": outcome.entrants,
        "findings": findings,
        "sections": sections,
        "drawn": drawn,
        "timings": [timing_row(one) for one in outcome.timings.values()],
        "notes": outcome.known.notes,
        "definitions": DEFINITIONS,
        "coverage": COVERAGE,
        "command": command,
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "versions": versions(),
        "archive_digest": archive_digest(records),
        "style": Markup((TEMPLATES / "report.css").read_text()),
        "script": Markup((TEMPLATES / "report.js").read_text()),
        **{name: Markup(text) for name, text in _libraries().items()},
    }


def _breakable(text: str) -> Any:
    """A name that may go on in another line after each of its underscores."""
    from markupsafe import Markup, escape

    return Markup(str(escape(text)).replace("_", "_<wbr>"))


@functools.cache
def _libraries() -> dict[str, str]:
    """plotly.js and DataTables, packed; the page unpacks them (a third of the size)."""
    import itables
    from plotly.offline import get_plotlyjs

    folder = Path(itables.__file__).parent / "html"
    style = (folder / "dt_bundle.css").read_text(encoding="utf-8")
    return {
        "plotly_packed": _packed(get_plotlyjs()),
        "tables_packed": _packed((folder / "dt_bundle.js").read_text(encoding="utf-8")),
        "tables_style": re.sub(r"</style", r"<\\/style", style, flags=re.IGNORECASE),
    }


def _packed(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


_HOUSE_COLORS = {
    "#22262b": "var(--ink)",
    "#5b636c": "var(--muted)",
    "#b8bec5": "var(--line)",
    "#e6e8eb": "var(--grid)",
    "#cfd4da": "var(--line)",
    "#f4f5f7": "var(--panel)",
    "#ffffff": "var(--paper)",
    "white": "var(--paper)",
}
"""Of `evaluation.house_style`, as the page's theme has them."""


def inlined(svg: str) -> str:
    """An SVG file as a part of a page: no prologue, no style for others, the page's colors."""
    start = svg.find("<svg")
    if start < 0:
        raise ValueError(f"not an SVG: it begins {svg[:40]!r}")
    text = re.sub(r"<!--.*?-->", "", svg[start:], flags=re.DOTALL)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<style[^>]*>.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    size = r"width: 100%; max-width: \2; min-width: min(560px, \2)"
    text = re.sub(
        r'(<svg[^>]*?) width="([\d.]+pt)"', rf'\1 style="{size}"', text, count=1
    )
    for old, new in _HOUSE_COLORS.items():
        text = re.sub(rf"(fill|stroke): {old}\b", rf"\1: {new}", text)
    return text

"""The table of what every task is and costs: rows, the CSV file, the summary. No JAX here.

`measurement` beside this file fills a row; `opt-gym stats` writes the table, `opt-gym list`
and `opt-gym show` read it.
"""

import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from opt_gym.runtime import tables
from opt_gym.runtime.files import alone_with, cache_folder

NUM_STEPS = 10
"""Steps of Adam that a task has to take to count as stepped."""

PER_10K = 10_000
"""A table's seconds are for so many inner steps."""

NAMED = "tasks with names of their own"
"""The group of all that is not `<family>_family_seed<k>`."""

_SEEDED = re.compile(r"^(?P<family>.+)_family_seed\d+$")


class Row(NamedTuple):
    """What is known of one task; None where it did not get so far.

    Attributes:
        name, family: the task's, and that of its config.
        num_params, num_tensors: of φ.
        batch_size: 0 where there is no data.
        dataset: the name in the config, "none" for synthetic tasks.
        seconds_per_10k_steps: of training on a fresh batch each step, compilation not in it.
        build_seconds: from the name to the initial weights on the device: the task, its
            data (unless the process has it), the program that draws the weights.
        compile_seconds: tracing and compiling the training step.
        first_loss, last_loss: before the first and before the last of the ten steps.
        built: the initial weights were drawn.
        finite: every loss of the ten steps and the weights after them are finite.
        error: what went wrong, "" if nothing.
    """

    name: str
    family: str = ""
    num_params: int | None = None
    num_tensors: int | None = None
    batch_size: int | None = None
    dataset: str = ""
    seconds_per_10k_steps: float | None = None
    build_seconds: float | None = None
    compile_seconds: float | None = None
    first_loss: float | None = None
    last_loss: float | None = None
    built: bool = False
    finite: bool = False
    error: str = ""

    @property
    def stepped(self) -> bool:
        """Whether it took the ten steps."""
        return self.last_loss is not None

    @property
    def group(self) -> str:
        """Its line in the summary."""
        seeded = _SEEDED.match(self.name)
        return seeded["family"] if seeded else NAMED


_INTEGERS = ("num_params", "num_tensors", "batch_size")
_NUMBERS = (
    "seconds_per_10k_steps",
    "build_seconds",
    "compile_seconds",
    "first_loss",
    "last_loss",
)
_TRUTHS = ("built", "finite")


def read_table(path: Path) -> dict[str, Row]:
    """The rows by name, the last one where a name is there twice; empty without a file.

    Damaged rows are left out, with a warning that names them: they are measured again. So
    are all of the user's own table where it is none, for it is a cache.

    Raises:
        ValueError: another file that is not such a table.
        OSError: another file that cannot be read.
    """
    return {row.name: row for row in _found(path).rows}


def _found(path: Path) -> tables.Found[Row]:
    return tables.read_table(path, _LAYOUT, is_cache=path == user_table())


def user_table() -> Path:
    """The user's own table."""
    return cache_folder() / "statistics.csv"


def known_rows(shipped: Path) -> dict[str, Row]:
    """The rows of the user's own table, and those of the shipped one for other tasks."""
    return read_table(shipped) | read_table(user_table())


def find(rows: Mapping[str, Row], name: str) -> Row | None:
    """The row of a task; that of seed 0 for `<family>`, whose config it is."""
    return rows.get(name) or rows.get(f"{name}_family_seed0")


def append_row(path: Path, row: Row) -> None:
    """Adds one row, or replaces that of its name; the file is never half written.

    A damaged file is set aside, what could be read of it is in the new one.

    Raises:
        ValueError: the file exists and is no such table, nor the user's own.
        OSError: it cannot be read or written.
    """
    _change(path, lambda rows: rows | {row.name: row})


def put_first(path: Path, names: Sequence[str]) -> dict[str, Row]:
    """Writes the rows in another order, those of the names first; returns all of them."""
    return _change(
        path, lambda rows: {name: rows[name] for name in names if name in rows} | rows
    )


def write_table(path: Path, rows: Iterable[Row]) -> None:
    """Writes a whole table; the file is never half written."""
    tables.write_table(path, _LAYOUT, map(_texts, rows), aside=False)


def _change(
    path: Path, change: Callable[[dict[str, Row]], dict[str, Row]]
) -> dict[str, Row]:
    """Rewrites a table while no other process does; returns its rows."""
    with alone_with(path):
        found = _found(path)
        rows = change({row.name: row for row in found.rows})
        texts = map(_texts, rows.values())
        tables.write_table(path, _LAYOUT, texts, aside=found.is_damaged)
    return rows


class Line(NamedTuple):
    """One line of the summary: counts, and medians over the tasks that have the number."""

    group: str
    tasks: int
    built: int
    stepped: int
    finite: int
    num_params: float | None
    seconds_per_10k_steps: float | None


def summarize(rows: Iterable[Row]) -> list[Line]:
    """A line a family, one for the tasks with names of their own, and one for all."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    own = groups.pop(NAMED, None)
    if own is not None:
        groups[NAMED] = own
    every = [row for group in groups.values() for row in group]
    return [_line(name, group) for name, group in [*groups.items(), ("all", every)]]


def format_summary(rows: Iterable[Row], *, markdown: bool = False) -> str:
    """The summary as a table for people, in plain text or Markdown."""
    cells = [
        ("family", "tasks", "built", "stepped", "finite", "params", "s / 10k steps"),
        *(
            (
                line.group,
                *(f"{count:,}" for count in line[1:5]),
                _shown(line.num_params),
                _shown(line.seconds_per_10k_steps),
            )
            for line in summarize(rows)
        ),
    ]
    if markdown:
        rule = ("---", *["---:"] * 6)
        return "\n".join(
            f"| {' | '.join(row)} |" for row in (cells[0], rule, *cells[1:])
        )
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return "\n".join(
        "  ".join(
            text.rjust(width) if place else text.ljust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    )


def format_page(rows: Mapping[str, Row]) -> str:
    """The Markdown page on a set: the summary, what went wrong, the extremes."""
    failed = [row for row in rows.values() if not row.finite]
    timed = [row for row in rows.values() if row.seconds_per_10k_steps is not None]
    slow = sorted(timed, key=lambda row: -(row.seconds_per_10k_steps or 0))[:10]
    parts = [
        "# Statistics of the set",
        f"{len(rows):,} tasks, each built, compiled and stepped {NUM_STEPS} times with Adam "
        "(learning rate 0.001) on one CPU core with embedded data. Medians of the number "
        "of parameters and of the seconds per 10,000 inner steps; compilation is not in "
        "them. `opt-gym stats` measures it, `opt-gym stats --summary --markdown` writes "
        "this page from its table.",
        format_summary(rows.values(), markdown=True),
        "## Tasks that did not stay finite",
        _listed(failed, lambda row: row.error or "a loss or a weight is not finite"),
        "## The ten slowest",
        _listed(
            slow,
            lambda row: (
                f"{_shown(row.seconds_per_10k_steps)} s per 10,000 steps, "
                f"{row.num_params or 0:,} parameters"
            ),
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _listed(rows: Sequence[Row], say: Any) -> str:
    return "\n".join(f"- `{row.name}`: {say(row)}" for row in rows) or "None."


def _line(group: str, rows: list[Row]) -> Line:
    def median(field: str) -> float | None:
        values = [v for v in (getattr(row, field) for row in rows) if v is not None]
        return statistics.median(values) if values else None

    return Line(
        group,
        len(rows),
        sum(row.built for row in rows),
        sum(row.stepped for row in rows),
        sum(row.finite for row in rows),
        median("num_params"),
        median("seconds_per_10k_steps"),
    )


def _shown(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _texts(row: Row) -> dict[str, str]:
    def text(value: Any) -> str:
        if value is None:
            return ""
        if isinstance(value, bool):
            return str(int(value))
        # 4 digits: times have no more, and a loss here only shows its size.
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    return {column: text(value) for column, value in row._asdict().items()}


def _parsed(cells: dict[str, str]) -> Row:
    values: dict[str, Any] = {column: cells[column] for column in Row._fields}
    for keys, make in ((_INTEGERS, int), (_NUMBERS, float)):
        values |= {key: make(cells[key]) if cells[key] else None for key in keys}
    for key in _TRUTHS:
        values[key] = bool(("0", "1").index(cells[key]))
    return Row(**values)


_LAYOUT = tables.Layout("task statistics", Row._fields, (), _parsed)

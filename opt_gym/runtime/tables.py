"""Tables in CSV files, read line by line: a damaged line spoils only itself, and is named.

A row of a table that is kept (normalizers, statistics) has a checksum, for a flipped bit is
another number. The tables that come with the package, and those of version 0.1, have none.
"""

import csv
import io
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from opt_gym.runtime.files import is_special, set_aside, write_atomically
from opt_gym.runtime.json_digest import json_digest

T = TypeVar("T")

CHECKSUM = "checksum"
"""The last column, where a table has it."""

_NAMED = 10
"""Damaged lines that a warning names one by one."""


class Layout(NamedTuple, Generic[T]):
    """What the rows of a kind of table are.

    Attributes:
        what: they are of, in words.
        required: columns without which a file is no such table.
        optional: columns that are ours, too; others are kept as they are.
        parse: cells by column -> the row; a ValueError where they are none.
    """

    what: str
    required: tuple[str, ...]
    optional: tuple[str, ...]
    parse: Callable[[dict[str, str]], T]


class Found(NamedTuple, Generic[T]):
    """The sound rows of a file, and whether it held something else."""

    rows: list[T]
    is_damaged: bool


def read_table(path: Path, layout: Layout[T], *, is_cache: bool) -> Found[T]:
    """The rows of a table; none where there is no file. Warnings name what is damaged.

    Args:
        path: of the file.
        layout: of its rows.
        is_cache: a file that is no such table is done without, with a warning.

    Raises:
        ValueError: no cache, and a file that is no such table.
        OSError: no cache, and a file that cannot be read.
    """
    try:
        lines = read_lines(path)
        if not any(lines):
            if lines:
                warnings.warn(f"{path} is empty", stacklevel=2)
            return Found([], is_damaged=False)
        header = _header(path, layout, lines[0])
    except (OSError, ValueError) as error:
        if not is_cache:
            raise
        warnings.warn(f"{error}: done without it", stacklevel=2)
        return Found([], is_damaged=True)

    def parse(cells: list[str]) -> T:
        row = dict(zip(header, cells, strict=True))
        known = checksum(row, layout)
        if row.pop(CHECKSUM, known) != known:
            raise ValueError("not what was written")
        return layout.parse(row)

    return parse_lines(path, lines[1:], parse, first=2)


def write_table(
    path: Path, layout: Layout, rows: Iterable[Mapping[str, str]], *, aside: bool
) -> None:
    """Writes a whole table with checksums; the file is never half written.

    Args:
        path: of the file.
        layout: of its rows.
        rows: cells by column; what is not there is empty.
        aside: whether the file that is there is damaged: it gets another name.

    Raises:
        OSError: full disk, no permission.
    """
    lines = [
        {column: _one_line(cell) for column, cell in row.items() if column != CHECKSUM}
        for row in rows
    ]
    ours = dict.fromkeys((*layout.required, *layout.optional))
    columns = list(ours | {column: None for line in lines for column in line})
    text = io.StringIO()
    writer = csv.DictWriter(text, [*columns, CHECKSUM], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({**line, CHECKSUM: checksum(line, layout)} for line in lines)
    if aside:
        set_aside(path)
    write_atomically(path, text.getvalue().encode())


def checksum(row: Mapping[str, str], layout: Layout) -> str:
    """8 hex digits of the cells that are ours and say something."""
    ours = (*layout.required, *layout.optional)
    known = {column: row[column] for column in ours if row.get(column)}
    return json_digest(known, 8)


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, the last "" if it has an end; none without a file.

    Raises:
        OSError: it cannot be read.
    """
    if is_special(path):  # a terminal would be waited for
        return []
    try:
        # Spreadsheets begin a file with a mark; a null byte is none for csv.
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except FileNotFoundError:
        return []
    return text.replace("\0", "?").split("\n")


def parse_lines(
    path: Path, lines: Sequence[str], parse: Callable[[list[str]], T], first: int
) -> Found[T]:
    """What `parse` makes of the cells of each line; one warning names those it cannot.

    Args:
        path: where the lines are from.
        lines: of the file; the last one, if not "", was cut off.
        parse: cells -> the row; a ValueError where they are none.
        first: the number of the first line.
    """
    rows, damaged = [], []
    for number, line in enumerate(lines):
        if not line:
            continue
        try:
            if number == len(lines) - 1:
                raise ValueError("cut off")
            (cells,) = csv.reader([line], strict=True)
            rows.append(parse(cells))
        except (csv.Error, ValueError):
            damaged.append(number)
    if damaged:
        numbers = ", ".join(str(first + number) for number in damaged[:_NAMED])
        more = ", ..." if damaged[_NAMED:] else ""
        which = (
            f"line {numbers} is" if len(damaged) == 1 else f"lines {numbers}{more} are"
        )
        begins = lines[damaged[0]][:80]
        warnings.warn(f"{path}, {which} damaged, left out: {begins!r}", stacklevel=2)
    return Found(rows, bool(damaged))


def _header(path: Path, layout: Layout, line: str) -> list[str]:
    try:
        header = next(csv.reader([line], strict=True), [])
    except csv.Error:
        header = []
    if not set(layout.required) <= set(header) or len(set(header)) < len(header):
        begins = line[:80]
        raise ValueError(
            f"{path} is not a table of {layout.what}: it begins {begins!r}"
        )
    return header


def _one_line(cell: str) -> str:
    return " ".join(cell.splitlines()) if {"\n", "\r"} & set(cell) else cell

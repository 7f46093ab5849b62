"""Looks at a test suite, written down: a θ is entered there twice at most."""

import csv
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from opt_gym.report.entrants import Entrant
from opt_gym.report.suites import Suite
from opt_gym.runtime.files import alone_with, cache_folder, write_table

MAX_LOOKS = 2
_COLUMNS = ("date", "suite", "digest", "entrant")


def look_table() -> Path:
    """Where this user's looks are written down."""
    return cache_folder() / "looks.csv"


def check(suite: Suite, entrants: Sequence[Entrant]) -> None:
    """Raises ValueError where one has looked at a test suite as often as it may."""
    if suite.status != "test":
        return
    table = look_table()
    rows = _read(table)
    for one in entrants:
        before = _looks(rows, suite, one)
        if len(before) >= MAX_LOOKS:
            dates = " and ".join(row[0] for row in before)
            raise ValueError(
                f"{one.name} (digest {one.digest}) has looked at {suite.name} on {dates}: "
                f"more than {MAX_LOOKS} looks make a development set of it ({table})"
            )


def write_down(suite: Suite, entrants: Sequence[Entrant]) -> list[str]:
    """Writes a look at a test suite down, and says which of each entrant it is.

    Once there are results: what was interrupted was no look. Entrants without a digest,
    hand-designed ones, may look as often as they like.
    """
    if suite.status != "test":
        return []
    table, said = look_table(), []
    with alone_with(table):
        rows = _read(table)
        for one in entrants:
            if not one.digest:
                continue
            before = _looks(rows, suite, one)
            today = date.today().isoformat()
            rows.append([today, suite.name, one.digest, one.name])
            said.append(
                f"{one.name}: look {len(before) + 1} of {MAX_LOOKS} at {suite.name}, digest "
                f"{one.digest}, {today}"
            )
        write_table(table, _COLUMNS, rows)
    return said


def _read(table: Path) -> list[list[str]]:
    if not table.exists():
        return []
    try:
        with table.open(newline="") as file:
            rows = list(csv.reader(file))[1:]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{table} is damaged ({error}): mend or move it") from None
    if any(len(row) != len(_COLUMNS) for row in rows):
        raise ValueError(f"{table} is damaged: a row has not {len(_COLUMNS)} entries")
    return rows


def _looks(rows: list[list[str]], suite: Suite, one: Entrant) -> list[list[str]]:
    """The rows of an entrant's looks at a suite; none for one without a digest."""
    wanted = (suite.name, one.digest)
    return [row for row in rows if one.digest and (row[1], row[2]) == wanted]

"""Looks at a test suite, written down: a θ is entered there twice at most."""

import csv
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


def write_down(suite: Suite, entrants: list[Entrant]) -> list[str]:
    """Writes a look at a test suite down, and says which of each entrant it is.

    Entrants without a digest, hand-designed ones, may look as often as they like.

    Raises:
        ValueError: one has looked twice already.
    """
    if suite.status != "test":
        return []
    table, said = look_table(), []
    with alone_with(table):
        rows = _read(table)
        for one in entrants:
            if not one.digest:
                continue
            before = [r for r in rows if (r[1], r[2]) == (suite.name, one.digest)]
            if len(before) >= MAX_LOOKS:
                dates = " and ".join(row[0] for row in before)
                raise ValueError(
                    f"{one.name} (digest {one.digest}) has looked at {suite.name} on {dates}: "
                    f"more than {MAX_LOOKS} looks make a development set of it ({table})"
                )
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
    with table.open(newline="") as file:
        return [row for row in list(csv.reader(file))[1:] if len(row) == len(_COLUMNS)]

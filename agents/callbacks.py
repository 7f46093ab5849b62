"""What may happen after an outer step: a progress bar, a CSV log."""

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from opt_gym.records import Report

if TYPE_CHECKING:
    from agents.loop import Progress


class ProgressBar:
    """A bar with outer-loss, outer steps/s, inner steps/s and the time left.

    The outer-loss shown is a running average over about 50 steps.
    """

    def __init__(
        self, title: str = "outer-training", file: TextIO | None = None
    ) -> None:
        self._title = title
        self._file = file or sys.stderr
        self._bar: Any = None
        self._loss: float | None = None
        self._inner_steps = 0.0

    def __call__(self, progress: "Progress") -> None:
        """Shows one outer step."""
        if self._bar is None:
            self._bar = self._open(progress)
        loss = progress.report.outer_loss
        self._loss = loss if self._loss is None else 0.98 * self._loss + 0.02 * loss
        self._inner_steps += progress.report.inner_steps
        rate = self._inner_steps / max(progress.seconds, 1e-9)
        self._bar.set_postfix_str(
            f"outer-loss {self._loss:.4f}, {rate:,.0f} inner steps/s", refresh=False
        )
        self._bar.update(progress.outer_step - self._bar.n)

    def close(self) -> None:
        """Leaves the bar as it stands."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _open(self, progress: "Progress") -> Any:
        from tqdm import tqdm

        return tqdm(
            total=progress.outer_steps,
            initial=progress.outer_step - 1,
            desc=self._title,
            unit="step",
            file=self._file,
            dynamic_ncols=True,
            mininterval=0.2,
        )


class CsvLog:
    """One row an outer step: outer_step, seconds, and the fields of `Report`.

    A resumed run drops the rows after the checkpoint it goes on from.
    """

    COLUMNS = ("outer_step", "seconds", *Report._fields)

    def __init__(self, path: Path, keep: int = 0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = _rows(path, keep)
        self._before = float(rows[-1][1]) if rows else 0.0
        self._file = path.open("w", newline="")
        self._writer = csv.writer(self._file)
        self._writer.writerow(self.COLUMNS)
        self._writer.writerows(rows)

    def __call__(self, progress: "Progress") -> None:
        """Writes one row."""
        values = [f"{value:.8g}" for value in progress.report]
        seconds = f"{self._before + progress.seconds:.3f}"
        self._writer.writerow([progress.outer_step, seconds, *values])
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _rows(path: Path, keep: int) -> list[list[str]]:
    """The first `keep` whole rows of a log, without its header."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        rows = list(csv.reader(file))[1 : keep + 1]
    return [row for row in rows if len(row) == len(CsvLog.COLUMNS)]

"""What may happen after an outer step: a progress bar, logs, evaluations on held-out tasks.

A callback is a function of a `Progress`; see `agents.records.Callback`.
"""

import csv
import json
import math
import sys
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import jax
from jaxtyping import PyTree

from agents.records import Progress, Report
from opt_gym.checks import check_whole
from opt_gym.runtime.files import set_aside, write_atomically, write_table
from opt_gym.runtime.json_digest import json_digest
from opt_gym.runtime.tables import Found, parse_lines, read_lines


class ProgressBar:
    """A bar with outer-loss, inner steps/s, what was dropped, and the time left.

    The outer-loss shown is a running average over about 50 steps. Dropped are particles with
    a diverged half, and tasks whose gradient was not finite.

    Args:
        title: stands before the bar.
        file: where it is written; standard error by default.
    """

    def __init__(
        self, title: str = "outer-training", file: TextIO | None = None
    ) -> None:
        self._title = title
        self._file = file or sys.stderr
        self._bar: Any = None
        self._loss: float | None = None
        self._inner_steps = 0.0
        self._dropped = 0.0
        self._skipped = 0.0
        self._is_seen = True

    def __call__(self, progress: Progress) -> None:
        """Shows the outer step of `progress`."""
        report = progress.report
        if report.outer_loss == report.outer_loss:  # NaN: nothing ended in this step
            last = report.outer_loss if self._loss is None else self._loss
            self._loss = 0.98 * last + 0.02 * report.outer_loss
        self._inner_steps += report.inner_steps
        self._dropped += report.dropped
        self._skipped += report.skipped
        if self._is_seen:
            try:
                self._show(progress)
            except OSError:  # nobody reads it any more: the training goes on
                self._is_seen = False

    def _show(self, progress: Progress) -> None:
        if self._bar is None:
            self._bar = self._open(progress)
        self._bar.set_postfix_str(self._text(progress), refresh=False)
        self._bar.update(progress.outer_step - self._bar.n)

    def _text(self, progress: Progress) -> str:
        rate = self._inner_steps / max(progress.seconds, 1e-9)
        loss = "-" if self._loss is None else f"{self._loss:.4f}"
        text = f"outer-loss {loss}, {rate:,.0f} inner steps/s"
        if self._dropped:
            text += f", {self._dropped:.0f} diverged"
        if self._skipped:
            text += f", {self._skipped:.0f} gradients skipped"
        return text

    def close(self) -> None:
        """Leaves the bar as it stands."""
        if self._bar is not None:
            with suppress(OSError):
                self._bar.close()
            self._bar = None

    def _open(self, progress: Progress) -> Any:
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
    """One row an outer step in the file `path`: outer_step, seconds, the fields of `Report`.

    A resumed run drops the rows after the checkpoint it goes on from. A damaged file is set
    aside, and its sound rows are kept.
    """

    COLUMNS = ("outer_step", "seconds", *Report._fields)

    def __init__(self, path: Path) -> None:
        self._path = path
        self._before = 0.0
        self._file: Any = None

    def begin(self, done: int) -> None:
        """Opens the file with the rows of the steps that are done."""
        found = _found(self._path, self.COLUMNS)
        rows = _until(found.rows, done)
        self._before = float(rows[-1][1]) if rows else 0.0
        if found.is_damaged:
            set_aside(self._path)
        write_table(self._path, self.COLUMNS, rows)
        self._file = self._path.open("a", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")

    def __call__(self, progress: Progress) -> None:
        """Writes the row of `progress`."""
        values = [f"{value:.8g}" for value in progress.report]
        seconds = f"{self._before + progress.seconds:.3f}"
        self._writer.writerow([progress.outer_step, seconds, *values])
        self._file.flush()

    def close(self) -> None:
        """Closes the file, if it was opened: another callback may have failed before."""
        if self._file is not None:
            self._file.close()


class TensorBoardLog:
    """The fields of `Report` as TensorBoard's events in `folder`; needs tensorboard.

    A resumed run tells TensorBoard to drop what came after the checkpoint it goes on from.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Any = None

    def begin(self, done: int) -> None:
        """Opens an event file that goes on after outer step `done`.

        Raises:
            ValueError: tensorboard is not installed.
        """
        try:
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError as error:
            raise ValueError(
                "TensorBoard logs need the package tensorboard: pip install tensorboard"
            ) from error
        event = _event(done + 1)
        event.session_log.status = event.session_log.START
        self._writer = EventFileWriter(str(self._folder))
        self._writer.add_event(event)

    def __call__(self, progress: Progress) -> None:
        """Writes the event of `progress`."""
        event = _event(progress.outer_step)
        for name, value in progress.report._asdict().items():
            event.summary.value.add(tag=f"outer/{name}", simple_value=value)
        self._writer.add_event(event)

    def close(self) -> None:
        """Closes the file."""
        if self._writer is not None:
            self._writer.close()


def _event(step: int) -> Any:
    from tensorboard.compat.proto import event_pb2

    return event_pb2.Event(step=step)  # type: ignore[attr-defined]


class ScalarLog:
    """Hands every report to any logger, as (outer step, {name: number}).

    Weights & Biases, for one: `ScalarLog(lambda step, x: wandb.log(dict(x), step=step))`.
    """

    def __init__(self, log: Callable[[int, Mapping[str, float]], Any]) -> None:
        self._log = log

    def __call__(self, progress: Progress) -> None:
        """Hands on the report of `progress`."""
        self._log(progress.outer_step, progress.report._asdict())


_TEXTS = ("tasks", "diverged", "best")
"""Columns of `HeldOut` that are no numbers."""


class HeldOut:
    """Evaluates θ on named sets of tasks every so many outer steps, and marks the best.

    `evaluations.csv` gets one row a set and evaluation; θ of each evaluation is kept as
    `theta-<outer step>.safetensors`, and `best.safetensors` is the one of the lowest mean
    cost on the first set so far. That cost is in `best.json`, with a checksum: a resumed run
    believes a damaged or edited table only where there is no such file.

    Args:
        evaluators: name of a set -> (θ -> `opt_gym.evaluation.comparison.Summary`).
        folder: where files go.
        save: (path, θ, outer step) writes a θ file.
        every: outer steps between evaluations; the last step has one always.
        told: is given a line of text after each.
    """

    COLUMNS = (
        "outer_step",
        "tasks",
        "mean_cost",
        "final_cost",
        "valid_loss",
        "test_loss",
        "diverged",
        "best",
    )

    def __init__(
        self,
        evaluators: Mapping[str, Callable[[PyTree], Any]],
        folder: Path,
        save: Callable[[Path, PyTree, int], Any],
        every: int = 250,
        told: Callable[[str], Any] | None = None,
    ) -> None:
        check_whole("every", every, 1)
        self._evaluators, self._folder, self._save = dict(evaluators), folder, save
        self._every, self._told = every, told or (lambda line: None)
        self._rows: list[list[str]] = []
        self._lowest = math.inf

    @property
    def _path(self) -> Path:
        return self._folder / "evaluations.csv"

    def begin(self, done: int) -> None:
        """Drops evaluations after outer step `done`, which a resumed run goes on from.

        A damaged table is set aside, and its sound rows are kept. So is the best θ, where
        nobody knows any more how good it was.
        """
        found = _found(self._path, self.COLUMNS)
        self._rows = _until(found.rows, done)
        name = next(iter(self._evaluators), "")
        costs = [float(row[2]) for row in self._rows if row[1] == name]
        best = _read_best(self._folder / "best.json")
        if best and (best["tasks"] != name or best["outer_step"] > done):
            best = None
        self._lowest = best["mean_cost"] if best else min(costs, default=math.inf)
        if found.is_damaged and jax.process_index() == 0:
            set_aside(self._path)
            self._write()
            if best is None:
                aside = set_aside(self._folder / "best.safetensors")
                self._told(f"how good the best θ was is not known: now {aside}")

    def __call__(self, progress: Progress) -> None:
        """Evaluates the θ of `progress`, if it is time to."""
        step = progress.outer_step
        last = step == progress.outer_steps
        if (step % self._every and not last) or any(
            row[0] == str(step) for row in self._rows
        ):
            return
        theta = progress.trainer.theta(progress.state)
        self._keep(self._folder / f"theta-{step:08d}.safetensors", theta, step)
        for number, (name, evaluator) in enumerate(self._evaluators.items()):
            summary = evaluator(theta)
            cost = summary.mean_cost.value
            best = number == 0 and cost < self._lowest
            if best:
                self._keep(self._folder / "best.safetensors", theta, step)
                self._keep_cost(step, name, cost)
            numbers = (summary.final_cost, summary.valid_loss, summary.test_loss)
            self._rows.append(
                [
                    *(str(step), name, f"{cost:.6g}"),
                    *(f"{number:.6g}" for number in numbers),
                    f"{summary.num_diverged}/{summary.num_runs}",
                    "*" if best else "",
                ]
            )
            mark = ", the best so far" if best else ""
            self._told(f"step {step:,}: {name} mean cost {cost:.4f}{mark}")
        self._write()

    def _keep(self, path: Path, theta: PyTree, step: int) -> None:
        if jax.process_index() == 0:  # all evaluate, one writes
            self._save(path, theta, step)

    def _keep_cost(self, step: int, name: str, cost: float) -> None:
        self._lowest = float(f"{cost:.6g}")  # as the table has it
        best = {"outer_step": step, "tasks": name, "mean_cost": self._lowest}
        if jax.process_index() == 0:
            content = json.dumps(best | {"checksum": _checksum(best)})
            write_atomically(self._folder / "best.json", content.encode())

    def _write(self) -> None:
        if jax.process_index() == 0:
            write_table(self._path, self.COLUMNS, self._rows)


def read_rows(path: Path, columns: tuple[str, ...], done: int) -> list[list[str]]:
    """The sound rows of a log, without its header, of outer steps up to `done`.

    `path` is of the log, `columns` are its header. A warning names the lines that are damaged.
    """
    return _until(_found(path, columns).rows, done)


def _until(rows: list[list[str]], done: int) -> list[list[str]]:
    return [row for row in rows if int(row[0]) <= done]


def _found(path: Path, columns: tuple[str, ...]) -> Found[list[str]]:
    """The sound rows of a log, and whether it has other ones."""

    def parse(cells: list[str]) -> list[str]:
        if tuple(cells) == columns:
            return []
        for column, cell in zip(columns, cells, strict=True):
            if column not in _TEXTS:
                float(cell)
        if not cells[0].isdecimal():
            raise ValueError(f"no outer step: {cells[0]!r}")
        return cells

    # The last line has an end: what an editor saved may have none.
    found = parse_lines(path, [*read_lines(path), ""], parse, first=1)
    return found._replace(rows=[row for row in found.rows if row])


def _read_best(path: Path) -> dict[str, Any] | None:
    """What `best.json` says; None where there is none, or, with a warning, a damaged one."""
    try:
        best = json.loads(path.read_bytes())
        if best.pop("checksum") != _checksum(best):
            raise ValueError("it is not what was written")
    except FileNotFoundError:
        return None
    except Exception as error:  # whatever the damage
        warnings.warn(f"{path} is damaged ({error})", stacklevel=2)
        return None
    return best


def _checksum(best: Mapping[str, Any]) -> str:
    return json_digest(best, 8)

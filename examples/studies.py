"""What experiments have in common: what was trained or measured once is kept, and not done again.

A study is a folder: in it one folder a training, with `run.json`, `log.csv` and θ, and tables of
what was measured. A copy of these files is enough to make tables and figures once more.
"""

import csv
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_type_hints

import learned
import opt_gym
from learned.theta_file import read_header
from opt_gym.cli.train import resume, train
from opt_gym.evaluation.comparison import Summary, compare
from opt_gym.runtime.files import cache_folder, write_table

Phase = dict[str, Any]
"""Keywords of `opt-gym train`."""

Row = TypeVar("Row", bound=NamedTuple)
UNROLLS, WINDOW = 64, 50
"""Of an outer step, and inner steps of each in it, where a study has no reason for others."""


class Scores(NamedTuple):
    """Of one θ on a list of tasks; losses are normalized, lower is better."""

    mean: float
    iqm: float
    final: float
    diverged: int
    runs: int


def json_of(**values: Any) -> dict[str, str]:
    """Options as the command line takes them."""
    return {key: json.dumps(value) for key, value in values.items()}


def trained(
    folder: Path,
    architecture: str,
    phase: Phase,
    seed: int = 0,
    start: Path | None = None,
) -> Path:
    """θ of an outer-training in `folder`, which goes on where it was cut off.

    Args:
        folder: of the run.
        architecture: by name.
        phase: keywords of `opt-gym train`, the number of outer steps among them.
        seed: of the training.
        start: θ it starts from, which brings its architecture.
    """
    theta = folder / "theta.safetensors"
    if is_done(folder):
        return theta
    if (folder / "run.json").exists():
        code = resume(folder)
    else:
        begun: Phase = {"architecture": architecture}
        if start is not None:
            begun = {"start": str(start), "architecture_options": None}
        code = train(folder, **{**phase, **begun}, seed=seed, data="embedded")
    if code:
        sys.exit(code)
    return theta


def is_done(folder: Path) -> bool:
    """Whether θ of all outer steps is there; checkpoints need not be."""
    theta, run = folder / "theta.safetensors", folder / "run.json"
    if not (theta.exists() and run.exists()):
        return False
    done = read_header(theta)["training"].get("outer_steps", 0)
    return done >= json.loads(run.read_text())["outer_steps"]


def es_phase(tasks: Sequence[str], inner_steps: float, **options: Any) -> Phase:
    """Evolution on these tasks for so many inner steps, as many unrolls whatever their number.

    Args:
        tasks: names; at most 16 of them are taken in an outer step.
        inner_steps: of all unrolls together.
        options: of the trainer, beside or instead of those of `examples/bundle.py general`.
    """
    each = min(16, len(tasks))
    pairs = max(1, round(UNROLLS / 2 / each))
    usual = {
        "num_pairs": pairs,
        "trunc_length": WINDOW,
        "sigma": 0.1,
        "horizon": [50, 1000],
        "theta_average": 0.998,
        "balanced": True,
    }
    return {
        "tasks": [*tasks],
        "tasks_per_step": each,
        "outer_steps": max(1, round(inner_steps / (2 * pairs * each * WINDOW))),
        "learning_rate": 4e-3,
        "options": json_of(**usual | options),
        "max_programs": 0,
    }


def summary_of(
    theta: Path | tuple[Any, Any],
    tasks: Sequence[str],
    *,
    horizon: int = 1000,
    num_seeds: int = 2,
    objective: str = "train",
) -> Summary:
    """What a θ, or (learned optimizer, θ), reaches on tasks; kept in the user's cache."""
    optimizer, weights = learned.load(theta) if isinstance(theta, Path) else theta
    runs = opt_gym.evaluate(
        optimizer,
        tasks,
        weights,
        horizon=horizon,
        num_seeds=num_seeds,
        objective=objective,
        data="embedded",
        cache=cache_folder() / "evaluations",
        timed=False,
    )
    return compare(runs)[0]


def scores_of(summary: Summary) -> Scores:
    """The numbers that tables have of it."""
    return Scores(
        mean=round(summary.mean_cost.value, 4),
        iqm=round(summary.iqm_cost.value, 4),
        final=round(summary.final_cost, 4),
        diverged=summary.num_diverged,
        runs=summary.num_runs,
    )


def completed(
    path: Path,
    row: type[Row],
    keys: Iterable[tuple],
    measure: Callable[..., Iterable[Row]],
) -> list[Row]:
    """The table at `path` with the rows of all keys, measured where they are missing.

    Args:
        path: of a .csv file, written after every measurement.
        row: what a line of it is.
        keys: the first fields of a row, in their order.
        measure: (*key) -> all rows that begin so.
    """
    rows = read(path, row)
    for key in keys:
        if not any(tuple(one)[: len(key)] == key for one in rows):
            rows += measure(*key)
            write_table(path, row._fields, rows)
    return rows


def read(path: Path, row: type[Row]) -> list[Row]:
    """The rows of a table; none where there is no file."""
    if not path.exists():
        return []
    kinds = get_type_hints(row)
    with path.open(newline="") as file:
        return [
            row(*(kinds[name](text) for name, text in line.items()))
            for line in csv.DictReader(file)
        ]


def printed(rows: Sequence[NamedTuple]) -> str:
    """A table in Markdown."""
    lines = [rows[0]._fields, ["---"] * len(rows[0]), *rows] if rows else []
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)

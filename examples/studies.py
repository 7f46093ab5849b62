"""What experiments have in common: what was trained or measured once is kept.

A study is a folder: in it a folder a training, with `run.json`, `log.csv` and θ, and tables of
what was measured. A copy of these files is enough to make tables and figures once more.
"""

import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast, get_type_hints

import jax
import numpy as np

import learned
import opt_gym
from examples.bundle import Phase, json_of
from opt_gym.evaluation.comparison import compare
from opt_gym.evaluation.runs import Runs, TaskLike
from opt_gym.runtime.files import cache_folder, write_table

Row = TypeVar("Row", bound=tuple)
UNROLLS, WINDOW = 64, 50
"""Of an outer step, and inner steps of each in it, where a study has no reason for others."""


class Scores(NamedTuple):
    """Of one θ on a list of tasks; losses are normalized, lower is better."""

    mean: float
    iqm: float
    final: float
    diverged: int
    runs: int


def es_phase(tasks: Sequence[str], inner_steps: float, **options: Any) -> Phase:
    """Evolution on these tasks for so many inner steps, as many unrolls whatever their number.

    Args:
        tasks: names; at most 16 of them are taken in an outer step.
        inner_steps: of all unrolls together.
        options: of the trainer, beside or instead of those of `examples/bundle.py general`.
    """
    each = min(16, len(tasks))
    usual = {
        "num_pairs": max(1, round(UNROLLS / 2 / each)),
        "trunc_length": WINDOW,
        "sigma": 0.1,
        "horizon": [50, 1000],
        "theta_average": 0.998,
        "balanced": True,
    }
    settings: dict[str, Any] = usual | options
    a_step = 2 * settings["num_pairs"] * each * settings["trunc_length"]
    return {
        "tasks": [*tasks],
        "tasks_per_step": each,
        "outer_steps": max(1, round(inner_steps / a_step)),
        "learning_rate": 4e-3,
        "options": json_of(**settings),
        "max_programs": 0,
    }


def runs_of(
    theta: Path | tuple[Any, Any],
    tasks: Sequence[TaskLike],
    *,
    horizon: int | tuple[int, ...] = 1000,
    num_seeds: int = 2,
    timed: bool = False,
    **settings: Any,
) -> list[Runs]:
    """A θ, or (learned optimizer, θ), on tasks; kept in the user's cache.

    Args:
        theta: file, or the two.
        tasks, horizon, num_seeds, timed, settings: as in `opt_gym.evaluate`.
    """
    optimizer, weights = learned.load(theta) if isinstance(theta, Path) else theta
    return opt_gym.evaluate(
        optimizer,
        tasks,
        weights,
        horizon=horizon,
        num_seeds=num_seeds,
        data="embedded",
        cache=cache_folder() / "evaluations",
        timed=timed,
        **settings,
    )


def runs_at_rates(
    architecture: str,
    rates: Sequence[float],
    tasks: Sequence[TaskLike],
    config: dict[str, Any] | None = None,
    **settings: Any,
) -> dict[float, list[Runs]]:
    """What every rate of a hand-designed optimizer gives: one program a task for all of them.

    Args:
        architecture, config: by name, and its settings.
        rates: values of its `learning_rate`, which is a part of θ.
        tasks, settings: as in `runs_of`.
    """
    optimizer = learned.make(architecture, **(config or {}))
    theta = optimizer.init_theta(jax.random.key(0))
    each = [theta | {"learning_rate": np.float32(rate)} for rate in rates]
    names = [f"{rate:g}" for rate in rates]
    runs = runs_of((optimizer, stacked(each)), tasks, variants=names, **settings)
    return {rate: runs[place :: len(rates)] for place, rate in enumerate(rates)}


def stacked(thetas: Sequence[Any]) -> Any:
    """Several θ as one with a leading axis, as `variants` of an evaluation are."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *thetas)


def scores_on(
    theta: Path | tuple[Any, Any], tasks: Sequence[str], **settings: Any
) -> Scores:
    """What tables have of `runs_of`, whose arguments these are."""
    summary = compare(runs_of(theta, tasks, **settings))[0]
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
        row: what a line of it is, a NamedTuple.
        keys: the first fields of a row, in their order.
        measure: (*key) -> all rows that begin so.
    """
    rows = read(path, row)
    for key in keys:
        if not any(tuple(one)[: len(key)] == key for one in rows):
            rows += measure(*key)
            write_table(path, _fields_of(row), rows)
    return rows


def columns_of(path: Path) -> dict[str, np.ndarray]:
    """A run's log by columns."""
    with path.open(newline="") as file:
        lines = [*csv.DictReader(file)]
    return {key: np.array([float(line[key]) for line in lines]) for key in lines[0]}


def seconds_a_step(log: dict[str, np.ndarray]) -> float:
    """The median over the later half of a run: compilation is behind it then."""
    seconds = np.diff(log["seconds"])
    return float(np.median(seconds[len(seconds) // 2 :]))


def read(path: Path, row: type[Row]) -> list[Row]:
    """The rows of a table; none where there is no file."""
    if not path.exists():
        return []
    kinds, make = get_type_hints(row), cast(Any, row)
    with path.open(newline="") as file:
        return [
            make(*(kinds[name](text) for name, text in line.items()))
            for line in csv.DictReader(file)
        ]


def printed(rows: Sequence[tuple]) -> str:
    """A table in Markdown."""
    if not rows:
        return "nothing was measured"
    lines = [_fields_of(type(rows[0])), ["---"] * len(rows[0]), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _fields_of(row: Any) -> tuple[str, ...]:
    return row._fields

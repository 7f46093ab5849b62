"""Measures where a task's normalized loss is 0 and 1: Adam at 14 learning rates.

What is found is a row of a table that `opt_gym.normalize.lookup` reads.

Source of the procedure: Metz, talk on learned optimizers at the Institute for Advanced Study
(2019): ℓ̃ is 0 at the best of 14 learning rates of Adam.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from opt_gym import factory, plugins
from opt_gym.adapters import reparameterisation
from opt_gym.data.corruptions import Corruption
from opt_gym.env import COST_LIMIT, build
from opt_gym.evaluation.program import (
    COUNTED,
    build_program,
    evaluation_steps,
    schedule,
)
from opt_gym.evaluation.runs import EvaluationSettings
from opt_gym.normalize import (
    LEARNING_RATES,
    REFERENCE_HORIZON,
    read_table,
    row_key,
)
from opt_gym.records import Config, Data, Normalizer, Task
from opt_gym.runtime import strategy

MIN_RATES = 7
"""A measurement takes at least so many of them."""

_NUM_POINTS = 51


class Measurement(NamedTuple):
    """What `measure` found.

    Attributes:
        normalizer: initial and best loss.
        costs: mean ℓ̃ over every inner step of Adam, one number a learning rate.
        row: of a table, by column.
        valid_row: of the objective "valid", without costs: the same runs give it. None where
            the objective is another, or nothing lowers the validation loss.
    """

    normalizer: Normalizer
    costs: np.ndarray
    row: dict[str, str]
    valid_row: dict[str, str] | None = None


def measure(
    task: Task,
    objective: str = "train",
    source: str = "auto",
    corruption: str | tuple[Corruption, ...] = "training",
    *,
    name: str = "",
    num_seeds: int = 5,
    num_batches: int = 5,
    horizon: int = REFERENCE_HORIZON,
    learning_rates: Sequence[float] = LEARNING_RATES,
) -> Measurement:
    """Trains Adam at the 14 learning rates; writes nothing (see `write_rows`).

    "initial" is the mean loss at the initial weights. "best" is the lowest loss, averaged
    over the seeds, that any learning rate reaches at any of 51 evenly spaced evaluations of
    `num_batches` batches of the objective's distribution.

    Args:
        task, objective, source, corruption: as `lookup`.
        name: for the row.
        num_seeds: episodes of each learning rate.
        num_batches: batches of an evaluation.
        horizon: a row of the table has the reference horizon.
        learning_rates: at least 7 of the 14, for a task that is slow. "best" is the best
            of these, and the row says so.

    Raises:
        ValueError: a task without a config or a reparameterised one, learning rates that
            are too few or others, an initial loss that is not finite, or one that no
            learning rate lowers.
    """
    rates = check_rates(learning_rates)
    if not task.config:
        raise ValueError("a task without a config has no row in a table of normalizers")
    if reparameterisation.KEY in task.config:
        raise ValueError(
            f"a task with {reparameterisation.KEY!r} has the normalizer of the same task "
            "without it: measure that"
        )
    settings = EvaluationSettings(
        horizon=horizon,
        num_seeds=num_seeds,
        num_points=_NUM_POINTS,
        spacing="even",
        num_batches=num_batches,
        objective=objective,
        corruption=corruption,
        data=source,
    )
    data = task.load_data(source)
    curves, losses = _adam_losses(task, data, rates, settings)

    def ends(objective: str) -> tuple[float, float]:
        return _ends(curves[COUNTED[objective]], name or str(task.config))

    def row_of(
        objective: str, initial: float, best: float, costs: Sequence[float] = ()
    ) -> dict[str, str]:
        config, kind, digest = row_key(task.config, objective, data, corruption)
        row = {
            "name": name,
            "config": config,
            "objective": kind,
            "data": digest,
            "initial": f"{initial:.7g}",
            "best": f"{best:.7g}",
            "num_seeds": str(num_seeds),
            "adam_mean_cost": " ".join(f"{cost:.6g}" for cost in costs),
        }
        if rates != LEARNING_RATES:
            row["learning_rates"] = " ".join(f"{rate:g}" for rate in rates)
        return row

    initial, best = ends(objective)
    costs = np.clip((losses - best) / (initial - best), -COST_LIMIT, COST_LIMIT)
    costs = np.where(np.isfinite(losses), costs, COST_LIMIT).mean(axis=(1, 2))
    row, valid_row = row_of(objective, initial, best, costs), None
    if objective == "train":
        with contextlib.suppress(ValueError):  # nothing lowers the validation loss
            valid_row = row_of("valid", *ends("valid"))
    # What the file says, so that a lookup gives the same numbers.
    normalizer = Normalizer(float(row["initial"]), float(row["best"]), "given")
    return Measurement(normalizer, costs, row, valid_row)


def _ends(curves: np.ndarray, shown: str) -> tuple[float, float]:
    """(initial, best) of mean losses [rates, points]."""
    initial = float(curves[0, 0])
    best = float(np.min(np.where(np.isfinite(curves), curves, np.inf)))
    if not np.isfinite(initial):
        raise ValueError(f"{shown}: the initial loss is not finite: {initial}")
    if not best < initial - 1e-6 * abs(initial):
        raise ValueError(
            f"{shown}: none of {len(curves)} learning rates lowers the loss from "
            f"its initial {initial:.6g}"
        )
    return initial, best


def check_rates(rates: Sequence[float]) -> tuple[float, ...]:
    """The rates in rising order.

    Raises:
        ValueError: fewer than 7, or one that is none of the 14.
    """
    chosen = tuple(rate for rate in LEARNING_RATES if rate in rates)
    if len(chosen) < MIN_RATES or len(chosen) != len(rates):
        raise ValueError(
            f"learning_rates must be at least {MIN_RATES} different ones of "
            f"{LEARNING_RATES}, got {tuple(rates)}"
        )
    return chosen


def _adam_losses(
    task: Task,
    data: Data,
    learning_rates: tuple[float, ...],
    settings: EvaluationSettings,
) -> tuple[np.ndarray, np.ndarray]:
    """(mean losses [splits, rates, points], losses of every step [rates, seeds, horizon])."""
    adam = plugins.build("architecture", "adam")
    normalizer = Normalizer(1.0, 0.0, "given")
    env = build(task, adam.features, adam.action_map, normalizer, settings.env_settings)
    rates = jnp.asarray(learning_rates, jnp.float32)
    theta = jax.tree.map(
        lambda leaf: jnp.full(len(rates), leaf), adam.init_theta(jax.random.key(0))
    )
    theta = {**theta, "learning_rate": rates}
    (horizon,), num_seeds = settings.horizons, settings.num_seeds
    program = build_program(
        env, adam, settings, num_variants=len(rates), num_kept=horizon
    )
    steps = evaluation_steps(horizon, settings.num_points, settings.spacing)
    plan = schedule(steps, settings.num_points)
    curves = program.run(theta, jax.device_put(data), plan)
    losses = np.asarray(curves.losses, np.float64)
    by_seed = losses.reshape(len(rates), num_seeds, *losses.shape[1:])
    kept = np.asarray(curves.step_losses, np.float64)
    return (
        np.moveaxis(by_seed.mean(axis=1), -1, 0),
        kept.reshape(len(rates), num_seeds, horizon),
    )


class NormalizerJob(NamedTuple):
    """One measurement for `measure_job`, and the table that may have it already.

    Attributes:
        name: of the task.
        config: the task's, None for that behind the name.
        table: None to measure in any case.
        settings: keywords of `measure`.
    """

    name: str
    config: Config | None
    table: Path | None
    settings: dict[str, Any]


def measure_job(job: NormalizerJob, report: Any = None) -> list[dict[str, str]]:
    """The rows of a job that the table lacks; programs are forgotten afterwards.

    The first is that of the objective; the second, if any, that of "valid" beside "train".
    A row without costs is measured again by who asks for its objective.
    """
    strategy.use_compilation_cache()
    task = factory.make_task(job.config or factory.task_config(job.name))
    chosen = {key: job.settings[key] for key in ("objective", "corruption")}
    data = task.load_data(job.settings["source"])
    known = {} if job.table is None else read_table(job.table)
    row = known.get(row_key(task.config, data=data, **chosen), {})
    if row.get("adam_mean_cost"):
        return []
    try:
        found = measure(task, name=job.name, **job.settings)
    finally:
        jax.clear_caches()
        strategy.trim_memory()
    beside = found.valid_row
    if beside is None or row_key(task.config, "valid", data) in known:
        return [found.row]
    return [found.row, beside]

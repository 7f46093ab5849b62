"""Measures where a task's normalized loss is 0 and 1: Adam at 14 learning rates.

What is found is a row of a table that `opt_gym.normalize.lookup` reads.

Source of the procedure: Metz, talk on learned optimizers at the Institute for Advanced Study
(2019): ℓ̃ is 0 at the best of 14 learning rates of Adam.
"""

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
from opt_gym.evaluation.program import build_program, evaluation_steps, schedule
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
    """

    normalizer: Normalizer
    costs: np.ndarray
    row: dict[str, str]


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
    initial, best, losses = _adam_losses(task, data, rates, settings)
    shown = name or str(task.config)
    if not np.isfinite(initial):
        raise ValueError(f"{shown}: the initial loss is not finite: {initial}")
    if not best < initial - 1e-6 * abs(initial):
        raise ValueError(
            f"{shown}: none of {len(rates)} learning rates lowers the loss from "
            f"its initial {initial:.6g}"
        )
    costs = np.clip((losses - best) / (initial - best), -COST_LIMIT, COST_LIMIT)
    costs = np.where(np.isfinite(losses), costs, COST_LIMIT).mean(axis=(1, 2))
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
    # What the file says, so that a lookup gives the same numbers.
    normalizer = Normalizer(float(row["initial"]), float(row["best"]), "given")
    return Measurement(normalizer, costs, row)


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
) -> tuple[float, float, np.ndarray]:
    """(initial, best, losses of every inner step [rates, seeds, horizon])."""
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
    counted = {"train": 0, "valid": 1, "noisy": 3}[settings.objective]
    losses = np.asarray(curves.losses, np.float64)[:, :, counted]
    by_rate = losses.reshape(len(rates), num_seeds, -1).mean(axis=1)
    finite = np.where(np.isfinite(by_rate), by_rate, np.inf)
    kept = np.asarray(curves.step_losses, np.float64)
    return (
        float(by_rate[0, 0]),
        float(np.min(finite)),
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


def measure_job(job: NormalizerJob, report: Any = None) -> dict[str, str] | None:
    """The row of a job, None where the table has it; programs are forgotten afterwards."""
    strategy.use_compilation_cache()
    task = factory.make_task(job.config or factory.task_config(job.name))
    chosen = {key: job.settings[key] for key in ("objective", "corruption")}
    key = row_key(task.config, data=task.load_data(job.settings["source"]), **chosen)
    if job.table is not None and key in read_table(job.table):
        return None
    try:
        return measure(task, name=job.name, **job.settings).row
    finally:
        jax.clear_caches()
        strategy.trim_memory()

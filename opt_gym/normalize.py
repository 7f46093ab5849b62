"""Where a task's normalizer comes from: the shipped table, the user's cache, a provisional.

The key of a row is the digest of the task's config, the objective and the digest of the
data. `lookup` never trains; `opt-gym normalize` does (see `measure`).

Source of the procedure: Metz, talk on learned optimizers at the Institute for Advanced Study
(2019): ℓ̃ is 0 at the best of 14 learning rates of Adam.
"""

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import opt_gym
from opt_gym import plugins, reparameterisation, strategy
from opt_gym.data.corruptions import Corruption, corrupt
from opt_gym.data.digest import digest_data
from opt_gym.env import build
from opt_gym.evaluation.program import build_program, evaluation_steps, schedule
from opt_gym.files import cache_folder, write_atomically
from opt_gym.records import Config, Data, Normalizer, Task

COLUMNS = ("name", "config", "objective", "data", "initial", "best")
"""What every table has."""

MEASURED_COLUMNS = ("num_seeds", "adam_mean_cost", "learning_rates")
"""What `measure` adds: ℓ̃ averaged over every inner step, one number a learning rate, and
those rates; no rates mean all of `LEARNING_RATES`."""

PROVISIONAL_KEYS = 5
REFERENCE_HORIZON = 1000

LEARNING_RATES = tuple(
    float(f"{digit}e{power}") for power in range(-6, 1) for digit in (1, 3)
)
"""The 14 learning rates of Adam that define "best": 1e-6, 3e-6, ... 1, 3."""

MIN_RATES = 7
"""A measurement takes at least so many of them."""

_NUM_POINTS = 51


def lookup(
    task: Task,
    objective: str,
    source: str,
    corruption: str | tuple[Corruption, ...] = "training",
) -> Normalizer:
    """The normalizer of (task, objective): from the table, else the cache, else provisional.

    Args:
        task: whose loss it is.
        objective: "train", "valid" or "noisy".
        source: of the data.
        corruption: what "noisy" is corrupted with.
    """
    data = task.load_data(source)
    key = row_key(task.config, objective, data, corruption)
    for path, kind in ((opt_gym.NORMALIZER_TABLE, "table"), (user_table(), "cache")):
        row = read_table(path).get(key) if task.config else None
        if row is not None:
            return Normalizer(float(row["initial"]), float(row["best"]), kind)
    return provisional(task, objective, data, corruption)


def trial_costs(
    task: Task,
    objective: str,
    source: str,
    corruption: str | tuple[Corruption, ...] = "training",
) -> np.ndarray | None:
    """Mean ℓ̃ of Adam at each of the 14 learning rates, [14], if all were measured.

    Over `REFERENCE_HORIZON` steps and relative to the normalizer that `lookup` gives.
    """
    # Weights that are stored in another scale change what Adam does, though not the loss.
    if not task.config or reparameterisation.KEY in task.config:
        return None
    key = row_key(task.config, objective, task.load_data(source), corruption)
    for path in (opt_gym.NORMALIZER_TABLE, user_table()):
        row = read_table(path).get(key)
        if row is not None:
            numbers = (row.get("adam_mean_cost") or "").split()
            complete = len(numbers) == len(LEARNING_RATES)
            complete = complete and not row.get("learning_rates")
            return np.array([float(n) for n in numbers]) if complete else None
    return None


def row_key(
    config: Config,
    objective: str,
    data: Data,
    corruption: str | tuple[Corruption, ...] = "training",
) -> tuple[str, str, str]:
    """(digest of config, objective, digest of data).

    Reparameterised weights leave every loss as it is, so that key of a config is left out.
    The objective "noisy" with other corruptions than the usual ones is another objective.
    """
    if objective == "noisy" and corruption != "training":
        chosen = corruption
        if not isinstance(chosen, str):
            chosen = digest_config({"corruptions": [list(c) for c in chosen]})
        objective = f"noisy {chosen}"
    config, _ = reparameterisation.split(config)
    return digest_config(config), objective, digest_data(data)


def digest_config(config: Config) -> str:
    """The first 16 hex digits of the SHA-256 of a config's JSON, floats at 10 digits."""
    text = json.dumps(_rounded(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def user_table() -> Path:
    """The user's own table."""
    return cache_folder() / "normalizers.csv"


def read_table(path: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    """The rows of a table by key; empty where there is no file.

    Raises:
        ValueError: a file that is not such a table.
    """
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if any(row.get(column) is None for column in COLUMNS):
            raise ValueError(f"{path} is not a table of normalizers: bad row {row}")
    return {(row["config"], row["objective"], row["data"]): row for row in rows}


def provisional(
    task: Task,
    objective: str,
    data: Data,
    corruption: str | tuple[Corruption, ...] = "training",
) -> Normalizer:
    """Initial = mean loss over reset keys 0 to 4, one batch each; best = the loss's floor."""
    split = "valid_outer" if objective == "valid" else "train"

    def initial_loss(data: Data, seed: Any) -> Any:
        k_init, k_batch, k_loss, k_corrupt = jax.random.split(jax.random.key(seed), 4)
        params, instance = task.init(k_init, data)
        batch = task.sample_batch(k_batch, data, instance, split)
        if objective == "noisy":
            inputs = corrupt(k_corrupt, batch.inputs, corruption)
            batch = batch._replace(inputs=inputs)
        return task.loss(k_loss, params, instance, batch)[0]

    # One call, so that the data is handed over once.
    @partial(jax.jit, compiler_options=strategy.compiler_options())
    def initial_losses(data: Data) -> Any:
        seeds = jnp.arange(PROVISIONAL_KEYS, dtype=jnp.uint32)
        return jax.lax.map(partial(initial_loss, data), seeds)

    initial = float(np.mean(initial_losses(data)))
    if not np.isfinite(initial):
        initial = task.loss_floor + 1.0
    best = min(task.loss_floor, initial - 1e-8 - 1e-6 * abs(initial))
    return Normalizer(initial, best, "provisional")


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
    data = task.load_data(source)
    initial, best, losses = _adam_losses(
        task, objective, data, corruption, rates, num_seeds, num_batches, horizon
    )
    shown = name or str(task.config)
    if not np.isfinite(initial):
        raise ValueError(f"{shown}: the initial loss is not finite: {initial}")
    if not best < initial - 1e-6 * abs(initial):
        raise ValueError(
            f"{shown}: none of {len(rates)} learning rates lowers the loss from "
            f"its initial {initial:.6g}"
        )
    limit = 2.0
    costs = np.clip((losses - best) / (initial - best), -limit, limit)
    costs = np.where(np.isfinite(losses), costs, limit).mean(axis=(1, 2))
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


def write_rows(path: Path, rows: Sequence[dict[str, str]]) -> None:
    """Adds rows to a table, or replaces those of the same key; the file is never half written.

    Raises:
        ValueError: the file exists and is no such table.
    """
    table = read_table(path)
    for row in rows:
        table[row["config"], row["objective"], row["data"]] = row
    extra = {column: None for row in table.values() for column in row}
    columns = list({**dict.fromkeys((*COLUMNS, *MEASURED_COLUMNS)), **extra})
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(table.values())
    write_atomically(path, text.getvalue().encode())


def _adam_losses(
    task: Task,
    objective: str,
    data: Data,
    corruption: str | tuple[Corruption, ...],
    learning_rates: tuple[float, ...],
    num_seeds: int,
    num_batches: int,
    horizon: int,
) -> tuple[float, float, np.ndarray]:
    """(initial, best, losses of every inner step [rates, seeds, horizon])."""
    adam = plugins.build("architecture", "adam")
    env = build(
        task,
        adam.features,
        adam.action_map,
        Normalizer(1.0, 0.0, "given"),
        objective=objective,
        corruption=corruption,
    )
    rates = jnp.asarray(learning_rates, jnp.float32)
    theta = jax.tree.map(
        lambda leaf: jnp.full(len(rates), leaf), adam.init_theta(jax.random.key(0))
    )
    theta = {**theta, "learning_rate": rates}
    program = build_program(
        env,
        adam,
        num_variants=len(rates),
        num_seeds=num_seeds,
        num_points=_NUM_POINTS,
        num_batches=num_batches,
        corruption=corruption,
        num_kept=horizon,
    )
    steps = evaluation_steps(horizon, _NUM_POINTS, "even")
    curves = program.run(theta, jax.device_put(data), schedule(steps, _NUM_POINTS))
    counted = {"train": 0, "valid": 1, "noisy": 3}[objective]
    losses = np.asarray(curves.losses, np.float64)[:, :, counted]
    by_rate = losses.reshape(len(rates), num_seeds, -1).mean(axis=1)
    finite = np.where(np.isfinite(by_rate), by_rate, np.inf)
    kept = np.asarray(curves.step_losses, np.float64)
    return (
        float(by_rate[0, 0]),
        float(np.min(finite)),
        kept.reshape(len(rates), num_seeds, horizon),
    )


class Job(NamedTuple):
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


def measure_job(job: Job, report: Any = None) -> dict[str, str] | None:
    """The row of a job, None where the table has it; programs are forgotten afterwards."""
    strategy.use_compilation_cache()
    task = opt_gym.make_task(job.config or opt_gym.task_config(job.name))
    chosen = {key: job.settings[key] for key in ("objective", "corruption")}
    key = row_key(task.config, data=task.load_data(job.settings["source"]), **chosen)
    if job.table is not None and key in read_table(job.table):
        return None
    try:
        return measure(task, name=job.name, **job.settings).row
    finally:
        jax.clear_caches()
        strategy.trim_memory()


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.10g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value

"""Where a task's normalizer comes from: the shipped table, the user's cache, a provisional.

The key of a row is the digest of the task's config, the objective and the digest of the
data. `lookup` never trains; `opt-gym normalize` does (`evaluation.measure_normalizers`).

Source of the procedure: Metz, talk on learned optimizers at the Institute for Advanced Study
(2019): ℓ̃ is 0 at the best of 14 learning rates of Adam.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from opt_gym.adapters import reparameterisation
from opt_gym.data.corruptions import Corruption, corrupt
from opt_gym.data.digest import digest_data
from opt_gym.records import Config, Data, Normalizer, Task
from opt_gym.runtime import strategy, tables
from opt_gym.runtime.files import alone_with, cache_folder
from opt_gym.runtime.json_digest import json_digest
from opt_gym.runtime.rounding import rounded

NORMALIZER_TABLE = Path(__file__).resolve().parents[1] / "envs_registry/normalizers.csv"
"""The shipped table of loss normalizers."""

COLUMNS = ("name", "config", "objective", "data", "initial", "best")
"""What every table has."""

MEASURED_COLUMNS = ("num_seeds", "adam_mean_cost", "learning_rates")
"""What a measurement adds: ℓ̃ averaged over every inner step, one number a learning rate, and
those rates; no rates mean all of `LEARNING_RATES`."""

PROVISIONAL_KEYS = 5
REFERENCE_HORIZON = 1000

LEARNING_RATES = tuple(
    float(f"{digit}e{power}") for power in range(-6, 1) for digit in (1, 3)
)
"""The 14 learning rates of Adam that define "best": 1e-6, 3e-6, ... 1, 3."""


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
    for path, kind in ((NORMALIZER_TABLE, "table"), (user_table(), "cache")):
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
    for path in (NORMALIZER_TABLE, user_table()):
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
    return json_digest(rounded(config, 10))


def user_table() -> Path:
    """The user's own table."""
    return cache_folder() / "normalizers.csv"


def read_table(path: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    """The rows of a table by key; empty where there is no file.

    Damaged rows are left out, with a warning that names them: they are measured again. So
    are all of the user's own table where it is none, for it is a cache.

    Raises:
        ValueError: another file that is not such a table.
        OSError: another file that cannot be read.
    """
    return _by_key(_found(path).rows)


def _found(path: Path) -> tables.Found[dict[str, str]]:
    return tables.read_table(path, _LAYOUT, is_cache=path == user_table())


def _by_key(rows: Sequence[dict[str, str]]) -> dict[tuple[str, str, str], Any]:
    return {(row["config"], row["objective"], row["data"]): row for row in rows}


def _sound(row: dict[str, str]) -> dict[str, str]:
    numbers = (row["initial"], row["best"], *row.get("adam_mean_cost", "").split())
    initial, best, *_ = values = [float(number) for number in numbers]
    if not np.all(np.isfinite(values)) or initial <= best:
        raise ValueError(f"no normalizer: {numbers}")
    return row


_LAYOUT = tables.Layout("normalizers", COLUMNS, MEASURED_COLUMNS, _sound)


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


def write_rows(path: Path, rows: Sequence[dict[str, str]]) -> None:
    """Adds rows to a table, or replaces those of the same key; the file is never half written.

    A damaged file is set aside, what could be read of it is in the new one.

    Raises:
        ValueError: the file exists and is no such table, nor the user's own.
        OSError: it cannot be read or written.
    """
    with alone_with(path):
        found = _found(path)
        table = _by_key([*found.rows, *rows])
        tables.write_table(path, _LAYOUT, table.values(), aside=found.is_damaged)

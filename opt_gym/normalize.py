"""Where a task's normalizer comes from: the shipped table, the user's cache, a provisional.

The key of a row is the digest of the task's config, the objective and the digest of the
data. `lookup` never trains; `opt-gym normalize` does (see `measure`).
"""

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import opt_gym
from opt_gym.data.corruptions import Corruption, corrupt
from opt_gym.records import Config, Data, Normalizer, Task
from opt_gym.strategy import cache_folder

COLUMNS = ("name", "config", "objective", "data", "initial", "best")
PROVISIONAL_KEYS = 5


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
    key = row_key(task.config, objective, data)
    for path, kind in ((opt_gym.NORMALIZER_TABLE, "table"), (user_table(), "cache")):
        row = read_table(path).get(key) if task.config else None
        if row is not None:
            return Normalizer(float(row["initial"]), float(row["best"]), kind)
    return provisional(task, objective, data, corruption)


def row_key(config: Config, objective: str, data: Data) -> tuple[str, str, str]:
    """(digest of config, objective, digest of data)."""
    return digest_config(config), objective, digest_data(data)


def digest_config(config: Config) -> str:
    """The first 16 hex digits of the SHA-256 of a config's JSON, floats at 10 digits."""
    text = json.dumps(_rounded(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


_data_digests: dict[tuple[int, ...], tuple[Any, str]] = {}


def digest_data(data: Data) -> str:
    """The first 16 hex digits of the SHA-256 of all arrays, shapes and types."""
    leaves = jax.tree.leaves(data)
    identity = tuple(id(leaf) for leaf in leaves)
    if identity not in _data_digests:
        found = hashlib.sha256()
        for leaf in map(np.asarray, leaves):
            found.update(f"{leaf.dtype}{leaf.shape}".encode())
            found.update(np.ascontiguousarray(leaf).data)
        _data_digests[identity] = (data, found.hexdigest()[:16])
    return _data_digests[identity][1]


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

    @jax.jit
    def initial_loss(seed: Any, data: Data) -> Any:
        k_init, k_batch, k_loss, k_corrupt = jax.random.split(jax.random.key(seed), 4)
        params, instance = task.init(k_init, data)
        batch = task.sample_batch(k_batch, data, instance, split)
        if objective == "noisy":
            inputs = corrupt(k_corrupt, batch.inputs, corruption)
            batch = batch._replace(inputs=inputs)
        return task.loss(k_loss, params, instance, batch)[0]

    losses = [initial_loss(jnp.uint32(seed), data) for seed in range(PROVISIONAL_KEYS)]
    initial = float(np.mean(losses))
    if not np.isfinite(initial):
        initial = task.loss_floor + 1.0
    best = min(task.loss_floor, initial - 1e-8 - 1e-6 * abs(initial))
    return Normalizer(initial, best, "provisional")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.10g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value

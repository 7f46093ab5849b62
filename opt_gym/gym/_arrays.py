"""What crosses the border outwards: the numbers of an episode."""

from functools import lru_cache
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool

from opt_gym.gym._core import OUTCOME, RESET_INFO, EnvCore, Rows

_FLAGS = ("terminated", "truncated")
_COUNTS = ("inner_step",)


def single(core: EnvCore, rows: Rows, output: str) -> tuple[Any, dict[str, Any]]:
    """The observation and the columns of the only row.

    Numpy: a fresh array, the reward a float, flags bools, the rest numpy scalars. JAX:
    arrays without axes. A numpy observation above half a GB is JAX's own memory and
    therefore read-only: to copy the 4 GB of 30 million weights takes seconds and as much
    memory again.
    """
    if output == "jax":
        return rows.observation[0], core.unpack_first(rows.numbers)
    values = np.asarray(rows.numbers)[0]
    numbers: dict[str, Any] = {
        name: _numpy_type(name)(value)
        for name, value in zip(core.columns, values, strict=True)
    }
    for name in _FLAGS:  # Gymnasium asks for these types
        numbers[name] = bool(numbers[name])
    numbers["reward"] = float(numbers["reward"])
    shown = np.asarray(rows.observation)[0]
    return shown if core.is_huge else shown.copy(), numbers


def observation(rows: Rows, output: str) -> Any:
    """The observations of all rows; numpy: a fresh, writable array."""
    return rows.observation if output == "jax" else np.array(rows.observation)


def ended(rows: Rows) -> Bool[np.ndarray, " n"]:
    """The rows whose episode ended."""
    flags = [OUTCOME.index(name) for name in _FLAGS]
    return np.any(np.asarray(rows.numbers)[:, flags], axis=1)


def batch(core: EnvCore, rows: Rows, output: str) -> dict[str, Any]:
    """The columns of all rows, [N] each; numpy: float64, bool, int64, as SyncVectorEnv."""
    if output == "jax":
        return core.unpack(rows.numbers)
    columns = zip(core.columns, np.asarray(rows.numbers).T, strict=True)
    return {name: column.astype(_numpy_type(name)) for name, column in columns}


def batch_info(
    columns: dict[str, Any],
    known: Bool[np.ndarray, " n"],
    stepped: Bool[np.ndarray, " n"],
    output: str,
) -> dict[str, Any]:
    """`info` of a vector environment: each array with a mask `_name` of who has it.

    Args:
        columns: of `batch`.
        known: the rows that have what a reset tells.
        stepped: the rows that have the rest.
        output: "numpy" or "jax".
    """
    xp = jax.numpy if output == "jax" else np
    masks = {True: _Mask(known, output), False: _Mask(stepped, output)}
    info = {}
    for name, column in columns.items():
        mask = masks[name in RESET_INFO]
        if name in OUTCOME or not mask.some:
            continue
        if not mask.every:
            column = xp.where(mask.shown, column, column.dtype.type(0))
        info[name] = column
        # JAX arrays never change, so one may be shown under several names.
        info[f"_{name}"] = mask.shown if output == "jax" else mask.shown.copy()
    return info


def final_info(
    rows: Rows, columns: dict[str, Any], done: Bool[np.ndarray, " n"], output: str
) -> dict[str, Any]:
    """What SAME_STEP keeps of the episodes that ended, as `SyncVectorEnv` does."""
    last = observation(rows, output)
    final = np.full(len(done), None, dtype=object)
    for i in np.flatnonzero(done):
        final[i] = last[i]
    return {
        "final_obs": final,
        "_final_obs": done.copy(),
        "final_info": batch_info(columns, done, done, output),
        "_final_info": done.copy(),
    }


class _Mask:
    def __init__(self, mask: Bool[np.ndarray, " n"], output: str) -> None:
        self.some, self.every = bool(mask.any()), bool(mask.all())
        self.shown: Any = mask
        if output == "jax":
            self.shown = _ones(len(mask)) if self.every else jax.numpy.asarray(mask)


@lru_cache(maxsize=8)
def _ones(num: int) -> jax.Array:
    return jax.numpy.ones(num, bool)


def _numpy_type(name: str) -> type:
    if name in _FLAGS:
        return np.bool_
    return np.int64 if name in _COUNTS else np.float64

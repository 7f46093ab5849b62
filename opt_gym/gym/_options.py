"""The seeds and options of a reset, checked."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import jax
import numpy as np
from jaxtyping import Bool

from opt_gym.checks import check_whole
from opt_gym.gym import _core
from opt_gym.gym._settings import OptEnvSettings
from opt_gym.plugins import unknown


def checked(options: dict[str, Any] | None, known: tuple[str, ...]) -> dict[str, Any]:
    """The options of a reset as a dict of its own.

    Raises:
        TypeError: not a dict.
        ValueError: a key that is none of `known`.
    """
    if options is None:
        return {}
    if not isinstance(options, dict):
        raise TypeError(f"options must be a dict or None, got {type(options)}")
    for key in options:
        if key not in known:
            raise ValueError(unknown("reset option", key, list(known)))
    return dict(options)


def seeds(seed: int | Sequence[int | None] | None, num: int) -> list[int | None]:
    """One seed a row: s + i of an int s, as `SyncVectorEnv` does.

    Raises:
        ValueError: another number of them.
        gymnasium.error.Error: one that cannot be.
    """
    if seed is None:
        return [None] * num
    if isinstance(seed, int | np.integer):
        return [_whole(seed) + i for i in range(num)]
    of_rows = _one_a_row("seed", seed, num)
    return [None if row is None else _whole(row) for row in of_rows]


def _one_a_row(name: str, values: Any, num: int) -> list[Any]:
    """The entries of a sequence or an array of one axis.

    Raises:
        gymnasium.error.Error: neither.
        ValueError: another number of entries.
    """
    if np.ndim(values) == 1 and hasattr(values, "tolist"):
        of_rows = values.tolist()
    elif isinstance(values, Sequence) and not isinstance(values, str | bytes):
        of_rows = list(values)
    else:
        raise gym.error.Error(
            f"{name} must be a whole number or a sequence of one a row, got {values!r}"
        )
    if len(of_rows) != num:
        raise ValueError(f"{name} must be one, or one a row ({num}), got {values!r}")
    return of_rows


def _whole(seed: Any) -> int:
    """A seed as `OptEnv.reset` takes it.

    Raises:
        gymnasium.error.Error: no whole number, or one below 0.
    """
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or seed < 0:
        raise gym.error.Error(f"a seed must be a whole number >= 0, got {seed!r}")
    return int(seed)


def reset_mask(mask: Any, num: int) -> Bool[np.ndarray, " n"]:
    """The rows to reset; all of them where there is no mask.

    Raises:
        TypeError: not a bool array.
        ValueError: another shape, or no row at all.
    """
    if mask is None:
        return np.ones(num, bool)
    if isinstance(mask, jax.Array):  # an array-conversion wrapper made it one
        mask = np.asarray(mask)
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        kind = mask.dtype if isinstance(mask, np.ndarray) else type(mask)
        raise TypeError(f"options['reset_mask'] must be a numpy bool array, got {kind}")
    if mask.shape != (num,):
        raise ValueError(
            f"options['reset_mask'] must have shape ({num},), got {mask.shape}"
        )
    if not mask.any():
        raise ValueError("options['reset_mask'] must have at least one True")
    return mask.copy()


def task_seeds(value: Any, num: int) -> list[Any]:
    """One task seed a row, from one for all or one a row.

    Raises:
        gymnasium.error.Error, ValueError: no whole numbers, or another number of them.
    """
    if getattr(value, "shape", None) == ():
        value = value.item()
    is_one = isinstance(value, int | float | np.number)
    of_rows = [value] * num if is_one else _one_a_row("task_seed", value, num)
    for seed in of_rows:
        check_whole("task_seed", seed, 0)
    return [int(seed) for seed in of_rows]


def mixed(configs: Sequence[OptEnvSettings]) -> str:
    """The message for rows that want different configs: it shows the shapes."""
    shapes = {s.task_seed: _core.core(s).shapes for s in configs}
    shown = "; ".join(
        f"task_seed {seed}: observation {observation}, action {action}"
        for seed, (observation, action) in shapes.items()
    )
    reason = (
        "rows of different shapes cannot share one array"
        if len(set(shapes.values())) > 1
        else "their shapes are equal, but a vector runs one program, that of one config"
    )
    return f"all rows must have the same task_seed ({reason}): {shown}"

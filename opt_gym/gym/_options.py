"""The seeds and options of a reset, checked."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import jax
import numpy as np
from jaxtyping import Bool

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
    if isinstance(seed, str) or not hasattr(seed, "__iter__"):
        raise gym.error.Error(f"a seed must be a whole number, got {seed!r}")
    of_rows = list(seed)
    if len(of_rows) != num:
        raise ValueError(f"seed must have one entry a row, {num}, got {len(of_rows)}")
    return [None if row is None else _whole(row) for row in of_rows]


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
        ValueError: another number of them.
    """
    if np.ndim(value) == 0:
        return [value] * num
    of_rows = np.asarray(value).tolist()
    if len(of_rows) != num:
        raise ValueError(f"task_seed must be one, or one a row ({num}), got {value!r}")
    return of_rows


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

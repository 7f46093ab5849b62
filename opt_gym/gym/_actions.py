"""What crosses the border inwards: actions."""

from typing import Any

import jax
import numpy as np


def as_actions(action: Any, shape: tuple[int, ...]) -> Any:
    """An action as float32: a JAX array stays one, all else becomes numpy.

    Raises:
        ValueError: another shape, or a type that is not floating point.
    """
    if not isinstance(action, jax.Array):
        try:
            action = np.asarray(action)
        except (TypeError, ValueError, RuntimeError) as error:  # torch has all three
            raise ValueError(
                f"an action must be floats of shape {shape}: {error}"
            ) from error
    if action.shape != shape:
        raise ValueError(f"an action must have shape {shape}, got {action.shape}")
    if not jax.numpy.issubdtype(action.dtype, np.floating):
        raise ValueError(f"an action must be floating point, got {action.dtype}")
    if action.dtype == np.float32:
        return action
    with np.errstate(over="ignore"):  # what float32 cannot hold ends the episode
        return action.astype(np.float32)

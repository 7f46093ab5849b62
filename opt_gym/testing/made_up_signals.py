"""Weights, gradients and a signal that a plug-in can be shown without a task."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from opt_gym.records import Signal

SHAPES = ((6,), (2, 2, 3, 2), (), (4, 3))
ROLES = ("bias", "kernel", "bias", "kernel")
"""A vector, a convolution's kernel, a scalar and a dense kernel."""

PARAMS = tuple(
    jnp.asarray(values, jnp.float32)  # jnp.full's would be weakly typed: compiled anew
    for values in (
        np.linspace(-1.0, 1.0, 6),
        np.full((2, 2, 3, 2), 0.3),
        np.full((), 0.7),
        np.ones((4, 3)),
    )
)
HORIZON = 10


def gradient(t: int, scale: float = 1.0) -> tuple[Any, ...]:
    """Normal numbers that follow from t, times the scale."""
    random = np.random.default_rng(t)
    return tuple(
        jnp.asarray(scale * random.standard_normal(shape), jnp.float32)
        for shape in SHAPES
    )


def signal_at(t: int, scale: float = 1.0) -> Signal:
    """What an optimizer is told after t updates."""
    return Signal(
        ages=(jnp.int32(t),) * len(PARAMS),
        params=PARAMS,
        grad=gradient(t, scale),
        loss=jnp.float32(1.0 / (t + 1)),
        has_loss=jnp.ones((), bool),
        valid_loss=jnp.zeros(()),
        has_valid=jnp.zeros((), bool),
        t=jnp.int32(t),
        horizon=jnp.int32(HORIZON),
    )

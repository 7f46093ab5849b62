"""Every architecture by discovery: the hardest in the fast suite, all in the slow one."""

import functools
from typing import Any

import jax.numpy as jnp
import pytest

import learned
from tests.learned.problems import moving_theta

HARDEST = ("general", "hierarchical", "nn_adam", "velo_like")
"""What nobody has to name; messages; θ as a first state; all of it."""

EVERY_ARCHITECTURE = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in HARDEST else pytest.mark.slow)
        for name in learned.names()
    ],
)

PARAMS: Any = {
    "b": jnp.linspace(-1.0, 1.0, 4),
    "s": jnp.float32(0.5),
    "w": jnp.linspace(-0.5, 1.0, 12).reshape(3, 4),
}


@functools.lru_cache
def transformation(name: str, **settings: Any) -> Any:
    """That of an architecture and a θ at which all of it acts; one compiles once."""
    optimizer, theta = moving_theta(name)
    return learned.to_optax(optimizer, theta, **{"horizon": 10, **settings})

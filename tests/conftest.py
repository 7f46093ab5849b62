"""Every test: two CPU devices, no implicit rank promotion, a cache folder of its own."""

import os
import tempfile

os.environ.setdefault("OPT_GYM_CACHE", tempfile.mkdtemp(prefix="opt-gym-tests-"))
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Small programs are most of what tests compile, and many are the same.
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

import jax
import pytest

import opt_gym

opt_gym.use_all_cores(2)
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def key() -> jax.Array:
    """A fixed key."""
    return jax.random.key(0)

"""Every test: two CPU devices, no implicit rank promotion, a cache folder of its own."""

import os
import tempfile
from importlib.metadata import version

os.environ.setdefault("OPT_GYM_CACHE", tempfile.mkdtemp(prefix="opt-gym-tests-"))
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Small programs are most of what tests compile, and many are the same.
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
# They run for milliseconds and compile for seconds: an update of `nominal_small` takes 0.18
# core-seconds to compile this way and 0.78 as users have it.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
    # 0.12 does not know this one, and ends the process.
    + " --xla_cpu_use_fusion_emitters=false" * version("jaxlib").startswith("0.10."),
)

import jax
import pytest

import opt_gym
from opt_gym import plugins
from opt_gym.runtime import strategy
from tests.evaluation.made_up import parabola

strategy._CPU_OPTIONS["xla_backend_optimization_level"] = 0  # of what it compiles, too
opt_gym.use_all_cores(2)
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def key() -> jax.Array:
    """A fixed key."""
    return jax.random.key(0)


@pytest.fixture
def parabola_family(monkeypatch, tmp_path):
    """A plug-in "parabola" for this test, and a cache folder of its own, which it gives."""
    spec = plugins.Spec(
        "task",
        "parabola",
        lambda config: parabola(config["number"])._replace(config=config),
        "tests",
        lambda seed: {"number": seed},
    )
    monkeypatch.setitem(plugins._registered, ("task", "parabola"), spec)
    monkeypatch.setenv("OPT_GYM_CACHE", str(tmp_path / "cache"))
    return tmp_path

"""Process start to the first outer update, empty compilation cache, against the prototype."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks import _pes

ROUNDS = 3
_UPDATE = """
import opt_gym
opt_gym.use_all_cores()
import jax
from benchmarks import _pes
pes, data = _pes.trainer(64, 64)
key = jax.random.key(0)
state = pes.init(key, data, pes.learned_optimizer.init_theta(key))
state, report = pes.step(key, data, state)
jax.block_until_ready((report, pes.theta(state)))
"""


def alone() -> dict[str, Any]:
    """Seconds of one process that makes one outer update of the benchmark `pes_mlp`."""
    return {"seconds": _ours()}


def run() -> dict[str, Any]:
    """Ours, and the whole process of the prototype with its 8 calls, in turn."""
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(_ours())
        if _pes.PROTOTYPE.exists():
            began = time.perf_counter()
            _pes.prototype(64, 64)
            theirs.append(time.perf_counter() - began)
    result: dict[str, Any] = {"seconds": statistics.median(ours)}
    if theirs:
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        result["baseline_seconds"] = statistics.median(theirs)
        result["ratio"] = statistics.median(ratios)
    return result


def _ours() -> float:
    with tempfile.TemporaryDirectory() as empty:
        environment = {**os.environ, "OPT_GYM_CACHE": empty}
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", _UPDATE], env=environment, check=True)
        return time.perf_counter() - began

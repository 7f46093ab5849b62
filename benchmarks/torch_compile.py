"""A step of `general` and `adafactor_mlp`, a million weights, `compiled=True` (needs g++)."""

import time
from typing import Any

from benchmarks.deployment import THREADS, interleaved, torch_params

ARCHITECTURES = ("general", "adafactor_mlp")
LIMIT = 1e-4
"""Largest difference from the eager step, relative to the largest number of an array."""


def alone(only: str = "") -> dict[str, Any]:
    """Ours; AdamW is cheap and stays in."""
    return run(only)


def run(only: str = "") -> dict[str, Any]:
    """Milliseconds compiled and eager, ratios to AdamW (foreach), seconds to compile.

    Args:
        only: architectures whose name contains this.
    """
    return {name: _row(name) for name in ARCHITECTURES if only in name}


def _row(architecture: str) -> dict[str, float]:
    import torch

    torch.set_num_threads(THREADS)
    eager, compiled = (_optimizer(architecture, how) for how in (False, True))
    adamw = torch.optim.AdamW(torch_params(), lr=1e-3, foreach=True)
    began = time.perf_counter()
    compiled.step(loss=1.0)
    seconds = time.perf_counter() - began
    eager.step(loss=1.0)
    worst = _difference(eager, compiled)
    if worst > LIMIT:
        raise RuntimeError(f"compiled and eager weights differ by {worst:.2g}")
    adamw.step()
    ours, theirs = interleaved(lambda: compiled.step(loss=1.0), adamw.step)
    by_hand, beside = interleaved(lambda: eager.step(loss=1.0), adamw.step)
    row = {
        "compile_seconds": seconds,
        "ms": 1e3 * ours,
        "eager_ms": 1e3 * by_hand,
        "adamw_ms": 1e3 * theirs,
        "ratio": ours / theirs,
        "eager_ratio": by_hand / beside,
    }
    return {key: float(f"{value:.3g}") for key, value in row.items()}


def _optimizer(architecture: str, compiled: bool) -> Any:
    import jax

    import learned
    from learned.torch import LearnedOptim

    lopt = learned.make(architecture)
    theta = jax.jit(lopt.init_theta)(jax.random.key(0))
    chosen = lopt, theta
    return LearnedOptim(torch_params(), chosen, horizon=1000, compiled=compiled)


def _difference(a: Any, b: Any) -> float:
    params = (one.param_groups[0]["params"] for one in (a, b))
    pairs = ((x.detach(), y.detach()) for x, y in zip(*params, strict=True))
    return max(float((x - y).abs().max() / x.abs().max()) for x, y in pairs)

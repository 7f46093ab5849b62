"""A step of `general` and of `adafactor_mlp`, a million weights, by torch.compile (needs g++).

The step is traced once to a plain graph, without pieces and with the narrow layers as sums
over features, as JAX has them: inductor then fuses what makes a feature with the layer that
reads it. Not a mode of `LearnedOptim`: a minute of compilation pays on long runs only.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from benchmarks.deployment import THREADS, interleaved, torch_params

ARCHITECTURES = ("general", "adafactor_mlp")
PLAIN = (
    "learned.building.networks",
    "learned.architectures.general",
    "opt_gym.features.general",
)
"""Modules whose maths is traced as JAX has it: a row on its own, which inductor fuses."""

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
    eager, compiled = _optimizer(architecture), _optimizer(architecture)
    adamw = torch.optim.AdamW(torch_params(), lr=1e-3, foreach=True)
    began = time.perf_counter()
    step = _compiled_step(compiled)
    step()
    seconds = time.perf_counter() - began
    eager.step(loss=1.0)
    worst = _difference(eager, compiled)
    if worst > LIMIT:
        raise RuntimeError(f"compiled and eager weights differ by {worst:.2g}")
    adamw.step()
    ours, theirs = interleaved(step, adamw.step)
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


def _optimizer(architecture: str) -> Any:
    import jax

    import learned
    from learned.torch import LearnedOptim

    lopt = learned.make(architecture)
    theta = jax.jit(lopt.init_theta)(jax.random.key(0))
    return LearnedOptim(torch_params(), (lopt, theta), horizon=1000)


@contextmanager
def _as_in_jax() -> Iterator[None]:
    """No pieces, no blocks where a row of its own is another way, and no look at numbers."""
    with ExitStack() as stack:
        stack.enter_context(mock.patch("opt_gym.maths.pieces.SIZE", 1 << 62))
        for name in ("are_held", "is_readable"):
            held = mock.patch(f"opt_gym.maths.limits.{name}", return_value=False)
            stack.enter_context(held)
        for module in PLAIN:
            stack.enter_context(mock.patch(f"{module}.is_torch", return_value=False))
        yield


def _compiled_step(optimizer: Any) -> Callable[[], Any]:
    """`optimizer.step`, with the maths of `policy.advance` as one compiled program."""
    import jax
    import torch
    from torch.fx.experimental.proxy_tensor import make_fx

    from learned.torch import learned_optim as module
    from opt_gym import policy

    plain, programs = policy.advance, {}

    def advance(lopt: Any, theta: Any, memories: Any, signal: Any) -> Any:
        flat, structure = jax.tree.flatten((theta, memories, signal))
        if not programs:

            def on_leaves(*leaves: Any) -> Any:
                out = plain(lopt, *jax.tree.unflatten(structure, leaves))
                outputs, programs["structure"] = jax.tree.flatten(out)
                return outputs

            with _as_in_jax():
                graph = make_fx(on_leaves)(*flat)
            programs["run"] = torch.compile(graph, dynamic=False)
        return jax.tree.unflatten(programs["structure"], programs["run"](*flat))

    def step() -> None:
        with mock.patch.object(module.policy, "advance", advance):
            optimizer.step(loss=1.0)

    return step


def _difference(a: Any, b: Any) -> float:
    params = (one.param_groups[0]["params"] for one in (a, b))
    pairs = ((x.detach(), y.detach()) for x, y in zip(*params, strict=True))
    return max(float((x - y).abs().max() / x.abs().max()) for x, y in pairs)

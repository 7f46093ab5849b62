"""One step of `general` on 200 tensors of 1,000 weights, a weight's price beside large ones'.

The large ones are those of `deployment`; both frameworks, the update alone.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.deployment import (
    MAX_STEPS,
    NUM_WEIGHTS,
    THREADS,
    arrays,
    interleaved,
)

COUNT, SHAPE = 200, (25, 40)

StepOf = Callable[[list[Any], list[Any], bool], Callable[[], Any]]
"""(weights, gradients, whether it is ours rather than AdamW) -> a step."""


def alone() -> dict[str, Any]:
    """Ours; AdamW is cheap and stays in."""
    return run()


def run() -> dict[str, Any]:
    """Nanoseconds a weight, small and large, and their ratio; the same of AdamW's."""
    rows = {"jax": _rows(_jax_step), "torch": _rows(_torch_step)}
    return {
        f"{kind}_{key}": float(f"{value:.3g}")
        for kind, row in rows.items()
        for key, value in row.items()
    }


def _rows(step_of: StepOf) -> dict[str, float]:
    ours, adamw = _row(step_of, True), _row(step_of, False)
    beside = {
        "ratio": ours["small_ns"] / ours["large_ns"],
        "times_adamw": ours["small_ns"] / adamw["small_ns"],
    }
    return {**ours, **{f"adamw_{key}": x for key, x in adamw.items()}, **beside}


def _row(step_of: StepOf, is_ours: bool) -> dict[str, float]:
    random = np.random.default_rng(0)
    weights, grads = 0.05 * random.standard_normal((2, COUNT, *SHAPE), np.float32)
    steps = (
        step_of([*weights], [*grads], is_ours),
        step_of(arrays(0), arrays(1), is_ours),
    )
    for step in steps:
        step()
    of_small, of_large = interleaved(*steps, most=MAX_STEPS)
    return {
        "small_ns": 1e9 * of_small / (COUNT * SHAPE[0] * SHAPE[1]),
        "large_ns": 1e9 * of_large / NUM_WEIGHTS,
    }


def _optimizer() -> Any:
    import jax

    import learned

    lopt = learned.make("general")
    return lopt, lopt.init_theta(jax.random.key(0))


def _jax_step(params: list[Any], grads: list[Any], is_ours: bool) -> Callable[[], Any]:
    import jax
    import optax

    import learned

    made = (
        learned.to_optax(*_optimizer(), horizon=1000) if is_ours else optax.adamw(1e-3)
    )
    tx = optax.with_extra_args_support(made)

    def step(params: Any, state: Any, grads: Any) -> Any:
        updates, state = tx.update(grads, state, params, value=np.float32(1.0))
        return optax.apply_updates(params, updates), state

    compiled = jax.jit(step, donate_argnums=(0, 1))
    held: list[Any] = [jax.device_put(params), None]
    held[1] = jax.jit(tx.init)(held[0])
    given = jax.device_put(grads)

    def once() -> None:
        held[:] = compiled(*held, given)
        jax.block_until_ready(held[0])

    return once


def _torch_step(
    params: list[Any], grads: list[Any], is_ours: bool
) -> Callable[[], Any]:
    import torch

    from learned.torch import LearnedOptim

    torch.set_num_threads(THREADS)
    weights = [torch.nn.Parameter(torch.tensor(array)) for array in params]
    for weight, grad in zip(weights, grads, strict=True):
        weight.grad = torch.tensor(grad)
    if not is_ours:
        return torch.optim.AdamW(weights, lr=1e-3, foreach=True).step
    optimizer = LearnedOptim(weights, _optimizer(), horizon=1000)
    return lambda: optimizer.step(loss=1.0)

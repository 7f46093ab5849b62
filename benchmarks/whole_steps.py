"""A whole training step of a real model with `general`, as a ratio to the same with AdamW.

A decoder of 4 blocks of width 128 on 16 x 64 tokens and a ResNet-14 on 128 images of 32 x 32,
in JAX (a jitted step in a loop, as users have it) and in PyTorch, eager and with the step of
the optimizer compiled (`LearnedOptim(compiled=True)`); an untrained θ, told loss and horizon.
Rows run in processes of their own.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.deployment import MAX_STEPS, THREADS, interleaved, row_in_a_process
from benchmarks.transformer_steps import CONFIG as TRANSFORMER

HORIZON = 1000
RESNET: dict[str, Any] = {
    "family": "resnet",
    "activation": "relu",
    "w_init": ["he_normal", None],
    "width": 16,
    "blocks": [2, 2, 2],
    "groups": 8,
    "center_data": True,
    "dataset": ["cifar10", {"bs": 128, "just_train": False, "num_train": None}, None],
}
KINDS = ("jax", "torch", "torch_compiled")
MODELS = {"transformer_lm": TRANSFORMER, "resnet_14": RESNET}
BATCHES = {"transformer_lm": (16, 65), "resnet_14": (128, 3, 32, 32)}


def alone(only: str = "") -> dict[str, Any]:
    """Ours; the same steps with AdamW stay in."""
    return run(only)


def run(only: str = "") -> dict[str, Any]:
    """By framework and model: ms a step with both, and the ratio.

    Args:
        only: rows whose name ("jax resnet_14") contains this.
    """
    rows: dict[str, Any] = {}
    for row in (f"{kind} {model}" for kind in KINDS for model in MODELS):
        if only in row:
            rows[row] = row_in_a_process("benchmarks.whole_steps", row)
    return rows


def measure(kind: str, model: str) -> dict[str, float]:
    """One row."""
    if kind == "jax":
        steps = _jax_steps(model)
    else:
        steps = _torch_steps(model, compiled=kind == "torch_compiled")
    began = time.perf_counter()
    steps[0]()
    first = time.perf_counter() - began
    steps[1]()
    ours, adamw = interleaved(*steps, most=MAX_STEPS)
    return {
        "ms": float(f"{1e3 * ours:.4g}"),
        "adamw_ms": float(f"{1e3 * adamw:.4g}"),
        "ratio": float(f"{ours / adamw:.4g}"),
        "first_step_seconds": float(f"{first:.3g}"),
    }


def _jax_steps(model: str) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """(a step with ours, with AdamW) of a task of ours, as users would write it."""
    import jax
    import optax

    import learned
    import opt_gym

    task = opt_gym.make_task(MODELS[model])
    data = jax.device_put({"train": task.load_data("embedded")["train"]})
    lopt = learned.make("general")
    theta = lopt.init_theta(jax.random.key(0))

    def step_of(tx: Any) -> Callable[[], Any]:
        tx = optax.with_extra_args_support(tx)
        k_init, k_steps = jax.random.split(jax.random.key(1))
        params, instance = jax.jit(task.init)(k_init, data)

        def step(params: Any, state: Any, key: Any) -> Any:
            k_next, k_batch, k_loss = jax.random.split(key, 3)
            batch = task.sample_batch(k_batch, data, instance, "train")

            def loss_of(params: Any) -> Any:
                return task.loss(k_loss, params, instance, batch)[0]

            loss, grads = jax.value_and_grad(loss_of)(params)
            updates, state = tx.update(grads, state, params, value=loss)
            return optax.apply_updates(params, updates), state, k_next

        compiled = jax.jit(step, donate_argnums=(0, 1))
        held = [params, jax.jit(tx.init)(params), k_steps]

        def once() -> None:
            held[:] = compiled(*held)
            jax.block_until_ready(held[0])

        return once

    ours = learned.to_optax(lopt, theta, horizon=HORIZON)
    return step_of(ours), step_of(optax.adamw(1e-3))


def _torch_steps(
    model: str, *, compiled: bool
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """(a step with ours, with AdamW, foreach) of a module, on one batch."""
    import jax
    import torch

    import learned
    from learned.torch import LearnedOptim, param_groups

    torch.set_num_threads(THREADS)
    lopt = learned.make("general")
    theta = lopt.init_theta(jax.random.key(0))

    def step_of(make: Callable[[Any], Any]) -> Callable[[], Any]:
        torch.manual_seed(0)
        module, loss_of = _torch_model(model)
        optimizer = make(module)

        def once() -> None:
            optimizer.zero_grad()
            loss = loss_of(module)
            loss.backward()
            optimizer.set_loss(loss) if isinstance(optimizer, LearnedOptim) else None
            optimizer.step()

        return once

    def ours(module: Any) -> Any:
        return LearnedOptim(
            param_groups(module), (lopt, theta), horizon=HORIZON, compiled=compiled
        )

    def usual(module: Any) -> Any:
        return torch.optim.AdamW(module.parameters(), lr=1e-3, foreach=True)

    return step_of(ours), step_of(usual)


def _torch_model(model: str) -> tuple[Any, Callable[[Any], Any]]:
    """(module, module -> loss on its batch)."""
    import torch
    from torch.nn import functional

    if model == "transformer_lm":
        from benchmarks._torch_decoder import decoder

        tokens = torch.randint(TRANSFORMER["vocab_size"], BATCHES[model])
        targets = tokens[:, 1:].reshape(-1)
        return decoder(TRANSFORMER), lambda module: functional.cross_entropy(
            module(tokens).flatten(0, 1), targets
        )
    from benchmarks._torch_resnet import resnet

    images, labels = torch.randn(BATCHES[model]), torch.randint(10, (128,))
    return resnet(RESNET), lambda module: functional.cross_entropy(
        module(images), labels
    )


if __name__ == "__main__":
    print(json.dumps(measure(*sys.argv[1:3])))

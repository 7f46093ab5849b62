"""Training a small convolutional net inside a scan, against the same with lax.conv.

Three 3x3 convolutions of stride 2 (16, 32, 32 channels) on 32x32x3 images, batch 128, mean
pooling, plain SGD; 8 unrolls of a few steps, `lax.scan` inside `lax.map`, one device.
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from optax import softmax_cross_entropy_with_integer_labels as cross_entropy

from opt_gym import plugins
from opt_gym.records import Batch, Task

NAME = "conv_scan"
NUM_UNROLLS = 8
LEARNING_RATE = 0.01
CONFIG = {
    "strides": [[2, 2]] * 3,
    "hidden_units": [16, 32, 32],
    "activation": "relu",
    "w_init": ["he_normal", None],
    "padding": ["SAME"] * 3,
    "pool_type": "mean",
    "use_bias": True,
    "dataset": ["cifar10", {"bs": 128}, None],
    "center_data": False,
}


def alone() -> dict[str, Any]:
    """Inner steps per second of the task as built."""
    task = plugins.spec("task", "conv_pooling").make(CONFIG)
    data = jax.device_put(task.load_data("embedded"))
    program = _program(task, task.loss, num_steps=20)
    program(data)
    return {"inner_steps_per_s": max(_rate(program, data, 20) for _ in range(3))}


def run() -> dict[str, Any]:
    """Inner steps per second of the task as built, of lax.conv, and their ratio.

    The two are timed in turns and the best of three counts.

    Raises:
        RuntimeError: the two do not train alike.
    """
    task = plugins.spec("task", "conv_pooling").make(CONFIG)
    data = jax.device_put(task.load_data("embedded"))
    ours = _program(task, task.loss, num_steps=20)
    baseline = _program(task, _lax_loss, num_steps=2)
    check = _program(task, task.loss, num_steps=2)
    if not jnp.allclose(check(data)[:, 1], baseline(data)[:, 1], rtol=1e-4):
        raise RuntimeError("the losses of the two programs differ")
    ours(data)
    fast, slow = [], []
    for _ in range(3):
        fast.append(_rate(ours, data, 20))
        slow.append(_rate(baseline, data, 2))
    return {
        "inner_steps_per_s": max(fast),
        "baseline_inner_steps_per_s": max(slow),
        "ratio": max(fast) / max(slow),
        "unrolls": NUM_UNROLLS,
        "batch_size": task.batch_size,
    }


def _lax_loss(key: ArrayLike, params: Any, instance: Any, batch: Batch) -> Any:
    x = batch.inputs
    for kernel, bias in zip(params[:-2:2], params[1:-2:2], strict=True):
        x = jax.lax.conv_general_dilated(
            x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        x = jax.nn.relu(x + bias[None, None, None, :])
    logits = jnp.mean(x, axis=(1, 2)) @ params[-2] + params[-1][None, :]
    return cross_entropy(logits, batch.targets).mean(), {}


def _program(
    task: Task, loss_fn: Callable[..., Any], num_steps: int
) -> Callable[[Any], jax.Array]:
    """Data -> losses [unrolls, steps] and, last, the norm of the trained weights."""

    def unroll(key: jax.Array, data: Any) -> jax.Array:
        params, instance = task.init(key, data)

        def step(params: Any, t: jax.Array) -> tuple[Any, jax.Array]:
            k_step = jax.random.fold_in(key, t)
            batch = task.sample_batch(k_step, data, instance, "train")
            differentiate = jax.value_and_grad(loss_fn, argnums=1, has_aux=True)
            (loss, _), grad = differentiate(k_step, params, instance, batch)
            return jax.tree.map(lambda p, g: p - LEARNING_RATE * g, params, grad), loss

        params, losses = jax.lax.scan(step, params, jnp.arange(num_steps))
        # Keeps the last update alive: what nothing depends on is not computed.
        norm = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))
        return jnp.append(losses, norm)

    keys = jax.random.split(jax.random.key(0), NUM_UNROLLS)
    return jax.jit(lambda data: jax.lax.map(lambda key: unroll(key, data), keys))


def _rate(program: Callable[[Any], jax.Array], data: Any, num_steps: int) -> float:
    start = time.perf_counter()
    jax.block_until_ready(program(data))
    return NUM_UNROLLS * num_steps / (time.perf_counter() - start)

"""Inputs of the comparisons with published code, and how an optimizer is run on them.

What the published code gives on these inputs is in the tests, computed once with it: as it is,
but for imports that have nothing to do with the numbers. θ is carried over leaf by leaf.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

import learned
from learned.torch import LearnedOptim

SHAPES = {"kernel": (3, 2, 4, 5), "matrix": (6, 9), "scale": (), "vector": (5,)}
LOSSES = (2.0, 1.5, 1.7, 1.2, 0.9, 1.1, 5.0, 1.3)
HORIZON = 20


def wave(shape: tuple[int, ...], phase: float) -> Any:
    """Numbers that look drawn, and are the same everywhere."""
    angles = 0.37 * np.arange(int(np.prod(shape))) ** 2 + phase
    return np.sin(angles).reshape(shape).astype(np.float32)


def theta(optimizer: Any, size: float) -> Any:
    """A θ of such numbers."""
    expected = jax.eval_shape(optimizer.init_theta, jax.random.key(0))
    leaves, structure = jax.tree.flatten(expected)
    waves = [jnp.asarray(size * wave(leaf.shape, i)) for i, leaf in enumerate(leaves)]
    return jax.tree.unflatten(structure, waves)


def inputs(t: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters and gradients; the first gradients are beyond ±1000."""
    params, grads = {}, {}
    for i, (name, shape) in enumerate(SHAPES.items()):
        params[name] = (1 + 0.01 * t) * wave(shape, i)
        grads[name] = np.float32(10.0 ** (4 - t)) * wave(shape, i + 10 * t + 0.5)
    return jax.tree.map(jnp.asarray, params), jax.tree.map(jnp.asarray, grads)


def updates_of_optax(optimizer: Any, theta: Any) -> dict[str, Any]:
    """Those of the last step."""
    tx: Any = learned.to_optax(optimizer, theta, horizon=HORIZON)
    update, state, updates = jax.jit(tx.update), tx.init(inputs(0)[0]), {}
    for t, loss in enumerate(LOSSES):
        params, grads = inputs(t)
        updates, state = update(grads, state, params, value=jnp.float32(loss))
    return {name: np.asarray(leaf) for name, leaf in updates.items()}


def updates_of_torch(optimizer: Any, theta: Any) -> dict[str, Any]:
    """Those of the last step, of tensors shown with their axes as they are."""
    ours = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
    groups = [
        {"params": [tensor], "role": "kernel", "axes": tuple(range(tensor.ndim))}
        for tensor in ours.values()
    ]
    chosen, before = LearnedOptim(groups, (optimizer, theta), horizon=HORIZON), {}
    for t, loss in enumerate(LOSSES):
        params, grads = inputs(t)
        before = {name: np.array(leaf) for name, leaf in params.items()}
        for name, tensor in ours.items():
            tensor.copy_(torch.tensor(before[name]))
            tensor.grad = torch.tensor(np.array(grads[name]))
        chosen.step(loss=loss)
    return {name: tensor.numpy() - before[name] for name, tensor in ours.items()}


WAYS = {"optax": updates_of_optax, "torch": updates_of_torch}


def summary(update: Any) -> list[float]:
    """First number, last number, root of the mean square."""
    flat = np.ravel(update).astype(np.float64)
    return [flat[0], flat[-1], float(np.sqrt(np.mean(flat**2)))]

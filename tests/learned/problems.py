"""Two small networks with real gradients, and a torch optimizer held against optax."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch

import learned
from learned.torch import LearnedOptim


@functools.cache
def moving_theta(name: str) -> tuple[Any, Any]:
    """An optimizer and a θ at which every part of it acts (some start as Adam)."""
    optimizer = learned.make(name)
    theta = jax.jit(optimizer.init_theta)(jax.random.key(1))
    if set(theta) == set(optimizer.config) & set(theta) and theta:
        return optimizer, theta  # hand-designed: θ is its hyperparameters
    leaves, structure = jax.tree.flatten(theta)
    random = np.random.default_rng(2)
    moved = [  # in numpy: no program for every shape
        jnp.asarray(np.asarray(leaf) + 0.05 * random.standard_normal(leaf.shape), "f4")
        for leaf in leaves
    ]
    return optimizer, jax.tree.unflatten(structure, moved)


QUICK: Any = {"xla_backend_optimization_level": 0}
"""Of XLA's compiler, for programs that run a few steps of a small problem."""


class Network(NamedTuple):
    """Parameters by name, and their loss (key, params) on a batch drawn from the key."""

    params: dict[str, Any]
    loss: Any


def perceptron() -> Network:
    """8 -> 16 -> 3 on random inputs."""
    keys = jax.random.split(jax.random.key(0), 2)
    params = {
        "0.kernel": 0.4 * jax.random.normal(keys[0], (8, 16)),
        "0.bias": jnp.zeros(16),
        "1.kernel": 0.3 * jax.random.normal(keys[1], (16, 3)),
        "1.bias": jnp.zeros(3),
    }

    def loss(key: Any, params: Any) -> Any:
        x = jax.random.normal(key, (32, 8))
        h = jnp.tanh(x @ params["0.kernel"] + params["0.bias"][None])
        out = h @ params["1.kernel"] + params["1.bias"][None]
        return jnp.mean((out - jnp.sin(3 * x[:, :3])) ** 2)

    return Network(params, loss)


def convnet() -> Network:
    """Two convolutions and a linear layer on random 8x8 images."""
    keys = jax.random.split(jax.random.key(1), 3)
    params = {
        "0.kernel": 0.3 * jax.random.normal(keys[0], (3, 3, 2, 4)),
        "0.bias": jnp.zeros(4),
        "1.kernel": 0.2 * jax.random.normal(keys[1], (3, 3, 4, 6)),
        "1.bias": jnp.zeros(6),
        "2.kernel": 0.3 * jax.random.normal(keys[2], (6, 3)),
        "scale": jnp.ones(()),
    }

    def loss(key: Any, params: Any) -> Any:
        x = jax.random.normal(key, (16, 8, 8, 2))
        h = x
        for layer in "01":
            h = jax.lax.conv_general_dilated(
                h,
                params[f"{layer}.kernel"],
                (2, 2),
                "SAME",
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
            h = jax.nn.relu(h + params[f"{layer}.bias"][None, None, None])
        out = params["scale"] * jnp.mean(h, axis=(1, 2)) @ params["2.kernel"]
        labels = jnp.argmax(jnp.mean(x, axis=(1, 2)), axis=1)
        return -jnp.mean(jax.nn.log_softmax(out)[jnp.arange(16), labels])

    return Network(params, loss)


def to_torch_layout(array: Any) -> np.ndarray:
    """[*window, in, out] as torch has it, [out, in, *window]."""
    array = np.asarray(array)
    if array.ndim < 2:
        return array.copy()
    window = range(array.ndim - 2)
    return np.ascontiguousarray(
        array.transpose(array.ndim - 1, array.ndim - 2, *window)
    )


def to_jax_layout(array: np.ndarray) -> np.ndarray:
    """The way back."""
    if array.ndim < 2:
        return array
    return array.transpose(*range(2, array.ndim), 1, 0)


class TorchTwin:
    """`LearnedOptim` led along the path of optax: every step must be the same."""

    def __init__(self, optimizer, theta, params, horizon):
        self.tensors = [
            torch.nn.Parameter(torch.tensor(to_torch_layout(leaf))) for leaf in params
        ]
        self.optimizer = LearnedOptim(self.tensors, (optimizer, theta), horizon=horizon)
        self.largest = [0.0] * len(params)

    def check(self, params, grads, updates, loss):
        for tensor, param, grad in zip(self.tensors, params, grads, strict=True):
            tensor.grad = torch.tensor(to_torch_layout(grad))
            tensor.data = torch.tensor(to_torch_layout(param))
        before = [tensor.detach().clone() for tensor in self.tensors]
        self.optimizer.step(loss=float(loss))
        for i, update in enumerate(updates):
            moved = to_jax_layout((self.tensors[i].detach() - before[i]).numpy())
            # The largest so far: a factor of all updates of a tensor may go through zero.
            self.largest[i] = max(self.largest[i], np.abs(update).max())
            size = self.largest[i] + np.abs(params[i]).max() * 1e-2
            np.testing.assert_allclose(moved, update, atol=1e-5 * size, rtol=1e-5)

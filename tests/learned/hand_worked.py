"""A few steps of a learned optimizer on given gradients, for tests of its equations.

In torch they compile nothing; that JAX has the same numbers is `test_torch.py`'s.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from opt_gym import policy
from opt_gym.records import Signal

SHAPES = ((3, 4), (4,), ())


def moved(optimizer):
    """A θ at which every part acts; numpy, for that compiles nothing."""
    random = np.random.RandomState(1)
    shapes = jax.eval_shape(optimizer.init_theta, jax.random.key(0))
    return jax.tree.map(
        lambda x: random.normal(size=x.shape).astype(np.float32) * 0.15, shapes
    )


def signals(steps):
    """Gradients, one of them far beyond the rest, and validation losses at two steps."""
    random = np.random.RandomState(0)
    params = [random.normal(size=shape).astype(np.float32) for shape in SHAPES]
    params[1] = np.zeros(4, np.float32)
    for t in range(steps):
        grads = [random.normal(size=shape).astype(np.float32) for shape in SHAPES]
        if t == 2:
            grads[0] = 1e3 * grads[0]
        valid = 1.5 if t in (1, 3) else None
        yield params, grads, np.float32(2.0 - 0.3 * t), valid
        params = [
            (p + 0.1 * random.normal(size=p.shape)).astype(np.float32) for p in params
        ]


def signal_of(t, params, grads, loss, valid, array: Any = torch.tensor):
    count = array(np.int32(t))
    return Signal(
        params=tuple(map(array, params)),
        grad=tuple(map(array, grads)),
        loss=array(np.float32(loss)),
        has_loss=array(np.bool_(True)),
        valid_loss=array(np.float32(0.0 if valid is None else valid)),
        has_valid=array(np.bool_(valid is not None)),
        t=count,
        horizon=array(np.int32(10)),
        ages=(count,) * len(params),
    )


def updates(optimizer, theta, given, array: Any = torch.tensor):
    """Δφ of every step, in torch or in JAX."""
    theta = jax.tree.map(array, theta)
    first = tuple(map(array, given[0][0]))
    memories = policy.begin(optimizer, theta, first, ("kernel", "bias", "bias"))

    def advance(memories, signal):
        return policy.advance(optimizer, theta, memories, signal)

    advance = jax.jit(advance) if array is jnp.asarray else advance
    found = []
    for t, parts in enumerate(given):
        memories, delta = advance(memories, signal_of(t, *parts, array=array))
        found.append([np.asarray(d) for d in delta])
    return found


def count(optimizer):
    """The number of weights in its θ."""
    theta = jax.eval_shape(optimizer.init_theta, jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(theta))

"""A critic for any number of parameters: a network on every one, pooled, and a head.

    h_i = relu(W x_i + U τ + Q q + b)             x_i: features of parameter i, scaled
    V = v · relu(P [mean_i h_i, max_i h_i] + c) + d

τ: the numbers shared by all and the critic's own (`progress`), q: those of the tensor. It
sees what the policy sees and, beside it, how much of the episode and of the loss is left: the
rest of a return of fixed length is a function of both.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from agents.rl.seen_observations import Seen, SeenTensor, Together
from opt_gym.env import normalized
from opt_gym.records import Features, Normalizer, Signal

NUM_PROGRESS = 3
_LARGEST, _SMALLEST = 10.0, 1e-4


def init(key: PRNGKeyArray, features: Features, hidden: int) -> PyTree:
    """The critic's weights; its first values are all 0.

    Args:
        key: of the draw.
        features: of the learned optimizer.
        hidden: units of both layers.
    """
    num_rows, num_tensor = len(features.row_names), len(features.tensor_names)
    num_shared = len(features.shared_names) + NUM_PROGRESS
    fan_in = num_rows + num_tensor + num_shared
    k_first, k_second = jax.random.split(key)
    first = jax.random.normal(k_first, (hidden, fan_in)) / jnp.sqrt(fan_in)
    second = jax.random.normal(k_second, (hidden, 2 * hidden)) / jnp.sqrt(2 * hidden)
    return {
        "rows": first[:, :num_rows],
        "tensor": first[:, num_rows : num_rows + num_tensor],
        "shared": first[:, num_rows + num_tensor :],
        "b": jnp.zeros(hidden),
        "pooled": second,
        "c": jnp.zeros(hidden),
        "value": jnp.zeros(hidden),
        "d": jnp.zeros(()),
    }


def progress(normalizer: Normalizer, signal: Signal) -> Float[Array, " 3"]:
    """t/T, ℓ̃, and the logarithm of ℓ̃ within [1e-4, 10]."""
    cost = normalized(normalizer, signal.loss)
    span = normalizer.initial - normalizer.best
    left = jnp.clip((signal.loss - normalizer.best) / span, _SMALLEST, _LARGEST)
    return jnp.stack([signal.t / signal.horizon, cost, jnp.log(left)])


def value(
    critic: PyTree, seen: Seen, progress: Float[Array, " 3"], sizes: tuple[int, ...]
) -> Float[Array, ""]:
    """V of one moment of one episode.

    Args:
        critic: see `init`.
        seen: what the policy saw.
        progress: see there.
        sizes: parameters of each tensor.
    """
    shared = critic["b"] + critic["shared"] @ jnp.concatenate([seen.numbers, progress])
    sums, tops = [], []
    for tensor, size in zip(seen.tensors, sizes, strict=True):
        bias = shared + critic["tensor"] @ tensor.numbers
        h = jax.nn.relu(_first(critic["rows"], tensor) + bias[None])
        sums.append(jnp.mean(h, 0) * size)
        tops.append(jnp.max(h, 0))
    total: Any = sum(sums)
    pooled = jnp.concatenate([total / sum(sizes), jnp.max(jnp.stack(tops), 0)])
    h = jax.nn.relu(critic["pooled"] @ pooled + critic["c"])
    return critic["value"] @ h + critic["d"]


def _first(weights: Array, tensor: SeenTensor) -> Float[Array, "n h"]:
    """The product features @ weightsᵀ, a row a parameter; one row without features."""
    if isinstance(tensor.rows, Together):
        return tensor.rows.matrix(*tensor.kept) @ weights.T
    blocks = tensor.kept
    if not blocks:
        return jnp.zeros((1, weights.shape[0]))
    shape = jnp.broadcast_shapes(*(block.shape[1:] for block in blocks))
    rows = [jnp.broadcast_to(block, (block.shape[0], *shape)) for block in blocks]
    return (
        jnp.concatenate([row.reshape(row.shape[0], -1) for row in rows]).T @ weights.T
    )

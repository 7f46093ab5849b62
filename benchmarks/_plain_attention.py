"""A decoder by hand: one matmul a layer, the softmax of every pair of positions."""

import math

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from benchmarks._plain import ACTIVATIONS, Arrays, Plain
from benchmarks._plain_sequences import text_batches
from opt_gym.records import Config


def decoder(config: Config) -> Plain:
    """Next-token prediction by pre-norm blocks with learned positions, untied.

    Raises:
        ValueError: rotary positions, or tied embeddings.
    """
    if config["positions"] != "learned" or config["tied"]:
        raise ValueError("only learned positions, untied, are written plainly")
    heads, largest = config["heads"], config["vocab_size"] - 1
    activation = ACTIVATIONS[config["activation"]]

    def loss(params: Arrays, instance: Arrays, noise: Arrays, batch: Arrays) -> Array:
        table, positions, *rest = params
        tokens = jnp.minimum(batch[0], largest)
        x = table[tokens[:, :-1]] + positions[None]
        count, time, width = x.shape
        unseen = jnp.tril(jnp.ones((time, time), bool))[None, None]
        for _ in range(config["depth"]):
            g1, b1, wq, bq, wo, bo, g2, b2, w1, c1, w2, c2, *rest = rest
            y = normed(x, g1, b1) @ wq + bq[None, None]
            q, k, v = jnp.split(y.reshape(count, time, 3 * heads, -1), 3, axis=2)
            scores = jnp.einsum("bthk,bshk->bhts", q, k) / math.sqrt(q.shape[-1])
            shares = jax.nn.softmax(jnp.where(unseen, scores, -jnp.inf))
            y = jnp.einsum("bhts,bshk->bthk", shares, v).reshape(count, time, width)
            x = x + y @ wo + bo[None, None]
            y = activation(normed(x, g2, b2) @ w1 + c1[None, None])
            x = x + y @ w2 + c2[None, None]
        gamma, beta, weight, bias = rest
        logits = normed(x, gamma, beta) @ weight + bias[None, None]
        entropy = optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:])
        return entropy.mean()

    settings = config["dataset"][1]
    size, length = settings["batch_size"], settings["patch_length"]
    return Plain(text_batches(size, length), loss)


def normed(x: Array, gamma: Array, beta: Array) -> Array:
    """Layer norm over the last axis."""
    mean = x.mean(-1, keepdims=True)
    centered = x - mean
    variance = (centered * centered).mean(-1, keepdims=True)
    shape = (None, None, slice(None))
    return centered * jax.lax.rsqrt(variance + 1e-5) * gamma[shape] + beta[shape]

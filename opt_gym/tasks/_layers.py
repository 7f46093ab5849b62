"""Layers and losses that task families share."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def linear(
    x: Float[Array, "b i"], weight: Float[Array, "i o"], bias: Float[Array, " o"]
) -> Float[Array, "b o"]:
    """The affine map x W + b."""
    return x @ weight + bias[None, :]


def mlp(
    params: Sequence[Array],
    x: Float[Array, "b i"],
    activation: Callable[[Array], Array],
) -> Float[Array, "b o"]:
    """Linear layers w0, b0, w1, b1, ... with the activation between them."""
    for index in range(0, len(params), 2):
        if index:
            x = activation(x)
        x = linear(x, params[index], params[index + 1])
    return x


def softmax_cross_entropy(
    logits: Float[Array, "b c"], labels: Int[Array, " b"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """(mean cross entropy in nats per example, accuracy), from one pass over the logits.

    loss = mean_b [ log sum_c exp(z_bc) - z_b,label ]. Accuracy is the expected share of
    right answers when ties for the largest logit are broken at random: a network that
    says the same of every class scores 1/c, not 1.

    The label's logit is picked by comparison with the class numbers, because the gradient
    of a gather is a scatter, which is slow on CPU.
    """
    classes = jnp.arange(logits.shape[1], dtype=labels.dtype)
    is_label = labels[:, None] == classes[None, :]
    largest = jax.lax.stop_gradient(jnp.max(logits, axis=1, keepdims=True))
    shifted = logits - largest
    normalizer = jnp.log(jnp.sum(jnp.exp(shifted), axis=1))
    of_label = jnp.sum(jnp.where(is_label, shifted, 0.0), axis=1)
    best = shifted >= 0
    ties = jnp.maximum(jnp.sum(best, axis=1), 1)
    accuracy = jnp.mean(jnp.sum(best & is_label, axis=1) / ties)
    return jnp.mean(normalizer - of_label), accuracy

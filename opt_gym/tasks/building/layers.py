"""Layers and losses that task families share; convolutions are in `convolutions`."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def linear(
    x: Float[Array, "b i"], weight: Float[Array, "i o"], bias: Float[Array, " o"]
) -> Float[Array, "b o"]:
    """The affine map x W + b: `x` [batch, in], `weight` [in, out], `bias` [out]."""
    return x @ weight + bias[None, :]


def mlp(
    params: Sequence[Array],
    x: Float[Array, "b i"],
    activation: Callable[[Array], Array],
) -> Float[Array, "b o"]:
    """Linear layers w0, b0, w1, b1, ... with the activation between them.

    Args:
        params: these tensors, w [in, out] and b [out].
        x: [batch, in].
        activation: elementwise; not after the last layer.
    """
    for index in range(0, len(params), 2):
        if index:
            x = activation(x)
        x = linear(x, params[index], params[index + 1])
    return x


def layer_norm(
    x: Float[Array, "b i"], gamma: Float[Array, " i"], beta: Float[Array, " i"]
) -> Float[Array, "b i"]:
    """γ (x - mean) / sqrt(variance + 1e-5) + β over each example's features.

    Args:
        x: [batch, features].
        gamma, beta: γ and β [features].
    """
    centered = x - jnp.mean(x, axis=1, keepdims=True)
    variance = jnp.mean(centered**2, axis=1, keepdims=True)
    return centered * jax.lax.rsqrt(variance + 1e-5) * gamma[None, :] + beta[None, :]


def frozen_batch_norm(
    x: Float[Array, "b i"], beta: Float[Array, " i"]
) -> Float[Array, "b i"]:
    """Batch normalization that only knows mean 0 and variance 1: x / sqrt(1.001) + β.

    Args:
        x: [batch, features].
        beta: β [features].

    Source: TaskSet's fixed MLPs, which build Sonnet's BatchNormV2 with is_training False
        and never update its averages.
    """
    return x * (1.001**-0.5) + beta[None, :]


def batch_norm(
    x: Float[Array, "c b h w"], beta: Float[Array, "1 1 1 c"]
) -> Float[Array, "c b h w"]:
    """(x - mean) / sqrt(variance + 1e-3) + β, moments over the batch and all pixels.

    Args:
        x: [channels, batch, height, width].
        beta: β [1, 1, 1, channels].

    Source: Sonnet 1.36 BatchNorm as TaskSet's ConvNet2D uses it: batch moments always, also
        at evaluation, no γ.
    """
    axes = (1, 2, 3)
    centered = x - jnp.mean(x, axis=axes, keepdims=True)
    variance = jnp.mean(centered**2, axis=axes, keepdims=True)
    return centered * jax.lax.rsqrt(variance + 1e-3) + beta.reshape(-1, 1, 1, 1)


def dropout(
    x: Float[Array, "b i"], noise: Float[Array, "b i"], keep: float
) -> Float[Array, "b i"]:
    """Dropout: x / keep where noise + 1/2 >= 1 - keep, else 0; noise is U(-1/2, 1/2)."""
    return jnp.where(noise + 0.5 >= 1.0 - keep, x / keep, 0.0)


def softmax_cross_entropy(
    logits: Float[Array, "b c"], labels: Int[Array, " b"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """(mean cross entropy in nats per example, accuracy), from one pass over the logits.

    loss = mean_b [ log sum_c exp(z_bc) - z_b,label ].

    The label's logit is picked by comparison with the class numbers, because the gradient
    of a gather is a scatter, which is slow on CPU.

    Args:
        logits: z [batch, classes], unnormalized.
        labels: [batch] int32.
    """
    classes = jnp.arange(logits.shape[1], dtype=labels.dtype)
    is_label = labels[:, None] == classes[None, :]
    largest = jax.lax.stop_gradient(jnp.max(logits, axis=1, keepdims=True))
    shifted = logits - largest
    normalizer = jnp.log(jnp.sum(jnp.exp(shifted), axis=1))
    of_label = jnp.sum(jnp.where(is_label, shifted, 0.0), axis=1)
    accuracy = _accuracy(shifted, is_label)
    return jnp.mean(normalizer - of_label), accuracy


def sigmoid_squared_error(
    logits: Float[Array, "b c"], labels: Int[Array, " b"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """(mean over examples and classes of (sigmoid(z) - one_hot)², accuracy).

    Args:
        logits: z [batch, classes], before the sigmoid.
        labels: [batch] int32.
    """
    classes = jnp.arange(logits.shape[1], dtype=labels.dtype)
    is_label = labels[:, None] == classes[None, :]
    error = jax.nn.sigmoid(logits) - is_label
    return jnp.mean(error**2), _accuracy(logits, is_label)


def _accuracy(
    logits: Float[Array, "b c"], is_label: Bool[Array, "b c"]
) -> Float[Array, ""]:
    """The expected share of right answers when ties for the largest logit break at random.

    A network that says the same of every class scores 1/c, not 1.
    """
    best = logits >= jnp.max(logits, axis=1, keepdims=True)
    ties = jnp.maximum(jnp.sum(best, axis=1), 1)
    return jnp.mean(jnp.sum(best & is_label, axis=1) / ties)

"""The seed-0 tasks on images by hand: `lax.conv_general_dilated`, matmuls, gathers."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PRNGKeyArray

from benchmarks._plain import ACTIVATIONS, Arrays, Plain, image_batches, mlp
from opt_gym.records import Config


def classifier(config: Config) -> Plain:
    """The MLP of the family mlp."""
    activation = ACTIVATIONS[config["activation"]]

    def loss(params: Arrays, instance: Arrays, noise: Arrays, batch: Arrays) -> Array:
        x, labels = batch
        x = _centered(x, config["center_data"])
        return _cross_entropy(mlp(params, _flat(x), activation), labels)

    return Plain(image_batches(config), loss)


def convolutional(config: Config) -> Plain:
    """Convolutions, then global pooling or an MLP: conv_pooling and conv_fc."""
    activation = ACTIVATIONS[config["activation"]]
    depth, has_bias = len(config["hidden_units"]), config["use_bias"]
    head = depth * (2 if has_bias else 1)
    pools = {
        "mean": lambda x: x.mean((1, 2)),
        "max": lambda x: x.max((1, 2)),
        "squared_mean": lambda x: (x**2).mean((1, 2)),
    }
    pool = pools[config["pool_type"]] if "pool_type" in config else _flat

    def loss(params: Arrays, instance: Arrays, noise: Arrays, batch: Arrays) -> Array:
        x, labels = batch
        x, rest = _centered(x, config["center_data"]), iter(params)
        for strides, padding in zip(config["strides"], config["padding"], strict=True):
            numbers = ("NHWC", "HWIO", "NHWC")
            x = jax.lax.conv_general_dilated(
                x, next(rest), strides, padding, dimension_numbers=numbers
            )
            if has_bias:
                x = x + next(rest)[None, None, None, :]
            x = activation(x)
        return _cross_entropy(mlp(params[head:], pool(x), activation), labels)

    return Plain(image_batches(config), loss)


def autoencoder(config: Config) -> Plain:
    """The MLP autoencoder with squared errors of a tanh, as seed 0 of mlp_ae has them."""
    activation = ACTIVATIONS[config["activation"]]
    kinds = config["output_type"], config["loss_type"], config["reduction_type"]
    if kinds != ("tanh", "l2", "reduce_sum"):
        raise ValueError(f"only tanh, l2, reduce_sum is written plainly, got {kinds}")

    def loss(params: Arrays, instance: Arrays, noise: Arrays, batch: Arrays) -> Array:
        x = 2 * _flat(batch[0]) - 1
        y = jnp.tanh(mlp(params, x, activation))
        return jnp.mean(jnp.sum((y - x) ** 2, axis=1))

    return Plain(image_batches(config), loss)


def variational(config: Config) -> Plain:
    """The MLP autoencoder of mlp_vae: -ELBO with one latent sample."""
    activation = ACTIVATIONS[config["activation"]]
    latents, half = config["enc_hidden_units"][-1], 0.5 / 255
    encoder = 2 * len(config["enc_hidden_units"])

    def noise(key: PRNGKeyArray, batch: Arrays) -> Arrays:
        k_latent, k_pixels = jax.random.split(key)
        b, d = batch[0].shape[0], math.prod(batch[0].shape[1:])
        return (
            jax.random.normal(k_latent, (b, latents)),
            jax.random.uniform(k_pixels, (b, d), minval=-half, maxval=half),
        )

    def loss(params: Arrays, instance: Arrays, noise: Arrays, batch: Arrays) -> Array:
        x = _flat(batch[0])
        mean, log_sigma = jnp.split(mlp(params[:encoder], x, activation), 2, axis=1)
        sigma = jnp.exp(log_sigma)
        pixels = mlp(params[encoder:], mean + sigma * noise[0], activation)
        at, log_scale = jnp.split(jnp.clip(pixels, -10, 10), 2, axis=1)
        density = jax.scipy.stats.norm.logpdf(x + noise[1], at, jnp.exp(log_scale))
        kl = 0.5 * (mean**2 + sigma**2 - 1) - log_sigma
        return jnp.mean(kl.sum(1) - (density - math.log(255)).sum(1))

    return Plain(image_batches(config), loss, noise)


def coupling_flow(config: Config) -> Plain:
    """RealNVP: permutations are gathers, their gradients what JAX makes of them."""
    activation = ACTIVATIONS[config["activation"]]
    count = config["num_bijectors"]

    def loss(params: Arrays, instance: Arrays, noise: Arrays, batch: Arrays) -> Array:
        x = _flat(batch[0]) + noise[0]
        features, size = x.shape[1], len(params) // count
        half, total = features // 2, jnp.zeros(x.shape[0])
        for place, index in enumerate(reversed(range(count))):
            own = params[place * size : (place + 1) * size]
            shift, log_scale = jnp.split(mlp(own, x[:, :half], activation), 2, axis=1)
            x1 = (x[:, half:] - shift) * jnp.exp(-log_scale)
            x, total = jnp.concatenate([x[:, :half], x1], 1), total - log_scale.sum(1)
            if index:
                order = np.random.RandomState(index - 1).permutation(features)
                x = x[:, np.argsort(order)]
        return -jnp.mean(jax.scipy.stats.norm.logpdf(x).sum(1) + total)

    return Plain(image_batches(config), loss, _pixel_noise)


def autoregressive_flow(config: Config) -> Plain:
    """MAF as TaskSet evaluates it; ψ holds the permutations (order, inverse)."""
    activation = ACTIVATIONS[config["activation"]]
    count = config["num_bijectors"]

    def loss(params: Arrays, instance: Arrays, noise: Arrays, batch: Arrays) -> Array:
        x = _flat(batch[0]) + noise[0]
        size, total = len(params) // count, jnp.zeros(x.shape[0])
        for place, index in enumerate(reversed(range(count))):
            own = params[place * size : (place + 1) * size]
            outputs = mlp(own, x, activation).reshape(*x.shape, 2)
            shift, free = outputs[..., 0], outputs[..., 1]
            log_scale = free + jax.lax.stop_gradient(jnp.clip(free, -5, 3) - free)
            x, total = (x - shift) * jnp.exp(-log_scale), total - log_scale.sum(1)
            if index:
                x = x[:, instance[index - 1][1]]
        return -jnp.mean(jax.scipy.stats.norm.logpdf(x).sum(1) + total)

    return Plain(image_batches(config), loss, _pixel_noise)


def _pixel_noise(key: PRNGKeyArray, batch: Arrays) -> Arrays:
    return (0.01 * jax.random.normal(key, _flat(batch[0]).shape),)


def _flat(x: Array) -> Array:
    return x.reshape(x.shape[0], -1)


def _centered(x: Array, center: bool) -> Array:
    return 2 * x - 1 if center else x


def _cross_entropy(logits: Array, labels: Array) -> Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

"""The seed-0 tasks without a data set by hand: a noisy quadratic, noisy parity."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PRNGKeyArray

from benchmarks._plain import Arrays, Plain
from opt_gym.records import Config, Data


def quadratic(config: Config) -> Plain:
    """Loss scale * |(A + N) w|², N = Q diag(spectrum) Qᵀ fresh in every evaluation.

    Raises:
        ValueError: another noise, or a logarithm.
    """
    kind, limits = config["noise"]["A_noise"]
    if kind != "linspace_eigen" or config["output_fn"] != "identity":
        raise ValueError(
            f"only linspace_eigen, identity is written plainly, got {kind}"
        )
    dims = config["dims"]
    spectrum = np.linspace(limits["min"], limits["max"], dims).astype(np.float32)

    def noise(key: PRNGKeyArray, batch: Arrays) -> Arrays:
        square = jax.random.uniform(key, (dims, dims), minval=-1.0, maxval=1.0)
        q, r = jnp.linalg.qr(square)
        q = q * jnp.sign(jnp.diagonal(r))[None, :]
        return (q @ jnp.diag(spectrum) @ q.T,)

    def loss(params: Arrays, instance: Array, noise: Arrays, batch: Arrays) -> Array:
        return config["loss_scale"] * jnp.sum(((instance + noise[0]) @ params[0]) ** 2)

    return Plain(lambda key, data: (), loss, noise)


def noisy_parity(config: Config) -> Plain:
    """sparse_softmax_regression of losg_tasks: five embeddings, a linear layer, sigmoids.

    Raises:
        ValueError: another kind, or noise in the gradient.
    """
    settings = config["settings"]
    kind = config["kind"]
    if kind != "sparse_softmax_regression" or settings["noise_stdev"]:
        raise ValueError(f"only noiseless sparse_softmax_regression, got {kind}")

    def sample(key: PRNGKeyArray, data: Data) -> Arrays:
        ids, labels = data["train"]
        rows = jax.random.randint(key, (settings["bs"],), 0, labels.shape[0])
        return ids[rows], labels[rows]

    def loss(params: Arrays, instance: Arrays, noise: Arrays, batch: Arrays) -> Array:
        embeddings, weight, bias = params
        ids, labels = batch
        logits = embeddings[ids].sum(1) @ weight + bias[None, :]
        entropy = optax.sigmoid_binary_cross_entropy(logits[:, 0], labels)
        penalty = sum(jnp.sum(x**2) for x in params) / len(params)
        return entropy.mean() + 1e-3 * penalty

    return Plain(sample, loss)

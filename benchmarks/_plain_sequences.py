"""The seed-0 tasks on text by hand: a gather for the embedding, a scan over time."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PRNGKeyArray

from benchmarks._plain import ACTIVATIONS, Arrays, Plain
from opt_gym.records import Config, Data


def language_model(config: Config) -> Plain:
    """Next-token prediction by a GRU with a trained initial state, as seed 0 has them.

    Raises:
        ValueError: another core, or an initial state of zeros.
    """
    core, settings = config["core"][0], config["dataset"][1]
    if core != "gru" or not config["trainable_init"]:
        raise ValueError(f"only a GRU with a trained state is written plainly: {core}")
    largest = config["vocab_size"] - 1

    def loss(params: Arrays, instance: Arrays, noise: Arrays, batch: Arrays) -> Array:
        table, first, *weights = params
        tokens = jnp.minimum(batch[0], largest)
        state = jnp.broadcast_to(first, (tokens.shape[0], first.shape[1]))

        def step(h: Array, x: Array) -> tuple[Array, Array]:
            wz, uz, bz, wr, ur, br, wh, uh, bh = weights[:9]
            z = jax.nn.sigmoid(x @ wz + h @ uz + bz[None, :])
            r = jax.nn.sigmoid(x @ wr + h @ ur + br[None, :])
            g = jnp.tanh(x @ wh + (r * h) @ uh + bh[None, :])
            h = (1 - z) * h + z * g
            return h, h

        _, outputs = jax.lax.scan(step, state, jnp.swapaxes(table[tokens], 0, 1))
        logits = outputs[:-1] @ weights[9] + weights[10][None, None, :]
        targets = tokens.T[1:]
        entropy = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
        return entropy.mean()

    size, length = settings["batch_size"], settings["patch_length"]
    return Plain(text_batches(size, length), loss)


def text_classifier(config: Config) -> Plain:
    """The mean output of a vanilla RNN, as seed 0 has it, and a linear layer.

    Raises:
        ValueError: another core, another pooling, or a trained initial state.
    """
    (core, inner), settings = config["core"], config["dataset"][1]
    kinds = core, config["loss_compute"], config["trainable_init"]
    if kinds != ("vrnn", "avg", False):
        raise ValueError(f"only vrnn, avg, zeros is written plainly, got {kinds}")
    activation = ACTIVATIONS[inner["act_fn"]]
    largest = min(config["vocab_size"], settings["max_token"]) - 1

    def loss(params: Arrays, instance: Arrays, noise: Arrays, batch: Arrays) -> Array:
        table, w_in, b_in, w_hidden, b_hidden, weight, bias = params
        tokens, labels = batch
        state = jnp.zeros((tokens.shape[0], w_hidden.shape[0]))

        def step(h: Array, x: Array) -> tuple[Array, Array]:
            h = activation(x @ w_in + b_in[None, :] + h @ w_hidden + b_hidden[None, :])
            return h, h

        embedded = table[jnp.minimum(tokens, largest)]
        _, outputs = jax.lax.scan(step, state, jnp.swapaxes(embedded, 0, 1))
        logits = outputs.mean(0) @ weight + bias[None, :]
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    return Plain(text_batches(settings["bs"], settings["patch_length"]), loss)


def text_batches(size: int, length: int) -> Callable[[PRNGKeyArray, Data], Arrays]:
    """(key, data) -> (tokens [b, length], labels [b]): windows of random examples."""

    def sample(key: PRNGKeyArray, data: Data) -> Arrays:
        texts = data["train"]
        k_index, k_offset = jax.random.split(key)
        index = jax.random.randint(k_index, (size,), 0, texts.starts.shape[0])
        lengths = texts.lengths[index]
        choices = jnp.maximum(lengths - length, 1)
        offset = jax.random.randint(k_offset, (size,), 0, choices)
        place = (offset[:, None] + jnp.arange(length)[None, :]).astype(jnp.int32)
        tokens = texts.tokens[texts.starts[index][:, None] + place].astype(jnp.int32)
        return jnp.where(place < lengths[:, None], tokens, 0), texts.labels[index]

    return sample

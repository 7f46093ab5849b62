"""TaskSet's family of recurrent text classifiers."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float
from numpy.random import RandomState

from opt_gym.data import catalog
from opt_gym.records import Batch, Config
from opt_gym.tasks.building import config_checks, layers, samplers, text_sources
from opt_gym.tasks.building.model import (
    Design,
    Loss,
    Model,
    Params,
    Tensor,
    bias,
    family_spec,
)
from opt_gym.tasks.building.recurrent_networks import make_encoder

FAMILY = "rnn_text_classification"
KEYS = (
    "embed_dim",
    "w_init",
    "dataset",
    "vocab_size",
    "core",
    "trainable_init",
    "loss_compute",
)

SUMMARIES: dict[str, Callable[[Float[Array, "t b h"]], Float[Array, "b h"]]] = {
    "last": lambda outputs: outputs[-1],
    "avg": lambda outputs: jnp.mean(outputs, axis=0),
    "max": lambda outputs: jnp.max(outputs, axis=0),
}
"""Name -> what the linear layer sees of all outputs, padding included."""


def sample_config(seed: int) -> Config:
    """TaskSet's published config `rnn_text_classification_family_seed<seed>`."""
    rng = RandomState(seed)
    return {
        "embed_dim": samplers.log_int(rng, 8, 128),
        "w_init": samplers.initializer(rng),
        "dataset": samplers.classification_dataset(rng),
        "vocab_size": samplers.log_int(rng, 100, 10000),
        "core": samplers.core(rng),
        "trainable_init": samplers.pick(rng, (True, False)),
        "loss_compute": samplers.pick(rng, tuple(SUMMARIES)),
    }


def design(config: Config) -> Design:
    """A classifier of windows of text: embedding, core, a summary of time, a linear layer.

    φ = (embedding [v, e], initial state [1, H] where `trainable_init` (an LSTM has two), the
    core's tensors (see `recurrent_cores`), W [H, classes], b [classes]); v is the smaller of
    `vocab_size` and the data set's `max_token`, and ids above v - 1 count as that id.
    Always on imdb_reviews/subwords8k: see `text_sources.classification_source`.

    Raises:
        ValueError: a key or a value that cannot be used, by name.
    """
    config = config_checks.strip(FAMILY, config, KEYS)
    text_sources.check_network(FAMILY, config)
    config_checks.check_choice(
        FAMILY, "loss_compute", config["loss_compute"], list(SUMMARIES)
    )
    source = text_sources.classification_source(FAMILY, config["dataset"])
    vocab = config["vocab_size"]
    vocab = min(vocab, config["dataset"][1].get("max_token", vocab))
    num_classes = catalog.text_set(source.name).num_classes
    summary = SUMMARIES[config["loss_compute"]]
    encoder = make_encoder(
        FAMILY, config["core"], vocab, config["embed_dim"], config["trainable_init"]
    )

    def loss(
        params: Params, instance: Any, noise: tuple[Array, ...], batch: Batch
    ) -> Loss:
        rest = iter(params)
        seen = summary(encoder.apply(rest, batch.inputs))
        logits = layers.linear(seen, next(rest), next(rest))
        value, accuracy = layers.softmax_cross_entropy(logits, batch.targets)
        return value, {"accuracy": accuracy}

    w_init = (config["w_init"][0], config["w_init"][1])
    head = (Tensor((encoder.units, num_classes), "kernel", w_init), bias(num_classes))
    return Design(FAMILY, config, Model((*encoder.tensors, *head), loss), source)


SPEC = family_spec(
    FAMILY,
    design,
    sample_config,
    source="Metz et al. 2020, arXiv 2002.11887, rnn_text_classification_family",
)

"""Tasks on text: the `dataset` of their configs, and language models."""

from functools import partial
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from opt_gym.data import catalog, windows
from opt_gym.records import Batch, Config, Data
from opt_gym.tasks.building import config_checks, samplers
from opt_gym.tasks.building.model import (
    Design,
    Loss,
    Model,
    Params,
    Source,
    Tensor,
    bias,
)
from opt_gym.tasks.building.recurrent_networks import make_encoder
from opt_gym.tasks.building.token_loss import token_loss

KEYS = ("embed_dim", "w_init", "vocab_size", "core", "trainable_init", "dataset")
OPTIONAL = ("masked",)
"""Of the two families of language models."""

CLASSIFICATION_SET = "imdb_reviews/subwords8k"

MOST_PIECES = 1024
"""The largest "size" of a vocabulary: tokens are uint16."""


def language_source(where: str, value: Any, num_valid: int) -> Source:
    """Checks a language model's `dataset`: [name, {"batch_size", "patch_length", ...}].

    Optional settings: "num_train"; "just_train", all splits are train; "num_valid" instead
    of the family's, given here; "size", a vocabulary of 64 times as many ids. An example is
    a window of `patch_length` tokens.

    Args:
        where: whose config it is, for errors.
        value: the `dataset`, to be checked.
        num_valid: examples of each slice that is cut from the start of train.

    Raises:
        ValueError: anything in it that cannot be used, by name.
    """
    name, settings = _checked_dataset(where, value, "batch_size", ())
    config_checks.check_choice(where, "text set", name, list(catalog.TEXT_SETS))
    just_train = settings.get("just_train", False)
    return _source(name, settings, "batch_size", num_valid, just_train)


def classification_source(where: str, value: Any) -> Source:
    """Checks a classifier's `dataset`: [name, {"bs", "patch_length", ...}].

    It is always imdb_reviews/subwords8k that is loaded, whatever the name, as in TaskSet:
    so the losses of published tasks are of that set. "just_train" has no effect; optional
    are it, "num_train", "num_valid", "size" and "max_token" (see the family).

    Args:
        where: whose config it is, for errors.
        value: the `dataset`, to be checked.

    Raises:
        ValueError: anything in it that cannot be used, by name.
    """
    name, settings = _checked_dataset(where, value, "bs", ("max_token",))
    known = dict.fromkeys([*samplers.CLASSIFICATION_SETS, *catalog.TEXT_SETS])
    config_checks.check_choice(where, "text set", name, list(known))
    return _source(CLASSIFICATION_SET, settings, "bs", 3000, False)


def design_language_model(family: str, config: Config, num_valid: int) -> Design:
    """Next-token prediction: embedding, core, and a linear layer at every step but the last.

    loss = the mean cross entropy of token t + 1 given the tokens up to t, over all positions,
    padding included; with the option `masked` (TaskSet's fixed tasks) only over positions
    whose target is a token. φ = (embedding [v, e], initial state [1, H] where
    `trainable_init` (an LSTM has two), the core's tensors (see `recurrent_cores`), W [H, v],
    b [v]). Ids above `vocab_size` - 1 count as that id.

    Args:
        family: its name, for the task and for errors.
        config: with all of `KEYS` and any of `OPTIONAL`, checked here.
        num_valid: as for `language_source`.

    Raises:
        ValueError: a key or a value that cannot be used, by name.
    """
    config = config_checks.strip(family, config, KEYS, OPTIONAL)
    check_network(family, config)
    config_checks.check_bool(family, "masked", config.get("masked", False))
    source = language_source(family, config["dataset"], num_valid)
    vocab, masked = config["vocab_size"], config.get("masked", False)
    encoder = make_encoder(
        family, config["core"], vocab, config["embed_dim"], config["trainable_init"]
    )

    def loss(
        params: Params, instance: Any, noise: tuple[Array, ...], batch: Batch
    ) -> Loss:
        rest, tokens = iter(params), batch.inputs
        outputs = encoder.apply(rest, tokens)[:-1]
        labels = jnp.minimum(tokens, vocab - 1).T[1:].reshape(-1)
        weights = jnp.ones(labels.shape, outputs.dtype)
        if masked:
            weights = batch.mask.T[1:].reshape(-1)
        weights = weights / jnp.maximum(jnp.sum(weights), 1.0)
        rows = outputs.reshape(-1, encoder.units)
        return token_loss(rows, next(rest), next(rest), labels, weights), {}

    w_init = (config["w_init"][0], config["w_init"][1])
    head = (Tensor((encoder.units, vocab), "kernel", w_init), bias(vocab))
    return Design(family, config, Model((*encoder.tensors, *head), loss), source)


def check_network(family: str, config: Config) -> None:
    """Raises a ValueError for a bad value of what all text families have but the core.

    The error names the `family`; neither the core nor the dataset of `config` is looked at.
    """
    config_checks.check_int(family, "embed_dim", config["embed_dim"], 1)
    config_checks.check_initializer(family, "w_init", config["w_init"])
    config_checks.check_int(family, "vocab_size", config["vocab_size"], 2)
    config_checks.check_bool(family, "trainable_init", config["trainable_init"])


def sample_windows(
    key: PRNGKeyArray, data: Data, split: str, batch_size: int, length: int
) -> Batch:
    """A batch of windows: inputs [b, t] token ids, targets [b] labels, mask [b, t].

    Args:
        key: for the draw.
        data: {split: Texts}.
        split: which of them.
        batch_size, length: b windows of t tokens each.
    """
    tokens, mask, labels = windows.sample_windows(key, data[split], batch_size, length)
    return Batch(tokens, labels, mask)


def _source(
    name: str,
    settings: dict[str, Any],
    size_key: str,
    num_valid: int,
    just_train: bool,
) -> Source:
    def load(origin: str) -> Data:
        return catalog.load_texts(
            name,
            origin,
            num_train=settings.get("num_train"),
            num_valid=settings.get("num_valid", num_valid),
            just_train=just_train,
            size=settings.get("size"),
        )

    size, length = settings[size_key], settings["patch_length"]
    sample = partial(sample_windows, batch_size=size, length=length)
    return Source(name, size, "text", load, sample)


def _checked_dataset(
    where: str, value: Any, size_key: str, more: tuple[str, ...]
) -> tuple[str, dict[str, Any]]:
    pair = isinstance(value, list | tuple) and len(value) == 2
    expected = f'[name, {{"{size_key}": examples, "patch_length": tokens, ...}}]'
    config_checks.check(where, "dataset", value, pair, expected)
    name, settings = value
    inside = f"{where}: dataset {name}"
    optional = ("num_train", "num_valid", "just_train", "size", *more)
    config_checks.check_keys(inside, settings, (size_key, "patch_length"), optional)
    config_checks.check_int(inside, size_key, settings[size_key], 1)
    config_checks.check_int(inside, "patch_length", settings["patch_length"], 2)
    train, valid = settings.get("num_train"), settings.get("num_valid", 1)
    usable = train is None or config_checks.is_int(train, 1)
    config_checks.check(inside, "num_train", train, usable, "an integer >= 1 or null")
    config_checks.check_int(inside, "num_valid", valid, 1)
    config_checks.check_int(inside, "max_token", settings.get("max_token", 2), 2)
    config_checks.check_int(inside, "size", settings.get("size", 1), 1, MOST_PIECES)
    config_checks.check_bool(inside, "just_train", settings.get("just_train", False))
    return name, settings

"""Two memory tests on made-up sequences: associative recall and copying."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray
from numpy.random import RandomState

from opt_gym.records import Batch, Config, Data
from opt_gym.tasks.building import config_checks, layers, samplers
from opt_gym.tasks.building.model import (
    Design,
    Loss,
    Model,
    Params,
    Source,
    Tensor,
    bias,
    family_spec,
    no_data,
)
from opt_gym.tasks.building.recurrent_networks import make_encoder

FAMILY = "sequence"
KEYS = ("kind", "length", "num_tokens", "batch_size", "core")


def sample_config(seed: int) -> Config:
    """A config in TaskSet's style; TaskSet itself has 18 fixed ones."""
    rng = RandomState(seed)
    kind = samplers.pick(rng, tuple(KINDS))
    length = samplers.log_int(rng, 2, 50)
    return {
        "kind": kind,
        "length": length,
        # As many as there are pairs, at least: keys are distinct.
        "num_tokens": samplers.log_int(rng, max(length, 5), 100),
        "batch_size": samplers.log_int(rng, 8, 256),
        "core": samplers.core(rng),
    }


def associative(
    key: PRNGKeyArray, batch_size: int, length: int, num_tokens: int
) -> Batch:
    """k₁ v₁ ... k_P v_P, the id T + 1, one of the keys; to be answered with its value.

    Keys are P = `length` distinct ids of T = `num_tokens`, values any ids. Targets are the
    id T up to the last step, and only the last step counts.
    """
    k_keys, k_values, k_query = jax.random.split(key, 3)
    # The places of the P largest of T draws: distinct, in random order.
    draws = jax.random.uniform(k_keys, (batch_size, num_tokens))
    keys = jax.lax.top_k(draws, length)[1]
    values = jax.random.randint(k_values, (batch_size, length), 0, num_tokens)
    asked = jax.random.randint(k_query, (batch_size, 1), 0, length)
    pairs = jnp.stack([keys, values], axis=2).reshape(batch_size, 2 * length)
    query = jnp.full((batch_size, 1), num_tokens + 1)
    asked_key = jnp.take_along_axis(keys, asked, axis=1)
    answer = jnp.take_along_axis(values, asked, axis=1)
    waiting = jnp.full((batch_size, 2 * length + 1), num_tokens)
    inputs = jnp.concatenate([pairs, query, asked_key], axis=1)
    targets = jnp.concatenate([waiting, answer], axis=1)
    return _batch(inputs, targets, 1)


def copy(key: PRNGKeyArray, batch_size: int, length: int, num_tokens: int) -> Batch:
    """L random ids, the id T, then L times the id T + 1; to be answered with the L ids.

    T = `num_tokens`. Targets are the id 0 on the first L + 1 steps, which do not count.
    """
    ids = jax.random.randint(key, (batch_size, length), 0, num_tokens)
    separator = jnp.full((batch_size, 1), num_tokens)
    waiting = jnp.full((batch_size, length), num_tokens + 1)
    inputs = jnp.concatenate([ids, separator, waiting], axis=1)
    before = jnp.zeros((batch_size, length + 1), jnp.int32)
    return _batch(inputs, jnp.concatenate([before, ids], axis=1), length)


KINDS: dict[str, Callable[[PRNGKeyArray, int, int, int], Batch]] = {
    "associative": associative,
    "copy": copy,
}
"""Name -> (key, batch_size, length, num_tokens) -> Batch."""


def design(config: Config) -> Design:
    """A core on one-hot ids and a linear layer at every step.

    loss = Σ mask · cross entropy / Σ mask. There are `num_tokens` + 2 ids; φ = the core's
    tensors (see `recurrent_cores`), then W [H, ids], b [ids]; the state begins at zero.
    `length` is the number of pairs, or of ids to copy. accuracy: the share of the
    positions that count where the right id has the largest logit.

    Raises:
        ValueError: a key or a value that cannot be used, by name.
    """
    config = _checked(config)
    size, num_ids = config["batch_size"], config["num_tokens"] + 2
    encoder = make_encoder(FAMILY, config["core"], num_ids)
    draw = KINDS[config["kind"]]

    def sample(key: PRNGKeyArray, data: Data, split: str) -> Batch:
        return draw(key, size, config["length"], config["num_tokens"])

    def loss(
        params: Params, instance: Any, noise: tuple[Array, ...], batch: Batch
    ) -> Loss:
        rest = iter(params)
        rows = encoder.apply(rest, batch.inputs).reshape(-1, encoder.units)
        logits = layers.linear(rows, next(rest), next(rest))
        labels, mask = (x.T.reshape(-1) for x in (batch.targets, batch.mask))
        return _masked_cross_entropy(logits, labels, mask)

    head = (Tensor((encoder.units, num_ids)), bias(num_ids))
    source = Source("none", size, "text", no_data, sample)
    return Design(FAMILY, config, Model((*encoder.tensors, *head), loss), source)


def _masked_cross_entropy(
    logits: Float[Array, "n v"], labels: Int[Array, " n"], mask: Float[Array, " n"]
) -> Loss:
    is_label = labels[:, None] == jnp.arange(logits.shape[1])[None, :]
    largest = jax.lax.stop_gradient(jnp.max(logits, axis=1, keepdims=True))
    shifted = logits - largest
    normalizer = jnp.log(jnp.sum(jnp.exp(shifted), axis=1))
    of_label = jnp.sum(jnp.where(is_label, shifted, 0.0), axis=1)
    weights = mask / jnp.maximum(jnp.sum(mask), 1.0)
    # Ties for the largest logit break at random, on average.
    ties = jnp.sum(jnp.where(shifted >= 0.0, 1.0, 0.0), axis=1)
    accuracy = jnp.sum(weights * jnp.where(of_label >= 0.0, 1.0 / ties, 0.0))
    return jnp.sum(weights * (normalizer - of_label)), {"accuracy": accuracy}


def _batch(inputs: Array, targets: Array, num_counted: int) -> Batch:
    counts = jnp.arange(inputs.shape[1]) >= inputs.shape[1] - num_counted
    mask = jnp.broadcast_to(counts[None, :].astype(jnp.float32), inputs.shape)
    return Batch(inputs.astype(jnp.int32), targets.astype(jnp.int32), mask)


def _checked(config: Config) -> Config:
    config = config_checks.strip(FAMILY, config, KEYS)
    config_checks.check_choice(FAMILY, "kind", config["kind"], list(KINDS))
    for key in ("length", "num_tokens", "batch_size"):
        config_checks.check_int(FAMILY, key, config[key], 1)
    tokens = config["num_tokens"]
    if config["kind"] == "associative":
        enough = tokens >= config["length"]
        expected = f">= length, {config['length']}: keys are distinct"
        config_checks.check(FAMILY, "num_tokens", tokens, enough, expected)
    return config


SPEC = family_spec(
    FAMILY,
    design,
    sample_config,
    source="ours; its two kinds are the fixed Associative_ and Copy_ tasks of Metz et al. "
    "2020, arXiv 2002.11887 (google-research/task_set)",
)

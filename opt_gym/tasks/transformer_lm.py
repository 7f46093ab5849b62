"""Transformers that predict the next token: decoders, on bytes or subwords."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array
from numpy.random import RandomState

from opt_gym.records import Batch, Config
from opt_gym.tasks.building import config_checks, samplers, text_sources, transformers
from opt_gym.tasks.building.model import (
    Design,
    Loss,
    Model,
    Params,
    Tensor,
    bias,
    family_spec,
)
from opt_gym.tasks.building.token_loss import token_loss

FAMILY = "transformer_lm"
KEYS = (*transformers.KEYS, "positions", "tied", "vocab_size", "dataset")
OPTIONAL = ("masked",)
POSITIONS = ("learned", "rotary")
NUM_VALID = 3000
ENCODINGS = ("bytes", "subwords8k")


def sample_config(seed: int) -> Config:
    """A config of our own: 1-6 blocks, width 32-256, windows of 32-256 tokens.

    Activation and initializer are drawn as TaskSet draws them, the text sets are its.
    """
    rng = RandomState(seed)
    encoding = samplers.pick(rng, ENCODINGS)
    heads = samplers.pick(rng, transformers.HEADS)
    name, settings = samplers.language_dataset(rng, encoding, 256)
    return {
        **transformers.sample_blocks(rng, heads),
        "positions": samplers.pick(rng, POSITIONS),
        "tied": samplers.coin(rng, 0.5),
        "vocab_size": 256 if encoding == "bytes" else samplers.log_int(rng, 1000, 8000),
        "dataset": [
            name,
            {
                **settings,
                "patch_length": samplers.log_int(rng, 32, 256),
                "batch_size": samplers.log_int(rng, 8, 64),
            },
        ],
    }


def design(config: Config) -> Design:
    """Next-token prediction by pre-norm blocks (see `building.transformers`).

    loss = the mean cross entropy of token t + 1 given the tokens up to t, over all positions,
    padding included; with the option `masked` only over positions whose target is a token.
    φ = (embedding [v, d]; positions [t, d] where "learned"; the blocks; γ, β [d] of the norm
    after the last; W [d, v] unless `tied`, where it is the embedding's transpose; b [v]).
    Embedding and positions begin N(0, .02). Ids above `vocab_size` - 1 count as that id.

    Source: Radford et al. 2019 (GPT-2); Press & Wolf 2017, arXiv 1608.05859 (tied). differs:
        no dropout, and no smaller start of the blocks' last layers.

    Raises:
        ValueError: a key or a value that cannot be used, by name.
    """
    config = config_checks.strip(FAMILY, config, KEYS, OPTIONAL)
    config_checks.check_choice(FAMILY, "positions", config["positions"], POSITIONS)
    config_checks.check_bool(FAMILY, "tied", config["tied"])
    config_checks.check_int(FAMILY, "vocab_size", config["vocab_size"], 2)
    config_checks.check_bool(FAMILY, "masked", config.get("masked", False))
    source = text_sources.language_source(FAMILY, config["dataset"], NUM_VALID)
    # The last token is a target alone.
    time = config["dataset"][1]["patch_length"] - 1
    learned = config["positions"] == "learned"
    blocks = transformers.make_blocks(
        FAMILY, config, time, causal=True, rotary=not learned
    )
    vocab, width, tied = config["vocab_size"], config["width"], config["tied"]
    masked = config.get("masked", False)
    init = transformers.EMBEDDING
    w_init = (config["w_init"][0], config["w_init"][1])
    tensors = (
        Tensor((vocab, width), "embedding", init),
        *([Tensor((time, width), "embedding", init)] if learned else []),
        *blocks.tensors,
        *transformers.norm_tensors(width),
        *([] if tied else [Tensor((width, vocab), "kernel", w_init)]),
        bias(vocab),
    )

    def loss(
        params: Params, instance: Any, noise: tuple[Array, ...], batch: Batch
    ) -> Loss:
        rest, count = iter(params), batch.inputs.shape[0]
        tokens = jnp.minimum(batch.inputs, vocab - 1)
        table = next(rest)
        x = jnp.take(table, tokens[:, :-1], axis=0, mode="clip")
        if learned:
            x = x + next(rest)[None]
        x = blocks.apply(rest, x.reshape(-1, width), count)
        x = transformers.norm(rest, x)
        kernel = table.T if tied else next(rest)
        weights = jnp.ones((count * time,), x.dtype)
        if masked:
            weights = batch.mask[:, 1:].reshape(-1)
        weights = weights / jnp.maximum(jnp.sum(weights), 1.0)
        labels = tokens[:, 1:].reshape(-1)
        return token_loss(x, kernel, next(rest), labels, weights), {}

    return Design(FAMILY, config, Model(tensors, loss), source)


SPEC = family_spec(
    FAMILY,
    design,
    sample_config,
    source="ours; Radford et al. 2019 (GPT-2), with Su et al. 2021, arXiv 2104.09864",
)

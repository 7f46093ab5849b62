"""Vision transformers: images as sequences of patches, classified."""

import jax.numpy as jnp
from jaxtyping import Array
from numpy.random import RandomState

from opt_gym.records import Config
from opt_gym.tasks.building import (
    config_checks,
    image_sources,
    layers,
    patches,
    samplers,
    transformers,
)
from opt_gym.tasks.building.model import (
    Design,
    Model,
    Params,
    Tensor,
    family_spec,
    linear_tensors,
)

FAMILY = "vit"
KEYS = (*transformers.KEYS, "patch", "pool", "dataset", "center_data")
POOLS = ("class", "mean")


def sample_config(seed: int) -> Config:
    """A config of our own: 1-6 blocks, width 32-256, patches of 4 or 8 pixels.

    Activation, initializer and data set are drawn as TaskSet draws them, with batches of at
    most 128.
    """
    rng = RandomState(seed)
    heads = samplers.pick(rng, transformers.HEADS)
    name, settings, augmentation = samplers.image_dataset(rng)
    settings = {**settings, "bs": min(settings["bs"], 128)}
    return {
        **transformers.sample_blocks(rng, heads),
        "patch": samplers.pick(rng, (4, 8)),
        "pool": samplers.pick(rng, POOLS),
        "dataset": [name, settings, augmentation],
        "center_data": samplers.pick(rng, (True, False)),
    }


def design(config: Config) -> Design:
    """A classifier by pre-norm blocks over patches (see `building.transformers`).

    x = W patch + b + its position; behind the blocks a norm, and a linear layer of the class
    token's output, or of the mean over patches.
    φ = (W [p²c, d], b [d]; the class token [1, d] where `pool` is "class"; positions [t, d];
    the blocks; γ, β [d]; W [d, classes], b). Token and positions begin N(0, .02).

    Source: Dosovitskiy et al. 2021, arXiv 2010.11929. differs: no dropout, sizes of our own.

    Raises:
        ValueError: a key or a value that cannot be used, by name.
    """
    config = config_checks.strip(FAMILY, config, KEYS)
    config_checks.check_choice(FAMILY, "pool", config["pool"], POOLS)
    config_checks.check_bool(FAMILY, "center_data", config["center_data"])
    images = image_sources.image_source(FAMILY, config["dataset"])
    patch = patches.check_patch(FAMILY, config["patch"], images.shape)
    has_token, width = config["pool"] == "class", config["width"]
    time = patches.num_patches(images.shape, patch) + has_token
    blocks = transformers.make_blocks(FAMILY, config, time, causal=False)
    w_init = (config["w_init"][0], config["w_init"][1])
    init = transformers.EMBEDDING
    tensors = (
        *linear_tensors((patch * patch * images.shape[2], width), w_init),
        *([Tensor((1, width), "embedding", init)] if has_token else []),
        Tensor((time, width), "embedding", init),
        *blocks.tensors,
        *transformers.norm_tensors(width),
        *linear_tensors((width, images.num_classes), w_init),
    )

    def logits(params: Params, noise: tuple[Array, ...], inputs: Array) -> Array:
        rest, batch = iter(params), inputs.shape[0]
        x = patches.cut(inputs, patch)
        x = layers.linear(x.reshape(-1, x.shape[2]), next(rest), next(rest))
        x = x.reshape(batch, -1, width)
        if has_token:
            token = jnp.broadcast_to(next(rest), (batch, 1, width))
            x = jnp.concatenate([token, x], axis=1)
        x = x + next(rest)[None]
        x = blocks.apply(rest, x.reshape(-1, width), batch)
        x = transformers.norm(rest, x).reshape(batch, time, width)
        pooled = x[:, 0] if has_token else jnp.mean(x, axis=1)
        return layers.linear(pooled, next(rest), next(rest))

    loss = image_sources.classifier_loss(logits, config["center_data"])
    return Design(FAMILY, config, Model(tensors, loss), images.source)


SPEC = family_spec(
    FAMILY,
    design,
    sample_config,
    source="ours; Dosovitskiy et al. 2021, arXiv 2010.11929",
)

"""TaskSet's family of RealNVP flows."""

import math
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float
from numpy.random import RandomState

from opt_gym.records import Batch, Config
from opt_gym.tasks.building import config_checks, flows, image_sources, layers
from opt_gym.tasks.building.activations import ACTIVATIONS
from opt_gym.tasks.building.model import Design, Loss, Model, Params, family_spec

FAMILY = "nvp"
SEED_OFFSET = 123919936


def sample_config(seed: int) -> Config:
    """TaskSet's published config `nvp_family_seed<seed>`: 1-4 bijectors."""
    return flows.sample_flow(seed + SEED_OFFSET)


def design(config: Config) -> Design:
    """A flow of affine coupling layers on images of D values with noise on them.

    Each bijector keeps the first m = floor(D / 2) values, x0, and takes the others to
    (x1 - shift) exp(-log scale); an MLP of x0 with the widths `hidden_units` gives the
    shifts and then the log scales, D - m each. Between bijectors the values change
    places by fixed permutations. The loss is `flows.negative_log_likelihood`.
    φ = (w0, b0, w1, b1, ...), w [in, out], b [out], the last bijector's first.
    Noise: N(0, 0.01²) [b, D].

    Raises:
        ValueError: a key or a value that cannot be used, by name.
    """
    config = config_checks.strip(FAMILY, config, flows.KEYS)
    flows.check_flow(FAMILY, config, least_hidden=0)
    activation = ACTIVATIONS[config["activation"]]
    images = image_sources.image_source(FAMILY, config["dataset"])
    features, count = math.prod(images.shape), config["num_bijectors"]
    kept = features // 2
    changed = features - kept
    sizes = [kept, *config["hidden_units"], 2 * changed]
    permutations = tuple(
        flows.permutation(RandomState(index).permutation(features))
        for index in range(count - 1)
    )

    def invert(
        params: Params, x: Float[Array, "b d"]
    ) -> tuple[Float[Array, "b d"], Float[Array, "b c"]]:
        x0, x1 = x[:, :kept], x[:, kept:]
        outputs = layers.mlp(params, x0, activation)
        shift, log_scale = outputs[:, :changed], outputs[:, changed:]
        x1 = (x1 - shift) * jnp.exp(-log_scale)
        return jnp.concatenate([x0, x1], axis=1), log_scale

    def loss(
        params: Params, instance: Any, noise: tuple[Array, ...], batch: Batch
    ) -> Loss:
        x = flows.noisy(batch, noise)
        return flows.negative_log_likelihood(invert, params, permutations, x), {}

    model = Model(
        flows.network_tensors(sizes, count, config["w_init"]),
        loss,
        flows.draw_noise,
        floor=flows.entropy_floor(features),
    )
    return Design(FAMILY, config, model, images.source)


SPEC = family_spec(
    FAMILY,
    design,
    sample_config,
    source="Metz et al. 2020, arXiv 2002.11887, nvp_family; Dinh et al. 2016, 1605.08803",
)

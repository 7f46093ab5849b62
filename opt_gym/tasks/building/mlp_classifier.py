"""The MLP classifier of the families mlp and small_mlp."""

import itertools
import math

import jax
from jaxtyping import Array, PRNGKeyArray

from opt_gym.records import Batch, Config
from opt_gym.tasks.building import config_checks, image_sources, layers
from opt_gym.tasks.building.activations import ACTIVATIONS
from opt_gym.tasks.building.image_sources import image_source
from opt_gym.tasks.building.model import Design, Model, Params, Tensor, bias

KEYS = ("layer_sizes", "activation", "w_init", "dataset", "center_data")
OPTIONAL = ("norm", "keep", "loss")
NORMS = ("none", "layer", "frozen_batch")


def design_mlp(family: str, config: Config) -> Design:
    """A classifier of flattened images: linear layers, the activation between them.

    φ = (w0, b0, w1, b1, ...), w [in, out], b [out]; `layer_sizes` are the hidden widths.
    Options that TaskSet's fixed tasks use: `norm`, after every hidden linear layer, adds
    γ, β ("layer") or β ("frozen_batch") [out] to φ; `keep` is the probability that a
    hidden unit survives dropout, which comes before the activation; `loss` is
    "cross_entropy" or "mse" (of sigmoids).

    Args:
        family: its name, for the task and for errors.
        config: with all of `KEYS` and any of `OPTIONAL`, checked here.

    Raises:
        ValueError: a key or a value that cannot be used, by name.
    """
    config = _checked(family, config)
    norm, keep = config.get("norm", "none"), config.get("keep", 1.0)
    activation = ACTIVATIONS[config["activation"]]
    images = image_source(family, config["dataset"])
    sizes = [math.prod(images.shape), *config["layer_sizes"], images.num_classes]
    w_init = (config["w_init"][0], config["w_init"][1])
    gains = {
        "none": (),
        "layer": (("ones", None), ("zeros", None)),
        "frozen_batch": (("zeros", None),),
    }[norm]
    tensors: list[Tensor] = []
    for index, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        tensors += [Tensor((fan_in, fan_out), "kernel", w_init), bias(fan_out)]
        if index < len(sizes) - 2:
            tensors += [Tensor((fan_out,), "norm", init) for init in gains]

    def noise(key: PRNGKeyArray, batch: Batch) -> tuple[Array, ...]:
        if keep == 1.0:
            return ()
        keys = jax.random.split(key, len(sizes) - 2)
        count = batch.inputs.shape[0]
        return tuple(
            jax.random.uniform(k_layer, (count, width), minval=-0.5, maxval=0.5)
            for k_layer, width in zip(keys, sizes[1:-1], strict=True)
        )

    def logits(params: Params, noise: tuple[Array, ...], inputs: Array) -> Array:
        rest, draws, x = iter(params), iter(noise), image_sources.flat(inputs)
        for _ in sizes[1:-1]:
            x = layers.linear(x, next(rest), next(rest))
            if norm == "layer":
                x = layers.layer_norm(x, next(rest), next(rest))
            elif norm == "frozen_batch":
                x = layers.frozen_batch_norm(x, next(rest))
            if keep < 1.0:
                x = layers.dropout(x, next(draws), keep)
            x = activation(x)
        return layers.linear(x, next(rest), next(rest))

    loss = image_sources.classifier_loss(
        logits, config["center_data"], config.get("loss", "cross_entropy")
    )
    return Design(family, config, Model(tuple(tensors), loss, noise), images.source)


def _checked(family: str, config: Config) -> Config:
    config = config_checks.strip(family, config, KEYS, OPTIONAL)
    config_checks.check_sizes(family, "layer_sizes", config["layer_sizes"])
    config_checks.check_activation(family, config["activation"])
    config_checks.check_initializer(family, "w_init", config["w_init"])
    config_checks.check_bool(family, "center_data", config["center_data"])
    config_checks.check_choice(family, "norm", config.get("norm", "none"), NORMS)
    loss = config.get("loss", "cross_entropy")
    config_checks.check_choice(family, "loss", loss, list(image_sources.LOSSES))
    keep = config.get("keep", 1.0)
    valid = config_checks.is_number(keep) and 0 < keep <= 1
    config_checks.check(family, "keep", keep, valid, "a number in (0, 1]")
    return config

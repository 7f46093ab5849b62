"""Tasks as a careful user of JAX writes them by hand: one file a kind of model.

They read sizes off a config and know only what the seed-0 tasks of the families need.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from opt_gym.records import Config, Data

Arrays = tuple[Array, ...]


class Plain(NamedTuple):
    """One task by hand.

    Attributes:
        sample: (key, data) -> the arrays of a batch.
        loss: (φ, ψ, noise, batch) -> loss. φ and ψ are the task's own.
        noise: (key, batch) -> the random arrays of one evaluation.
    """

    sample: Callable[[PRNGKeyArray, Data], Arrays]
    loss: Callable[[Any, Any, Arrays, Arrays], Array]
    noise: Callable[[PRNGKeyArray, Arrays], Arrays] = lambda key, batch: ()


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "swish": jax.nn.swish,
    "leaky_relu2": lambda x: jax.nn.leaky_relu(x, 0.2),
    "leaky_relu4": lambda x: jax.nn.leaky_relu(x, 0.4),
}


def image_batches(config: Config) -> Callable[[PRNGKeyArray, Data], Arrays]:
    """(key, data) -> (images [b, h, w, c] in [0, 1], labels [b]); of augmentation only flips.

    Raises:
        ValueError: the config augments otherwise.
    """
    _, settings, augmentation = config["dataset"]
    flips = dict(augmentation or {})
    if flips.get("crop_amount") or flips.get("do_color_aug"):
        raise ValueError(f"only flips are written plainly, got {augmentation}")
    axes = [
        axis
        for axis, name in ((2, "flip_left_right"), (1, "flip_up_down"))
        if flips.get(name)
    ]
    size = settings["bs"]

    def sample(key: PRNGKeyArray, data: Data) -> Arrays:
        images, labels = data["train"]
        k_index, *k_flips = jax.random.split(key, 1 + len(axes)) if axes else (key,)
        index = jax.random.randint(k_index, (size,), 0, labels.shape[0])
        x = images[index] / 255.0
        for k_flip, axis in zip(k_flips, axes, strict=True):
            coins = jax.random.bernoulli(k_flip, 0.5, (size, 1, 1, 1))
            x = jnp.where(coins, jnp.flip(x, axis), x)
        return x, labels[index]

    return sample


def mlp(
    params: Sequence[Array], x: Array, activation: Callable[[Array], Array]
) -> Array:
    """Linear layers with the activation between them."""
    for index in range(0, len(params), 2):
        if index:
            x = activation(x)
        x = x @ params[index] + params[index + 1][None, :]
    return x

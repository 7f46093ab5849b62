"""Tasks on images: the `dataset` of their configs, their batches, and classifiers."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from opt_gym.data import augmentation, catalog
from opt_gym.records import Batch, Data
from opt_gym.tasks.building import config_checks, layers
from opt_gym.tasks.building.model import Loss, Params, Source

Augment = Callable[[PRNGKeyArray, Array], Array]


class ImageSource(NamedTuple):
    """The `dataset` of a config, checked, and what follows from it.

    Attributes:
        shape: height, width, channels of an input, after the crop.
        num_classes: labels are 0 ... num_classes - 1.
        source: of the batches.
    """

    shape: tuple[int, int, int]
    num_classes: int
    source: Source


def image_source(where: str, value: Any) -> ImageSource:
    """Checks a config's `dataset`: [name, settings, augmentation or null].

    The settings are TaskSet's: "bs", "num_train", and "num_classes", "just_train", which
    have no effect. Ours: "num_valid", the examples of each slice that is cut from the start
    of train (TaskSet's fixed tasks have other ones than its families); "ways": [k, seed],
    only k of the classes; "size": the side of the images, which are shrunk to it.

    Args:
        where: whose config it is, for errors.
        value: the `dataset`, to be checked.

    Raises:
        ValueError: anything in it that cannot be used, by name.
    """
    triple = isinstance(value, list | tuple) and len(value) == 3
    expected = '[name, {"bs": batch size, ...}, augmentation or null]'
    config_checks.check(where, "dataset", value, triple, expected)
    name, settings, augmented = value
    config_checks.check_choice(where, "image set", name, list(catalog.IMAGE_SETS))
    entry = catalog.image_set(name)
    inside = f"{where}: dataset {name}"
    _check_settings(inside, settings, entry)
    ways, size = settings.get("ways"), settings.get("size")
    height, width, channels = entry.shape
    if size is not None:
        height = width = size
    augment: Augment | None = None
    if augmented is not None:
        keys = list(augmentation.Augmentation._fields)
        config_checks.check_keys(f"{inside}: augmentation", augmented, keys)
        chosen = augmentation.Augmentation(**augmented)
        shape = (height, width, channels)
        augmentation.check(f"{inside}: augmentation", chosen, shape)
        height, width = height - chosen.crop_amount, width - chosen.crop_amount
        augment = partial(augmentation.augment, chosen=chosen)

    def load(origin: str) -> Data:
        return catalog.load_images(
            name,
            origin,
            num_train=settings.get("num_train"),
            num_valid=settings.get("num_valid"),
            ways=None if ways is None else (ways[0], ways[1]),
            size=size,
        )

    sample = partial(sample_images, batch_size=settings["bs"], augment=augment)
    return ImageSource(
        shape=(height, width, channels),
        num_classes=ways[0] if ways else entry.num_classes,
        source=Source(name, settings["bs"], "image", load, sample),
    )


def sample_images(
    key: PRNGKeyArray,
    data: Data,
    split: str,
    batch_size: int,
    augment: Augment | None = None,
) -> Batch:
    """A batch drawn with replacement: inputs float32 in [0, 1], augmented; labels int32.

    Args:
        key: for the draw and for the augmentation.
        data: {split: Images}.
        split: which of them.
        batch_size: examples to draw.
        augment: (key, images [b, h, w, c]) -> images, or None.
    """
    images, labels = data[split]
    k_index, k_augment = (key, key) if augment is None else jax.random.split(key)
    # One draw of 32 bits instead of the two of randint. The remainder favours the first
    # examples by at most num_examples / 2^32, a thousandth of a percent for 50,000.
    bits = jax.random.bits(k_index, (batch_size,), jnp.uint32)
    index = (bits % np.uint32(labels.shape[0])).astype(jnp.int32)
    inputs = jnp.take(images, index, axis=0, mode="clip").astype(jnp.float32)
    inputs = inputs * np.float32(1 / 255)
    if augment is not None:
        inputs = augment(k_augment, inputs)
    return Batch(inputs, jnp.take(labels, index, axis=0, mode="clip"))


def centered(inputs: Float[Array, "..."], center: bool) -> Float[Array, "..."]:
    """`inputs`, pixels in [0, 1], as they are, or mapped to [-1, 1] where `center`."""
    return 2.0 * inputs - 1.0 if center else inputs


def flat(inputs: Float[Array, "b h w c"]) -> Float[Array, "b d"]:
    """Every image of `inputs` as one vector, channels varying fastest."""
    return inputs.reshape(inputs.shape[0], -1)


LOSSES = {
    "cross_entropy": layers.softmax_cross_entropy,
    "mse": layers.sigmoid_squared_error,
}
"""Name -> (logits, labels) -> (loss, accuracy) of a classifier."""


def classifier_loss(
    logits: Callable[[Params, tuple[Array, ...], Array], Array],
    center: bool,
    loss: str = "cross_entropy",
) -> Callable[[Params, Any, tuple[Array, ...], Batch], Loss]:
    """A `Model.loss`: that of logits(φ, noise, images [b, h, w, c]) against the labels.

    Args:
        logits: the network; it gives [batch, classes].
        center: whether the images are mapped to [-1, 1] for it.
        loss: a name of `LOSSES`.
    """
    measure = LOSSES[loss]

    def classify(
        params: Params, instance: Any, noise: tuple[Array, ...], batch: Batch
    ) -> Loss:
        inputs = centered(batch.inputs, center)
        value, accuracy = measure(logits(params, noise, inputs), batch.targets)
        return value, {"accuracy": accuracy}

    return classify


def _check_settings(where: str, settings: Any, entry: catalog.ImageSet) -> None:
    optional = ("num_train", "num_classes", "just_train", "num_valid", "ways", "size")
    num_classes = entry.num_classes
    config_checks.check_keys(where, settings, ("bs",), optional)
    bs = settings["bs"]
    config_checks.check(where, "bs", bs, config_checks.is_int(bs, 1), "an integer >= 1")
    for key in ("num_train", "num_valid"):
        value = settings.get(key)
        valid = value is None or config_checks.is_int(value, 1)
        config_checks.check(where, key, value, valid, "an integer >= 1 or null")
    classes = settings.get("num_classes", num_classes)
    same = classes == num_classes
    config_checks.check(where, "num_classes", classes, same, str(num_classes))
    # TaskSet stores just_train and ignores it for images.
    config_checks.check_bool(where, "just_train", settings.get("just_train", False))
    if "size" in settings:
        most = min(entry.shape[:2])
        valid = config_checks.is_int(settings["size"], 1, most)
        expected = f"an integer, 1 ... {most}"
        config_checks.check(where, "size", settings["size"], valid, expected)
    ways = settings.get("ways")
    if ways is not None:
        valid = isinstance(ways, list | tuple) and len(ways) == 2
        valid = valid and all(config_checks.is_int(number, 0) for number in ways)
        valid = valid and 2 <= ways[0] <= num_classes
        expected = f"[2 ... {num_classes} classes, seed >= 0]"
        config_checks.check(where, "ways", ways, valid, expected)

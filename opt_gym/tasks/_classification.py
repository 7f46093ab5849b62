"""What the families that classify images share: config, data, batches and the loss."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from opt_gym.data import augmentation, catalog
from opt_gym.records import Batch, Config, Data, Task
from opt_gym.tasks import _config
from opt_gym.tasks._initializers import initialize
from opt_gym.tasks._layers import softmax_cross_entropy


class ImageSource(NamedTuple):
    """The `dataset` of a config, checked, and what follows from it.

    Attributes:
        name, batch_size, num_train: as in the config.
        shape: height, width, channels of an input, after the crop.
        num_classes: outputs of the network.
        augment: (key, images) -> images, or None.
    """

    name: str
    batch_size: int
    num_train: int | None
    shape: tuple[int, int, int]
    num_classes: int
    augment: Callable[[PRNGKeyArray, Array], Array] | None


class Model(NamedTuple):
    """A classifier as shapes and a function.

    Attributes:
        shapes: of φ's tensors, in creation order.
        roles: "kernel" (drawn from the config's initializer) or "bias" (zeros) for each.
        logits: (φ, inputs [b, h, w, c]) -> [b, classes].
    """

    shapes: tuple[tuple[int, ...], ...]
    roles: tuple[str, ...]
    logits: Callable[[tuple[Array, ...], Array], Array]


def image_source(where: str, value: Any) -> ImageSource:
    """Checks a config's `dataset`: [name, {"bs": ...}, augmentation or null].

    Raises:
        ValueError: anything in it that cannot be used, by name.
    """
    triple = isinstance(value, list | tuple) and len(value) == 3
    expected = '[name, {"bs": batch size, ...}, augmentation or null]'
    _config.check(where, "dataset", value, triple, expected)
    name, settings, augmented = value
    _config.check_choice(where, "image set", name, list(catalog.IMAGE_SETS))
    entry = catalog.image_set(name)
    inside = f"{where}: dataset {name}"
    optional = ("num_train", "num_classes", "just_train")
    _config.check_keys(inside, settings, ("bs",), optional)
    bs, num_train = settings["bs"], settings.get("num_train")
    _config.check(inside, "bs", bs, _config.is_int(bs, 1), "an integer >= 1")
    valid = num_train is None or _config.is_int(num_train, 1)
    _config.check(inside, "num_train", num_train, valid, "an integer >= 1 or null")
    classes = settings.get("num_classes", entry.num_classes)
    same = classes == entry.num_classes
    _config.check(inside, "num_classes", classes, same, str(entry.num_classes))
    # TaskSet stores just_train and ignores it for images.
    _config.check_bool(inside, "just_train", settings.get("just_train", False))
    height, width, channels = entry.shape
    augment: Callable[[PRNGKeyArray, Array], Array] | None = None
    if augmented is not None:
        keys = list(augmentation.Augmentation._fields)
        _config.check_keys(f"{inside}: augmentation", augmented, keys)
        chosen = augmentation.Augmentation(**augmented)
        augmentation.check(f"{inside}: augmentation", chosen, entry.shape)
        height, width = height - chosen.crop_amount, width - chosen.crop_amount
        augment = partial(augmentation.augment, chosen=chosen)

    shape = (height, width, channels)
    return ImageSource(name, bs, num_train, shape, classes, augment)


def sample_images(
    key: PRNGKeyArray, data: Data, split: str, source: ImageSource
) -> Batch:
    """A batch drawn with replacement: inputs float32 in [0, 1], augmented; labels int32."""
    images, labels = data[split]
    k_index, k_augment = (key, key) if source.augment is None else jax.random.split(key)
    # One draw of 32 bits instead of the two of randint. The remainder favours the first
    # examples by at most num_examples / 2^32, a thousandth of a percent for 50,000.
    bits = jax.random.bits(k_index, (source.batch_size,), jnp.uint32)
    index = (bits % np.uint32(labels.shape[0])).astype(jnp.int32)
    inputs = jnp.take(images, index, axis=0, mode="clip").astype(jnp.float32)
    inputs = inputs * np.float32(1 / 255)
    if source.augment is not None:
        inputs = source.augment(k_augment, inputs)
    return Batch(inputs, jnp.take(labels, index, axis=0, mode="clip"))


def build_classifier(
    family: str,
    config: Config,
    make_model: Callable[[ImageSource], Model],
) -> Task:
    """The task of classifying `config["dataset"]`'s images with a model.

    loss(φ) = mean softmax cross entropy of logits(φ, x), x mapped to 2x - 1 first where
    `config["center_data"]`. Kernels are drawn from `config["w_init"]`, biases are zero.
    """
    source = image_source(family, config["dataset"])
    _config.check_initializer(family, "w_init", config["w_init"])
    _config.check_bool(family, "center_data", config["center_data"])
    model = make_model(source)
    w_init, center = config["w_init"], config["center_data"]
    places = [i for i, role in enumerate(model.roles) if role == "kernel"]

    def init(key: PRNGKeyArray, data: Data) -> tuple[tuple[Array, ...], tuple[()]]:
        kernels = [model.shapes[i] for i in places]
        drawn = dict(
            zip(places, initialize(key, w_init[0], w_init[1], kernels), strict=True)
        )
        params = tuple(
            drawn[i] if i in drawn else jnp.zeros(shape, jnp.float32)
            for i, shape in enumerate(model.shapes)
        )
        return params, ()

    def sample_batch(key: PRNGKeyArray, data: Data, instance: Any, split: str) -> Batch:
        return sample_images(key, data, split, source)

    def loss(
        key: PRNGKeyArray, params: tuple[Array, ...], instance: Any, batch: Batch
    ) -> tuple[Array, dict[str, Array]]:
        inputs = 2.0 * batch.inputs - 1.0 if center else batch.inputs
        value, accuracy = softmax_cross_entropy(
            model.logits(params, inputs), batch.targets
        )
        return value, {"accuracy": accuracy}

    return Task(
        config={"family": family, **config},
        batch_size=source.batch_size,
        dataset=source.name,
        input_kind="image",
        loss_floor=0.0,
        roles=model.roles,
        load_data=lambda origin: catalog.load(source.name, origin, source.num_train),
        init=init,
        sample_batch=sample_batch,
        loss=loss,
        constrain=lambda params: params,
    )

"""TaskSet's random choices of settings, number for number.

All of them draw from one `numpy.random.RandomState`: TaskSet's published configs are the
draws of seeds 0, 1, 2, ... so the order and the kind of every draw is part of the format.
A list may repeat an entry: that is how TaskSet writes weights, and a choice with weights
takes other bits from the generator than one without.

Source: Metz et al. 2020, arXiv 2002.11887 (google-research/task_set), section on sampling.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.random import RandomState

from opt_gym.tasks.building import initializers

Item = TypeVar("Item")

ACTIVATION_WEIGHTS = {
    "cos": 1,
    "elu": 1,
    "leaky_relu1": 1,
    "leaky_relu2": 1,
    "leaky_relu4": 1,
    "relu": 6,
    "sigmoid": 1,
    "swish": 1,
    "tanh": 3,
}

INITIALIZER_WEIGHTS = {
    "glorot_normal": 2,
    "glorot_uniform": 2,
    "he_normal": 2,
    "he_uniform": 2,
    "orthogonal": 1,
    "random_normal": 1,
    "random_uniform": 1,
    "truncated_normal": 1,
    "variance_scaling": 1,
}

IMAGE_SETS = (
    "cifar10",
    "cifar100",
    "coil100_32x32",
    "deep_weeds_32x32",
    "fashion_mnist",
    "food101_32x32",
    "imagenet_resized/16x16",
    "imagenet_resized/32x32",
    "mnist",
    "sun397_32x32",
)


def uniform(rng: RandomState, low: float, high: float) -> float:
    """A number between `low` and `high`, drawn from `rng`."""
    return float(rng.uniform(low, high))


def log_float(rng: RandomState, low: float, high: float) -> float:
    """A number between `low` and `high`, drawn from `rng`, whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def log_int(rng: RandomState, low: int, high: int) -> int:
    """An integer between `low` and `high`, rounded from a log-uniform number of `rng`."""
    return int(np.round(np.exp(rng.uniform(np.log(low), np.log(high)))))


def lin_int(rng: RandomState, low: int, high: int) -> int:
    """An integer between `low` and `high`, rounded from a uniform number of `rng`."""
    return int(np.round(rng.uniform(low, high)))


def coin(rng: RandomState, probability: float) -> bool:
    """True with the given `probability`, drawn from `rng`."""
    return bool(rng.uniform(0.0, 1.0) < probability)


def pick(rng: RandomState, items: Sequence[Item]) -> Item:
    """One of the `items`, drawn from `rng`, each as likely as the next."""
    return items[int(rng.choice(len(items)))]


def pick_weighted(rng: RandomState, weights: dict[str, int]) -> str:
    """One of the names of `weights`, drawn from `rng` in proportion to its weight."""
    values = np.array(list(weights.values()), np.float64)
    return list(weights)[int(rng.choice(len(weights), p=values / values.sum()))]


def activation(rng: RandomState) -> str:
    """The name of an activation, drawn from `rng`."""
    return pick_weighted(rng, ACTIVATION_WEIGHTS)


def initializer(rng: RandomState) -> list[Any]:
    """An initializer from `rng` as [name, scale], the scale None where the name fixes it."""
    name = pick_weighted(rng, INITIALIZER_WEIGHTS)
    return [name, log_float(rng, 0.1, 10) if name in initializers.SCALED else None]


def augmentation(rng: RandomState) -> dict[str, Any]:
    """Settings of the image augmentation; all eight are drawn from `rng`, used or not."""
    return {
        "crop_amount": pick(rng, (0, 0, 0, 1, 2)),
        "flip_left_right": pick(rng, (False, True)),
        "flip_up_down": pick(rng, (False, True)),
        "do_color_aug": pick(rng, (False, True)),
        "brightness": log_float(rng, 0.001, 64.0 / 255.0),
        "saturation": log_float(rng, 0.01, 1.0),
        "hue": log_float(rng, 0.01, 0.5),
        "contrast": log_float(rng, 0.01, 1.0),
    }


def image_dataset(rng: RandomState) -> list[Any]:
    """An image set from `rng` as [name, {"bs": batch size, ...}, augmentation or None].

    `just_train` is part of the published config and without effect for images.
    """
    name = pick(rng, IMAGE_SETS)
    # Drawn before the batch size, written after it.
    augmented = augmentation(rng) if coin(rng, 0.3) else None
    settings: dict[str, Any]
    if name in ("mnist", "fashion_mnist"):
        settings = {
            "bs": log_int(rng, 8, 512),
            "num_train": lin_int(rng, 1000, 55000),
            "num_classes": 10,
            "just_train": coin(rng, 0.1),
        }
    elif name in ("cifar10", "cifar100"):
        settings = {
            "bs": log_int(rng, 8, 256),
            "num_train": lin_int(rng, 1000, 50000),
            "just_train": coin(rng, 0.2),
        }
    else:
        settings = {
            "bs": log_int(rng, 8, 256),
            "just_train": coin(rng, 0.2),
            "num_train": None,
        }
    return [name, settings, augmented]


AMAZON = ("Books_v1_02", "Camera_v1_00", "Home_v1_00", "Video_v1_00")
WIKIPEDIA = ("en", "hsb", "ja", "ru", "zh")

CLASSIFICATION_SETS = (
    # TaskSet's list lacks a comma here.
    "imdb_reviews/subwords8kimdb_reviews/bytes",
    *(
        f"tokenized_amazon_reviews/{name}_{encoding}"
        for name in AMAZON
        for encoding in ("bytes", "subwords8k")
    ),
)


def core(rng: RandomState) -> list[Any]:
    """A recurrent core from `rng` as [name, {"core_dim": units, initializers, ...}]."""
    name = pick(rng, ("vrnn", "gru", "lstm"))
    # Drawn for an LSTM too, which has a single initializer.
    linked = pick(rng, (True, True, True, True, False))
    if name == "vrnn":
        keys = ("hidden_to_hidden", "in_to_hidden")
        drawn = _initializers_of(rng, keys, linked)
        drawn["act_fn"] = activation(rng)
        return [name, {**drawn, "core_dim": log_int(rng, 32, 128)}]
    if name == "gru":
        units = log_int(rng, 32, 128)
        keys = ("wh", "wz", "wr", "uh", "uz", "ur")
        return [name, {"core_dim": units, **_initializers_of(rng, keys, linked)}]
    return [name, {"w_gates": initializer(rng), "core_dim": log_int(rng, 32, 128)}]


def language_dataset(rng: RandomState, encoding: str, longest: int) -> list[Any]:
    """A text set of a language model as [name, {"batch_size", "patch_length", ...}].

    Args:
        rng: what it is drawn from.
        encoding: "bytes" or "subwords8k", of all sets to choose from.
        longest: the largest "patch_length", in tokens; the smallest is 10.
    """
    names = (
        f"imdb_reviews/{encoding}",
        f"lm1b/{encoding}",
        *(f"tokenized_amazon_reviews/{name}_{encoding}" for name in AMAZON),
        *(f"tokenized_wikipedia/20190301.{name}_{encoding}" for name in WIKIPEDIA),
    )
    name = pick(rng, names)
    num_train = lin_int(rng, 1000, 50000) if coin(rng, 0.2) else None
    settings = {
        "patch_length": log_int(rng, 10, longest),
        "batch_size": log_int(rng, 8, 512),
        "just_train": coin(rng, 0.2),
        "num_train": num_train,
    }
    return [name, settings]


def classification_dataset(rng: RandomState) -> list[Any]:
    """A text set of a classifier from `rng` as [name, {"bs", "patch_length", ...}]."""
    name = pick(rng, CLASSIFICATION_SETS)
    num_train = lin_int(rng, 1000, 50000) if coin(rng, 0.2) else None
    settings = {
        "bs": log_int(rng, 8, 512),
        "num_train": num_train,
        "max_token": 8185,
        "just_train": coin(rng, 0.2),
        "patch_length": log_int(rng, 8, 128),
    }
    return [name, settings]


def _initializers_of(
    rng: RandomState, keys: Sequence[str], linked: bool
) -> dict[str, Any]:
    """One initializer a key, or the same for all where `linked`."""
    if linked:
        return dict.fromkeys(keys, initializer(rng))
    return {key: initializer(rng) for key in keys}

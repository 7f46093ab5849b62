"""The image sets: what each is, how TaskSet cuts it, and reading it."""

from typing import NamedTuple

import numpy as np
from numpy.random import RandomState

from opt_gym.data import embedded_images, splits, tfds
from opt_gym.records import SPLITS, Data, Images


class ImageSet(NamedTuple):
    """One labelled image set and how TaskSet cuts it.

    Attributes:
        name: as in a task config.
        builder: the TFDS builder it is read from, "" where there is none.
        shape: height, width, channels.
        num_classes: labels are 0 ... num_classes - 1.
        sizes: examples of the set's own splits: train; or train and test; or train,
            validation and test. `opt_gym.data.splits.sizes` gives those of our four.
        num_valid: examples of each slice that is cut from the start of train.
        label_key: the feature that is the label.
        resized: whether the originals are resized to `shape`.
    """

    name: str
    builder: str
    shape: tuple[int, int, int]
    num_classes: int
    sizes: tuple[int, ...]
    num_valid: int
    label_key: str = "label"
    resized: bool = False


Ways = tuple[int, int]
"""(k, seed): only k of the classes, and which."""


def _gray(name: str) -> ImageSet:
    return ImageSet(name, name, (28, 28, 1), 10, (60000, 10000), 5000)


def _cifar(name: str, num_classes: int) -> ImageSet:
    return ImageSet(name, name, (32, 32, 3), num_classes, (50000, 10000), 5000)


def _imagenet(size: int) -> ImageSet:
    name = f"imagenet_resized/{size}x{size}"
    return ImageSet(name, name, (size, size, 3), 1000, (1281167, 50000), 5000)


def _resized(
    builder: str,
    num_classes: int,
    sizes: tuple[int, ...],
    num_valid: int = 5000,
    label_key: str = "label",
    side: int = 32,
) -> ImageSet:
    name = f"{builder.split('/')[0]}_{side}x{side}"
    shape = (side, side, 3)
    return ImageSet(
        name, builder, shape, num_classes, sizes, num_valid, label_key, True
    )


IMAGE_SETS = {
    entry.name: entry
    for entry in (
        ImageSet("digits", "", (8, 8, 1), 10, (1797,), 179),
        _gray("mnist"),
        _gray("fashion_mnist"),
        _cifar("cifar10", 10),
        _cifar("cifar100", 100),
        _resized("food101", 101, (101000,)),
        _resized("food101", 101, (101000,), side=64),
        # TaskSet's labels are the 72 angles of view, not the 100 objects.
        _resized("coil100", 72, (7200,), 800, "angle_label"),
        _resized("deep_weeds", 9, (17509,), 2000),
        _resized("colorectal_histology", 8, (5000,), 700),
        _resized("sun397/tfds", 397, (76128, 10875, 21750)),
        _imagenet(16),
        _imagenet(32),
    )
}
"""Every image set by name (digits is ours).

Source: Metz et al. 2020, arXiv 2002.11887 (google-research/task_set, datasets).
"""


def check_ways(entry: ImageSet, ways: Ways) -> None:
    """Raises a ValueError for a number of classes or a seed that cannot be."""
    number, seed = ways
    if type(number) is not int or not 2 <= number <= entry.num_classes:
        raise ValueError(
            f"{entry.name}: ways must be 2 ... {entry.num_classes} classes, got {number!r}"
        )
    if type(seed) is not int or not 0 <= seed < 2**32:
        raise ValueError(
            f"{entry.name}: the seed of ways must be 0 ... 2^32 - 1, got {seed!r}"
        )


def sizes(entry: ImageSet, num_valid: int, ways: Ways | None) -> tuple[int, ...]:
    """Examples of each of `SPLITS` in the original; about so many where `ways` is given."""
    whole = splits.sizes(entry.sizes, num_valid)
    if ways is None:
        return whole
    return tuple(max(1, round(n * ways[0] / entry.num_classes)) for n in whole)


def read(entry: ImageSet, provider: str, num_valid: int, ways: Ways | None) -> Data:
    """{split: Images}, all of train; `provider` is "tfds" or "embedded"."""
    chosen = None
    if provider == "tfds":
        arrays = _original(entry, num_valid)
        chosen = ways
    elif entry.shape[2] == 1:
        arrays = _digits(entry, splits.sizes(entry.sizes, num_valid))
        chosen = ways
    else:
        number, seed = ways or (entry.num_classes, 0)
        wanted = sizes(entry, num_valid, ways)
        arrays = embedded_images.photograph_crops(entry.shape[0], number, wanted, seed)
    if chosen is not None:
        arrays = [_only(pair, entry.num_classes, chosen) for pair in arrays]
    return {split: Images(*pair) for split, pair in zip(SPLITS, arrays, strict=True)}


def _original(entry: ImageSet, num_valid: int) -> embedded_images.Arrays:
    resize_to = entry.shape if entry.resized else None
    stored = tfds.read_images(entry.builder, entry.label_key, resize_to)
    counts = {split: len(labels) for split, (_, labels) in stored.items()}
    arrays = []
    for origin, start, stop in splits.cut(counts, num_valid).values():
        images, labels = stored[origin]
        arrays.append((images[start:stop], labels[start:stop]))
    return arrays


def _digits(entry: ImageSet, wanted: tuple[int, ...]) -> embedded_images.Arrays:
    if not entry.builder:
        return embedded_images.digits(wanted)
    return embedded_images.enlarged_digits(entry.shape[0], wanted)


def _only(
    pair: tuple[np.ndarray, np.ndarray], num_classes: int, ways: Ways
) -> tuple[np.ndarray, np.ndarray]:
    """The examples of k classes, labels numbered anew in the order of the permutation."""
    images, labels = pair
    number, seed = ways
    classes = RandomState(seed).permutation(num_classes)[:number]
    place = np.full(num_classes, -1, np.int32)
    place[classes] = np.arange(number, dtype=np.int32)
    renumbered = place[labels]
    here = renumbered >= 0
    return images[here], renumbered[here]

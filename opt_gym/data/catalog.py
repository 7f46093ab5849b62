"""The image sets: what each is, what serves it here, and loading it.

Sources: "tfds" is the original where the user has prepared it, "embedded" a stand-in made of
images that come inside scikit-learn, "auto" the first of the two that there is.
"""

import hashlib
import warnings
import weakref
from functools import cache, lru_cache
from typing import NamedTuple

import jax
import numpy as np

from opt_gym.data import embedded, tfds
from opt_gym.plugins import unknown
from opt_gym.records import SPLITS, Data, Images

SOURCES = ("auto", "embedded", "tfds")

SMALLEST_TRAIN = 128
"""A scaled-down train slice keeps at least this many examples."""


class ImageSet(NamedTuple):
    """One labelled image set and how TaskSet cuts it.

    Attributes:
        name: as in a task config.
        builder: the TFDS builder it is read from, "" where there is none.
        shape: height, width, channels.
        num_classes: labels are 0 ... num_classes - 1.
        sizes: examples per split (train, valid_inner, valid_outer, test).
        num_valid: examples of each slice that is cut from the start of train.
        label_key: the feature that is the label.
        resized: whether the originals are resized to `shape`.
    """

    name: str
    builder: str
    shape: tuple[int, int, int]
    num_classes: int
    sizes: tuple[int, int, int, int]
    num_valid: int
    label_key: str = "label"
    resized: bool = False


def _gray(name: str) -> ImageSet:
    return ImageSet(name, name, (28, 28, 1), 10, (50000, 5000, 5000, 10000), 5000)


def _cifar(name: str, num_classes: int) -> ImageSet:
    sizes = (40000, 5000, 5000, 10000)
    return ImageSet(name, name, (32, 32, 3), num_classes, sizes, 5000)


def _imagenet(size: int) -> ImageSet:
    name = f"imagenet_resized/{size}x{size}"
    sizes = (1271167, 5000, 5000, 50000)
    return ImageSet(name, name, (size, size, 3), 1000, sizes, 5000)


def _resized(
    builder: str,
    num_classes: int,
    sizes: tuple[int, int, int, int],
    num_valid: int = 5000,
    label_key: str = "label",
) -> ImageSet:
    name = f"{builder.split('/')[0]}_32x32"
    shape = (32, 32, 3)
    return ImageSet(
        name, builder, shape, num_classes, sizes, num_valid, label_key, True
    )


IMAGE_SETS = {
    entry.name: entry
    for entry in (
        ImageSet("digits", "", (8, 8, 1), 10, (1260, 179, 179, 179), 179),
        _gray("mnist"),
        _gray("fashion_mnist"),
        _cifar("cifar10", 10),
        _cifar("cifar100", 100),
        _resized("food101", 101, (86000, 5000, 5000, 5000)),
        # TaskSet's labels are the 72 angles of view, not the 100 objects.
        _resized("coil100", 72, (4800, 800, 800, 800), 800, "angle_label"),
        _resized("deep_weeds", 9, (11509, 2000, 2000, 2000), 2000),
        _resized("sun397/tfds", 397, (71128, 5000, 10875, 21750)),
        _imagenet(16),
        _imagenet(32),
    )
}
"""Every image set by name; sizes as TaskSet cuts them (digits is ours).

Source: Metz et al. 2020, arXiv 2002.11887 (google-research/task_set, datasets).
"""


class StandInWarning(UserWarning):
    """An image set is served by a stand-in and not by the original."""


def image_set(name: str) -> ImageSet:
    """The entry of that name.

    Raises:
        ValueError: there is none (near matches are named).
    """
    if name not in IMAGE_SETS:
        raise ValueError(unknown("image set", name, list(IMAGE_SETS)))
    return IMAGE_SETS[name]


def load(name: str, source: str, num_train: int | None = None) -> Data:
    """{split: Images} as read-only numpy arrays; one copy a process, so share it.

    `num_train` keeps the first so many examples of train. Where a stand-in serves, it is
    scaled by (examples of the stand-in's train) / (of the original's), and no fewer than
    128 are kept, so that "a tenth of train" stays about a tenth. A stand-in that serves
    for source "auto" is announced by one `StandInWarning` per name and process.

    Raises:
        ValueError: unknown name or source.
        FileNotFoundError: source "tfds" and no original prepared; says how to do that.
    """
    entry = image_set(name)
    found = _serving(entry, source)
    if source == "auto" and entry.builder and found == "embedded":
        _warn_once(name)
    return _load(name, found, num_train)


def describe(name: str, source: str) -> str:
    """What serves the set: "mnist (original, tfds 3.0.1)", "mnist (stand-in: ...)".

    Raises:
        ValueError, FileNotFoundError: as `load`.
    """
    entry = image_set(name)
    if not entry.builder:
        return name
    if _serving(entry, source) == "tfds":
        return f"{name} (original, tfds {tfds.find(entry.builder).version})"
    return f"{name} (stand-in: {embedded.describe(entry.shape)})"


def digest(data: Data) -> str:
    """Twelve hexadecimal digits of the SHA-256 of all arrays, their shapes and places."""
    total = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(data):
        total.update(jax.tree_util.keystr(path).encode())
        total.update(_array_digest(leaf))
    return total.hexdigest()[:12]


def _serving(entry: ImageSet, source: str) -> str:
    if source not in SOURCES:
        raise ValueError(unknown("data source", source, list(SOURCES)))
    if not entry.builder or source == "embedded":
        return "embedded"
    if source == "tfds":
        tfds.find(entry.builder)
        return "tfds"
    return "tfds" if tfds.is_prepared(entry.builder) else "embedded"


@cache
def _warn_once(name: str) -> None:
    warnings.warn(
        f"{describe(name, 'embedded')}: the original is not prepared on this machine; "
        "losses are those of the stand-in. "
        "Pass data='embedded' to ask for it without this warning.",
        StandInWarning,
        stacklevel=4,
    )


@lru_cache(maxsize=64)
def _load(name: str, found: str, num_train: int | None) -> Data:
    entry = image_set(name)
    if num_train is None:
        data = _read(entry, found)
    else:
        data = dict(_load(name, found, None))
        train = data["train"]
        kept = num_train
        if found == "embedded":
            share = num_train / entry.sizes[0]
            kept = max(SMALLEST_TRAIN, round(share * len(train.labels)))
        data["train"] = Images(train.images[:kept], train.labels[:kept])
    for leaf in jax.tree.leaves(data):
        leaf.setflags(write=False)
    return data


def _read(entry: ImageSet, found: str) -> Data:
    if found == "tfds":
        arrays = tfds.read(
            entry.builder,
            entry.num_valid,
            entry.label_key,
            entry.shape if entry.resized else None,
        )
    elif not entry.builder:
        arrays = embedded.digits(entry.sizes)
    elif entry.shape[2] == 1:
        arrays = embedded.enlarged_digits(entry.shape[0], entry.sizes)
    else:
        arrays = embedded.photograph_crops(
            entry.shape[0], entry.num_classes, entry.sizes
        )
    return {split: Images(*pair) for split, pair in zip(SPLITS, arrays, strict=True)}


_digests: dict[int, tuple[weakref.ref, bytes]] = {}


def _array_digest(leaf: np.ndarray) -> bytes:
    kept = _digests.get(id(leaf))
    if kept is not None and kept[0]() is leaf:
        return kept[1]
    array = np.ascontiguousarray(leaf)
    content = hashlib.sha256(f"{array.dtype}{array.shape}".encode())
    content.update(array.data)
    place = id(leaf)
    forget = weakref.ref(leaf, lambda _: _digests.pop(place, None))
    _digests[place] = (forget, content.digest())
    return content.digest()

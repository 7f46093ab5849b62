"""The data sets: what there is, what serves each here, and loading it.

Sources: "tfds" is the original where the user has prepared it, "embedded" a stand-in made of
images that come inside scikit-learn or of Python's own documentation, "auto" the first of
the two that there is.
"""

import warnings
from collections.abc import Callable
from functools import cache, lru_cache

import jax

from opt_gym.data import embedded_images, images, shrinking, splits, texts, tfds
from opt_gym.data.encoders import take
from opt_gym.data.images import IMAGE_SETS, ImageSet, Ways
from opt_gym.data.table_sets import TABLES
from opt_gym.data.texts import TEXT_SETS, TextSet
from opt_gym.plugins import unknown
from opt_gym.records import SPLITS, Data, Images

__all__ = [
    "IMAGE_SETS",
    "SMALLEST_TRAIN",
    "SOURCES",
    "TEXT_SETS",
    "ImageSet",
    "StandInWarning",
    "TextSet",
    "describe",
    "image_set",
    "is_known",
    "load_images",
    "load_texts",
    "made_of",
    "text_set",
]

SOURCES = ("auto", "embedded", "tfds")

SMALLEST_TRAIN = 128
"""A scaled-down train slice keeps at least this many examples."""


class StandInWarning(UserWarning):
    """A data set is served by a stand-in and not by the original."""


def is_known(name: str) -> bool:
    """Whether it is the name of a data set, of images or of text."""
    return name in IMAGE_SETS or name in TEXT_SETS


def image_set(name: str) -> ImageSet:
    """The entry of that name.

    Raises:
        ValueError: there is none (near matches are named).
    """
    if name not in IMAGE_SETS:
        raise ValueError(unknown("image set", name, list(IMAGE_SETS)))
    return IMAGE_SETS[name]


def text_set(name: str) -> TextSet:
    """The entry of that name.

    Raises:
        ValueError: there is none (near matches are named).
    """
    if name not in TEXT_SETS:
        raise ValueError(unknown("text set", name, list(TEXT_SETS)))
    return TEXT_SETS[name]


def load_images(
    name: str,
    source: str,
    *,
    num_train: int | None = None,
    num_valid: int | None = None,
    ways: Ways | None = None,
    size: int | None = None,
) -> Data:
    """{split: Images} as read-only numpy arrays; one copy a process, so share it.

    A stand-in that serves for source "auto" is announced by one `StandInWarning` per name
    and process. Its splits have the proportions of the original's.

    Args:
        name: of `IMAGE_SETS`.
        source: of `SOURCES`.
        num_train: keeps the first so many examples of train. Where a stand-in serves, it
            is scaled by (examples of the stand-in's train) / (of the original's), and no
            fewer than 128 are kept, so that "a tenth of train" stays about a tenth.
        num_valid: examples of each slice that is cut from the start of train; the set's
            own where None.
        ways: (k, seed): only k classes, `RandomState(seed).permutation(num_classes)[:k]`,
            labelled 0 ... k - 1 in that order, taken after the splits are cut. A
            photograph stand-in has k cells instead; its seed says which crops there are.
        size: side of the images, which are shrunk to it; the set's own where None.

    Raises:
        ValueError: an unknown name or source, or a setting that leaves nothing.
        FileNotFoundError: source "tfds" and no original prepared; says how to do that.
    """
    entry = image_set(name)
    if ways is not None:
        images.check_ways(entry, ways)
    _check_num_train(num_train)
    chosen = entry.num_valid if num_valid is None else num_valid

    def load(provider: str) -> Data:
        if source == "auto" and entry.builder and provider == "embedded":
            _warn_once(name)
        return _images(name, provider, num_train, chosen, ways, size)

    return _read_by(load, entry, source)


def load_texts(
    name: str,
    source: str,
    *,
    num_train: int | None = None,
    num_valid: int | None = None,
    just_train: bool = False,
    size: int | None = None,
) -> Data:
    """{split: Texts} as read-only numpy arrays; one copy a process, so share it.

    Args:
        name: of `TEXT_SETS`.
        source, num_train: as `load_images`, warning and scaling included.
        num_valid: as `load_images`; 3000 where None.
        just_train: all four splits are the train slice (TaskSet's language models).
        size: ids by frequency, 64 x size of them (`shrinking.shrink_texts`); the set's own
            where None.

    Raises:
        ValueError, FileNotFoundError: as `load_images`.
    """
    entry = text_set(name)
    _check_num_train(num_train)
    chosen = entry.num_valid if num_valid is None else num_valid

    def load(provider: str) -> Data:
        if source == "auto" and entry.builder and provider == "embedded":
            _warn_once(name)
        return _texts(name, provider, num_train, chosen, size)

    data = _read_by(load, entry, source)
    return dict.fromkeys(SPLITS, data["train"]) if just_train else data


def describe(name: str, source: str) -> str:
    """What serves a set: "mnist (original, tfds 3.0.1)", "mnist (stand-in: ...)".

    Raises:
        ValueError: an unknown name or source.
        FileNotFoundError: source "tfds" and no original prepared.
    """
    if not is_known(name):
        raise ValueError(unknown("data set", name, [*IMAGE_SETS, *TEXT_SETS]))
    entry = IMAGE_SETS.get(name) or TEXT_SETS[name]
    provider = _serving(entry, source)
    if isinstance(entry, TextSet):
        return texts.describe(entry, provider)
    if not entry.builder:
        return name
    if provider == "tfds":
        return f"{name} (original, tfds {tfds.find(entry.builder).version})"
    return f"{name} (stand-in: {embedded_images.describe(entry.shape)})"


def made_of(name: str, source: str) -> str:
    """Whose examples a set shows: two sets may be made of the same ones; "" for unknown.

    Raises:
        ValueError, FileNotFoundError: as `describe`.
    """
    if not is_known(name):
        return name if name in TABLES else ""
    entry = IMAGE_SETS.get(name) or TEXT_SETS[name]
    if _serving(entry, source) == "tfds":
        return f"the original {name.rpartition('/')[0] or name}"
    if isinstance(entry, TextSet):
        return "Python's documentation" if entry.builder else "Python's code"
    grey = not entry.builder or entry.shape[2] == 1
    return f"scikit-learn's {'digits' if grey else 'two photographs'}"


def _check_num_train(num_train: int | None) -> None:
    if num_train is not None and num_train < 1:
        raise ValueError(f"num_train must be >= 1, got {num_train}")


def _serving(entry: ImageSet | TextSet, source: str) -> str:
    if source not in SOURCES:
        raise ValueError(unknown("data source", source, list(SOURCES)))
    if not entry.builder or source == "embedded":
        return "embedded"
    if source == "auto" and entry.builder in _damaged:
        return "embedded"
    try:
        tfds.find(entry.builder)
    except (FileNotFoundError, tfds.UnreadableDataError) as error:
        if source == "tfds":
            raise
        if isinstance(error, tfds.UnreadableDataError):
            _take_stand_in(entry.builder, error)
        return "embedded"
    return "tfds"


_damaged: set[str] = set()
"""Builders whose original could not be read: for "auto" the stand-in serves from then on."""


def _take_stand_in(builder: str, error: Exception) -> None:
    _damaged.add(builder)
    warnings.warn(
        f"{error}. The stand-in serves: losses are those of another data set",
        StandInWarning,
        stacklevel=5,
    )


def _read_by(
    load: Callable[[str], Data], entry: ImageSet | TextSet, source: str
) -> Data:
    """What a provider gives; the stand-in where the original is damaged, for "auto"."""
    try:
        return load(_serving(entry, source))
    except tfds.UnreadableDataError as error:
        if source != "auto":
            raise
        _take_stand_in(entry.builder, error)
        return load("embedded")


@cache
def _warn_once(name: str) -> None:
    entry = IMAGE_SETS.get(name) or TEXT_SETS[name]
    if entry.builder in _damaged:  # it was said why
        return
    warnings.warn(
        f"{describe(name, 'embedded')}: the original is not prepared on this machine; "
        "losses are those of the stand-in. "
        "Pass data='embedded' to ask for it without this warning.",
        StandInWarning,
        stacklevel=4,
    )


@lru_cache(maxsize=64)
def _images(
    name: str,
    provider: str,
    num_train: int | None,
    num_valid: int,
    ways: Ways | None,
    size: int | None,
) -> Data:
    entry = image_set(name)
    if num_train is None:
        whole = images.read(entry, provider, num_valid, ways)
        return _frozen(whole if size is None else shrinking.shrink_images(whole, size))
    whole = _images(name, provider, None, num_valid, ways, size)
    train = whole["train"]
    count = num_train
    if provider == "embedded":
        original = images.sizes(entry, num_valid, ways)[0]
        count = splits.kept(num_train, original, len(train.labels), SMALLEST_TRAIN)
    train = Images(train.images[:count], train.labels[:count])
    return _frozen({**whole, "train": train})


@lru_cache(maxsize=64)
def _texts(
    name: str,
    provider: str,
    num_train: int | None,
    num_valid: int,
    size: int | None,
) -> Data:
    entry = text_set(name)
    if num_train is None:
        whole = texts.read(entry, provider, num_valid)
        return _frozen(whole if size is None else shrinking.shrink_texts(whole, size))
    whole = _texts(name, provider, None, num_valid, size)
    train = whole["train"]
    count = num_train
    if provider == "embedded":
        original = splits.sizes(entry.sizes, num_valid)[0]
        count = splits.kept(num_train, original, len(train.labels), SMALLEST_TRAIN)
    return _frozen({**whole, "train": take(train, 0, count)})


def _frozen(data: Data) -> Data:
    for leaf in jax.tree.leaves(data):
        leaf.setflags(write=False)
    return data

"""What the user prepared with tensorflow-datasets; never downloads.

Only the array_record format is read, because it needs no TensorFlow. What is read once is
kept, decoded, in a cache folder: $OPT_GYM_CACHE, else the user's own.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from opt_gym.runtime.array_files import keep_arrays
from opt_gym.runtime.files import cache_folder

FORMAT = "array_record"
_VERSION = re.compile(r"\d+\.\d+\.\d+")


class UnreadableDataError(ValueError):
    """A prepared data set that is damaged; the message names it, its path and why."""


class Prepared(NamedTuple):
    """A prepared data set: its folder and its version."""

    path: Path
    version: str


def find(builder: str) -> Prepared:
    """The newest prepared version of a TFDS builder ("mnist", "imagenet_resized/16x16").

    Looks in $TFDS_DATA_DIR, else ~/tensorflow_datasets.

    Raises:
        FileNotFoundError: none is prepared in the array_record format; says how to do it.
        UnreadableDataError: what is there says nothing of its format.
    """
    folder = _data_dir() / builder
    versions, damaged = [], []
    for path in sorted(folder.glob("*")):
        if not _VERSION.fullmatch(path.name):
            continue
        try:
            if _file_format(path) == FORMAT:
                versions.append((tuple(map(int, path.name.split("."))), path))
        except (OSError, ValueError, AttributeError) as error:
            damaged.append(f"{path} ({type(error).__name__}: {error})")
    if damaged and not versions:
        raise UnreadableDataError(_unreadable(builder, "; ".join(damaged)))
    if not versions:
        raise FileNotFoundError(
            f"no {builder!r} in {FORMAT} format under {_data_dir()}; prepare it with: "
            "pip install 'opt-gym[tfds]'; "
            f"tfds build {builder} --file_format={FORMAT} --data_dir={_data_dir()}"
        )
    newest = max(versions)[1]
    return Prepared(newest, newest.name)


def _unreadable(builder: str, reason: str) -> str:
    return (
        f"the data set {builder!r} cannot be read: {reason}; prepare it again, or take "
        "the stand-in with data='embedded'"
    )


def read_images(
    builder: str, label_key: str, resize_to: tuple[int, int, int] | None = None
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(images uint8 [n, h, w, c], labels int32 [n]) of each split of a prepared image set.

    Raises:
        FileNotFoundError: not prepared.
        ValueError: the images differ in size and `resize_to` is None.
    Source: Metz et al. 2020, arXiv 2002.11887 (google-research/task_set, datasets);
        resizing is OpenCV's INTER_CUBIC to the whole target, aspect ratio not kept.
    """
    prepared = find(builder)

    def decode() -> dict[str, np.ndarray]:
        stored = _decode(prepared.path, label_key, resize_to)
        return {
            f"{split}/{field}": array
            for split, pair in stored.items()
            for field, array in zip(("images", "labels"), pair, strict=True)
        }

    settings = f"{label_key} {resize_to}"
    arrays = cached(builder, prepared, "images", settings, decode)
    names = {key.split("/")[0] for key in arrays}
    return {s: (arrays[f"{s}/images"], arrays[f"{s}/labels"]) for s in names}


def cached(
    builder: str,
    prepared: Prepared,
    folder: str,
    settings: str,
    decode: Callable[[], dict[str, np.ndarray]],
) -> dict[str, np.ndarray]:
    """What `decode` gives for a prepared data set, from the cache where it is there.

    Raises:
        UnreadableDataError: `decode` failed.
        ImportError: tensorflow-datasets is not installed.
    """

    def decoded() -> dict[str, np.ndarray]:
        try:
            return decode()
        except ImportError:
            raise
        except Exception as error:  # whatever a damaged record makes of its reader
            reason = f"{prepared.path} ({type(error).__name__}: {error})"
            raise UnreadableDataError(_unreadable(builder, reason)) from error

    stamp = (prepared.path / "dataset_info.json").stat().st_mtime_ns
    origin = f"{prepared.path.resolve()} {stamp} {settings}"
    name = hashlib.sha256(origin.encode()).hexdigest()[:24]
    return keep_arrays(cache_folder() / folder / f"{name}.npz", decoded)


def open_builder(path: Path) -> Any:
    """The TFDS builder of a prepared folder.

    Raises:
        ImportError: tensorflow-datasets is not installed; says how to install it.
    """
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise ImportError(
            f"reading {path} needs tensorflow-datasets: pip install 'opt-gym[tfds]'"
        ) from error
    return tensorflow_datasets.builder_from_directory(path)


def _data_dir() -> Path:
    chosen = os.environ.get("TFDS_DATA_DIR")
    return Path(chosen or "~/tensorflow_datasets").expanduser()


def _file_format(path: Path) -> str | None:
    """What it says it is in; None where it is no data set at all."""
    info = path / "dataset_info.json"
    return json.loads(info.read_text()).get("fileFormat") if info.exists() else None


def _decode(
    path: Path, label_key: str, resize_to: tuple[int, int, int] | None
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    builder = open_builder(path)
    if label_key not in builder.info.features:
        label_key = "label"  # What older versions of coil100 call it.
    stored = {}
    for split in builder.info.splits:
        source = builder.as_data_source(split=split)
        images: np.ndarray | None = None
        labels = np.empty(len(source), np.int32)
        for index, example in enumerate(source):
            image = _resize(np.asarray(example["image"]), resize_to)
            if images is None:
                images = np.empty((len(source), *image.shape), np.uint8)
            if image.shape != images.shape[1:]:
                raise ValueError(
                    f"{path}: images of {images.shape[1:]} and {image.shape}"
                )
            images[index] = image
            labels[index] = int(example[label_key])
        if images is not None:
            stored[split] = (images, labels)
    return stored


def _resize(image: np.ndarray, to: tuple[int, int, int] | None) -> np.ndarray:
    if to is None:
        return image
    import cv2

    height, width, channels = to
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
    return resized.reshape(height, width, channels)

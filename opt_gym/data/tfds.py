"""What the user prepared with tensorflow-datasets; never downloads.

Only the array_record format is read, because it needs no TensorFlow. What is read once is
kept, decoded, in a cache folder: $OPT_GYM_CACHE, else the user's own.
"""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from opt_gym.runtime.files import cache_folder

FORMAT = "array_record"


class Prepared(NamedTuple):
    """A prepared data set: its folder and its version."""

    path: Path
    version: str


def find(builder: str) -> Prepared:
    """The newest prepared version of a TFDS builder ("mnist", "imagenet_resized/16x16").

    Looks in $TFDS_DATA_DIR, else ~/tensorflow_datasets.

    Raises:
        FileNotFoundError: none is prepared in the array_record format; says how to do it.
    """
    folder = _data_dir() / builder
    versions = sorted(
        (tuple(map(int, path.name.split("."))), path)
        for path in folder.glob("[0-9]*.[0-9]*.[0-9]*")
        if _file_format(path) == FORMAT
    )
    if not versions:
        raise FileNotFoundError(
            f"no {builder!r} in {FORMAT} format under {_data_dir()}; prepare it with: "
            "pip install 'opt-gym[tfds]'; "
            f"tfds build {builder} --file_format={FORMAT} --data_dir={_data_dir()}"
        )
    return Prepared(versions[-1][1], versions[-1][1].name)


def is_prepared(builder: str) -> bool:
    """Whether `find` finds it."""
    try:
        find(builder)
    except FileNotFoundError:
        return False
    return True


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

    arrays = cached(prepared, "images", f"{label_key} {resize_to}", decode)
    names = {key.split("/")[0] for key in arrays}
    return {s: (arrays[f"{s}/images"], arrays[f"{s}/labels"]) for s in names}


def cached(
    prepared: Prepared,
    folder: str,
    settings: str,
    decode: Callable[[], dict[str, np.ndarray]],
) -> dict[str, np.ndarray]:
    """What `decode` gives for a prepared data set, from the cache where it is there."""
    stamp = (prepared.path / "dataset_info.json").stat().st_mtime_ns
    origin = f"{prepared.path.resolve()} {stamp} {settings}"
    name = hashlib.sha256(origin.encode()).hexdigest()[:24]
    return keep_arrays(cache_folder() / folder / f"{name}.npz", decode)


def keep_arrays(
    file: Path, make: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """The arrays of an .npz file, which is made first where it does not exist."""
    if not file.exists():
        arrays: dict[str, Any] = make()
        file.parent.mkdir(parents=True, exist_ok=True)
        # Whole or not at all: another process may be reading or writing the same file.
        part = file.with_name(f"{file.stem}.{os.getpid()}.part.npz")
        np.savez(part, **arrays)
        part.replace(file)
    with np.load(file, allow_pickle=False) as stored:
        return {key: stored[key] for key in stored.files}


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
    try:
        info = json.loads((path / "dataset_info.json").read_text())
    except (OSError, ValueError):
        return None
    return info.get("fileFormat")


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

"""Reads image sets that the user prepared with tensorflow-datasets; never downloads.

Only the array_record format is read, because it needs no TensorFlow. What is read once is
kept, decoded and resized, in a cache folder: $OPT_GYM_CACHE, else the user's own.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from opt_gym.data.embedded import Arrays
from opt_gym.strategy import cache_folder

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
    found = sorted(
        (tuple(map(int, path.name.split("."))), path)
        for path in folder.glob("[0-9]*.[0-9]*.[0-9]*")
        if _file_format(path) == FORMAT
    )
    if not found:
        raise FileNotFoundError(
            f"no {builder!r} in {FORMAT} format under {_data_dir()}; prepare it with: "
            "pip install 'opt-gym[tfds]'; "
            f"tfds build {builder} --file_format={FORMAT} --data_dir={_data_dir()}"
        )
    return Prepared(found[-1][1], found[-1][1].name)


def is_prepared(builder: str) -> bool:
    """Whether `find` finds it."""
    try:
        find(builder)
    except FileNotFoundError:
        return False
    return True


def read(
    builder: str,
    num_valid: int,
    label_key: str,
    resize_to: tuple[int, int, int] | None = None,
) -> Arrays:
    """The four splits of a prepared image set, cut as TaskSet cuts them.

    valid_inner is the first `num_valid` of train; valid_outer is the validation split
    where there is one beside a test split, else the next `num_valid`; test is the test (or
    the only other) split, else the next `num_valid`; train is what is left, in file order.

    Raises:
        FileNotFoundError: not prepared.
        ValueError: nothing is left for train, or the images differ in size and
            `resize_to` is None.
    Source: Metz et al. 2020, arXiv 2002.11887 (google-research/task_set, datasets);
        resizing is OpenCV's INTER_CUBIC to the whole target, aspect ratio not kept.
    """
    prepared = find(builder)
    stored = _cached(prepared, label_key, resize_to)
    return cut(stored, num_valid)


def cut(stored: dict[str, tuple[np.ndarray, np.ndarray]], num_valid: int) -> Arrays:
    """TaskSet's four splits of the original ones; see `read`."""
    images, labels = stored["train"]
    others = [name for name in ("validation", "test") if name in stored]
    slices = [
        "valid_inner",
        *["valid_outer"] * (len(others) < 2),
        *["test"] * (not others),
    ]
    parts = {
        name: (images[i * num_valid :][:num_valid], labels[i * num_valid :][:num_valid])
        for i, name in enumerate(slices)
    }
    parts["train"] = (
        images[len(slices) * num_valid :],
        labels[len(slices) * num_valid :],
    )
    if len(parts["train"][1]) == 0:
        raise ValueError(
            f"{len(labels)} training examples leave none after {len(slices)} slices "
            f"of {num_valid} for validation"
        )
    if len(others) == 2:
        parts["valid_outer"] = stored["validation"]
    if others:
        parts["test"] = stored[others[-1]]
    return [parts[name] for name in ("train", "valid_inner", "valid_outer", "test")]


def _data_dir() -> Path:
    chosen = os.environ.get("TFDS_DATA_DIR")
    return Path(chosen or "~/tensorflow_datasets").expanduser()


def _file_format(path: Path) -> str | None:
    try:
        info = json.loads((path / "dataset_info.json").read_text())
    except (OSError, ValueError):
        return None
    return info.get("fileFormat")


def _cached(
    prepared: Prepared, label_key: str, resize_to: tuple[int, int, int] | None
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    stamp = (prepared.path / "dataset_info.json").stat().st_mtime_ns
    origin = f"{prepared.path.resolve()} {stamp} {label_key} {resize_to}"
    name = hashlib.sha256(origin.encode()).hexdigest()[:24]
    file = cache_folder() / "images" / f"{name}.npz"
    if not file.exists():
        _write(file, _decode(prepared.path, label_key, resize_to))
    with np.load(file, allow_pickle=False) as arrays:
        splits = {key.split("/")[0] for key in arrays.files}
        return {s: (arrays[f"{s}/images"], arrays[f"{s}/labels"]) for s in splits}


def _write(file: Path, stored: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    arrays: dict[str, Any] = {}
    for split, (images, labels) in stored.items():
        arrays[f"{split}/images"] = images
        arrays[f"{split}/labels"] = labels
    file.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not at all: another process may be reading or writing the same file.
    part = file.with_name(f"{file.stem}.{os.getpid()}.part.npz")
    np.savez(part, **arrays)
    part.replace(file)


def _decode(
    path: Path, label_key: str, resize_to: tuple[int, int, int] | None
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise ImportError(
            f"reading {path} needs tensorflow-datasets: pip install 'opt-gym[tfds]'"
        ) from error

    builder: Any = tensorflow_datasets.builder_from_directory(path)
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

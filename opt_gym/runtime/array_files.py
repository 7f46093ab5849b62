"""Arrays in files of the cache, which is a convenience: the work is done without it, too.

A file is an .npz whose comment is the checksum of its arrays (version 0.1 wrote none, and reads
them). A damaged file is named and made again; one that cannot be written is done without.
"""

import hashlib
import io
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from opt_gym.runtime.files import write_atomically

_ENTRY = b"PK\x03\x04"
"""What an entry of a zip file begins with."""


def read_arrays(file: Path) -> dict[str, np.ndarray] | None:
    """The arrays of a file; None where there is none, or, with a warning, a damaged one."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        warnings.warn(f"{file} cannot be read ({error}): made again", stacklevel=2)
        return None
    try:
        return from_bytes(content)
    except ValueError as error:
        warnings.warn(f"{file} is damaged ({error}): made again", stacklevel=2)
        return None


def write_arrays(file: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes a file atomically; a warning where that cannot be."""
    content = to_bytes(arrays)
    try:
        write_atomically(file, content)
    except OSError as error:
        warnings.warn(f"nothing is kept in the cache: {error}", stacklevel=2)


def to_bytes(arrays: dict[str, np.ndarray], *, compressed: bool = False) -> bytes:
    """The content of a file."""
    arrays = {key: np.asarray(array) for key, array in arrays.items()}
    content = io.BytesIO()
    save = np.savez_compressed if compressed else np.savez
    save(content, allow_pickle=False, **arrays)
    with zipfile.ZipFile(content, "a") as file_itself:
        file_itself.comment = _checksum(arrays)
    return content.getvalue()


def from_bytes(content: bytes) -> dict[str, np.ndarray]:
    """The arrays of a file's content.

    Raises:
        ValueError: it is damaged.
    """
    try:
        # From memory: numpy leaves a damaged file open.
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
        with zipfile.ZipFile(io.BytesIO(content)) as file_itself:
            known = file_itself.comment
    except Exception as error:  # whatever the damage
        raise ValueError(str(error)) from error
    # Without a checksum, nothing that is there may be missing from the list.
    is_listed = content.count(_ENTRY) == len(arrays) > 0
    if not (known == _checksum(arrays) if known else is_listed):
        raise ValueError("it is not what was written")
    return arrays


def keep_arrays(
    file: Path, make: Callable[[], dict[str, Any]]
) -> dict[str, np.ndarray]:
    """The arrays of a file, which are made where it does not exist or is damaged."""
    arrays = read_arrays(file)
    if arrays is None:
        arrays = {key: np.asarray(array) for key, array in make().items()}
        write_arrays(file, arrays)
    return arrays


def _checksum(arrays: dict[str, np.ndarray]) -> bytes:
    hasher = hashlib.sha256()
    for key in sorted(arrays):
        array = np.ascontiguousarray(arrays[key])
        hasher.update(f"{key} {array.dtype} {array.shape} ".encode())
        hasher.update(array.tobytes())
    return hasher.hexdigest().encode()

"""Files that are either whole or not there, and the folder for those that can be made again."""

import csv
import io
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import platformdirs


def cache_folder() -> Path:
    """The user's cache folder of this project; `OPT_GYM_CACHE` overrides it.

    A user without a home has one in the system's folder for temporary files.
    """
    chosen = os.environ.get("OPT_GYM_CACHE")
    if chosen:
        return Path(chosen)
    try:
        folder = Path(platformdirs.user_cache_dir("opt-gym", appauthor=False))
    except (KeyError, RuntimeError, OSError):
        folder = Path("~")
    if folder.parts[:1] == ("~",):  # nobody could say what that is
        return Path(tempfile.gettempdir()) / f"opt-gym-{os.getuid()}"
    return folder


def write_atomically(path: Path, content: bytes) -> Path:
    """Writes a file that is complete even if the machine stops in the middle.

    Raises:
        OSError: full disk, no permission; the file that was there before stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp's 0o600 is for secrets
        os.replace(temporary, path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):  # a full disk names no file
            error.filename, error.filename2 = str(path), None
        raise
    return path


def remove_temporaries(folder: Path, pattern: str) -> None:
    """Removes what `write_atomically` left of files of this pattern where it was killed."""
    for path in folder.glob(f".{pattern}.*"):
        path.unlink(missing_ok=True)


def write_table(
    path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> Path:
    """Writes a CSV file, atomically; floats keep six digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([f"{x:.6g}" if isinstance(x, float) else x for x in row])
    return write_atomically(path, text.getvalue().encode())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

"""Files that are either whole or not there, and the folder for those that can be made again."""

import contextlib
import csv
import io
import itertools
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import platformdirs
from filelock import FileLock


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

    What is no file (a device, a pipe) is written to.

    Raises:
        OSError: full disk, no permission; the file that was there before stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        if is_special(path):
            path.write_bytes(content)
        else:
            _replace(path, content)
    except (
        OSError
    ) as error:  # a full disk names no file, and a temporary one says nothing
        raise OSError(error.errno, error.strerror, str(path)) from error
    return path


def _replace(path: Path, content: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp's 0o600 is for secrets
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def is_special(path: Path) -> bool:
    """Whether there is something that is neither a file nor a folder: a device, a pipe."""
    return path.exists() and not path.is_file() and not path.is_dir()


def set_aside(path: Path) -> Path:
    """Gives a damaged file, if it is there, a free name beside it; returns that name."""
    return renamed(path, path.with_name(f"{path.name}.aside"))


def renamed(path: Path, new: Path) -> Path:
    """Gives a file, if it is there, a new name, with a number where that is taken."""
    names = (new.with_name(f"{new.name}{number}") for number in itertools.count(2))
    free = next(name for name in itertools.chain([new], names) if not name.exists())
    with contextlib.suppress(FileNotFoundError):
        path.rename(free)
    return free


@contextlib.contextmanager
def alone_with(path: Path) -> Iterator[None]:
    """While one process changes a file that several write to, the others wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if is_special(path):
        yield
        return
    with FileLock(path.with_name(f".{path.name}.lock"), is_singleton=True):
        yield


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

"""Files that are either whole or not there, and the folder for those that can be made again."""

import os
import tempfile
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """The user's cache folder of this project; `OPT_GYM_CACHE` overrides it."""
    default = platformdirs.user_cache_dir("opt-gym", appauthor=False)
    return Path(os.environ.get("OPT_GYM_CACHE", default))


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
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

"""The compiled programs that JAX keeps in our cache folder, looked after from outside.

JAX writes an entry in place, so that it may be cut; it warns of what it cannot read at every
start, but never writes over it; and it runs whatever an entry holds. Here an entry that is cut,
or is not any more what it was, is removed, so that it is made again. What entries were is in a
file beside them, written when a process begins and ends; nobody else changes an entry.
"""

import atexit
import hashlib
import importlib
import json
import time
import warnings
import zlib
from pathlib import Path
from typing import Any

from opt_gym.runtime.files import write_atomically

RECORD = "checked.json"
"""Of the sound entries: {name: [bytes, time of change, SHA-256]}."""

ENTRIES = "*-cache"

SECONDS = 1.0
"""For entries not checked before: 20 ms a MB, the newest first; the rest is for next time."""

IN_THE_MAKING = 1.0
"""Seconds for which another process may still be writing an entry."""

_ZSTD = b"\x28\xb5\x2f\xfd"

_SAID = r"Error (reading|writing) persistent compilation cache|.* compiled again$"


def look_after(folder: Path) -> None:
    """Removes damaged entries now, and when this process ends.

    What is said of a cache, by JAX or here, is a warning even where warnings are errors.
    """
    warnings.filterwarnings("default", message=_SAID)
    remove_damaged(folder)
    atexit.register(remove_damaged, folder)


def remove_damaged(folder: Path) -> None:
    """Removes the entries that are cut or changed, and records the others."""
    known = _recorded(folder)
    checked: dict[str, list[Any]] = {}
    damaged = []
    deadline = time.monotonic() + SECONDS
    for path in _newest_first(folder):
        try:
            entry = _entry(path, known.get(path.name), deadline)
            if entry is not None:
                checked[path.name] = entry
        except ValueError:
            damaged.append(path)
        except OSError:  # gone meanwhile
            continue
    for path in damaged:
        _remove(path)
    if checked != known:
        _record(folder, checked)


def _entry(path: Path, known: list[Any] | None, deadline: float) -> list[Any] | None:
    """What the record says of an entry; None where that is for another time.

    Raises:
        ValueError: it is damaged.
    """
    stat = path.stat()
    stamp = [stat.st_size, stat.st_mtime_ns]
    if known is not None and known[:2] == stamp:
        return known
    if known is None and time.monotonic() > deadline:
        return None
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if known is None and not _is_whole(content):
        if 0 <= time.time() - stat.st_mtime < IN_THE_MAKING:
            return None
        raise ValueError("it was cut")
    if known is not None and known[2] != digest:
        raise ValueError("it is another one")
    return [*stamp, digest]


def _is_whole(content: bytes) -> bool:
    """Whether it can be decompressed, which is checked by a sum in zlib's format.

    A format that is not known is JAX's own affair.
    """
    try:
        if content.startswith(_ZSTD):
            _zstd_decompress(content)
        elif content[:1] in (b"", b"\x78"):
            zlib.decompress(content)
    except ImportError:
        return True
    except Exception:  # whatever the damage
        return False
    return True


def _zstd_decompress(content: bytes) -> bytes:
    """By Python itself (from 3.14 on) or by the package that JAX asks for."""
    try:
        return importlib.import_module("compression.zstd").decompress(content)
    except ImportError:
        zstandard = importlib.import_module("zstandard")
        return zstandard.ZstdDecompressor().decompress(content)


def _newest_first(folder: Path) -> list[Path]:
    def changed(path: Path) -> float:
        try:
            return -path.stat().st_mtime
        except OSError:
            return 0.0

    return sorted(folder.glob(ENTRIES), key=changed)


def _remove(path: Path) -> None:
    try:
        path.unlink()
    except OSError as error:
        warnings.warn(f"{error}: damaged, to be compiled again", stacklevel=2)
        return
    warnings.warn(f"{path} is damaged: removed, to be compiled again", stacklevel=2)


def _recorded(folder: Path) -> dict[str, list[Any]]:
    try:
        record = json.loads((folder / RECORD).read_bytes())
        return {
            str(name): [*entry] for name, entry in record.items() if len(entry) == 3
        }
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _record(folder: Path, checked: dict[str, list[Any]]) -> None:
    try:
        write_atomically(folder / RECORD, json.dumps(checked).encode())
    except OSError:  # everything is checked anew next time
        return

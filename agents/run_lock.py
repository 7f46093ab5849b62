"""One run at a time in a folder: a lock that the system lets go of when its holder dies."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from opt_gym.runtime.files import write_atomically

LOCK, HOLDER = ".lock", ".lock-holder.json"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the lock of a run's folder, which is made where it is missing.

    A process may hold it several times. Who held it last is written beside it, for the
    message alone: a container that is restarted has the same host and process id.

    Raises:
        ValueError: another process holds it.
        OSError: a folder that cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, timeout=0, is_singleton=True)
    try:
        lock.acquire()
    except Timeout:
        raise ValueError(f"{folder} is in use: {_told(folder)}") from None
    try:
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "time": _now()}
        write_atomically(folder / HOLDER, json.dumps(holder).encode())
        yield
    finally:
        lock.release()


def _told(folder: Path) -> str:
    with suppress(OSError, ValueError, KeyError):
        holder = json.loads((folder / HOLDER).read_text())
        return (
            f"process {holder['pid']} on {holder['host']} trains there since "
            f"{holder['time']}"
        )
    return "another process trains there"


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")

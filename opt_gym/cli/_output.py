"""What a command says, to a terminal that may be gone, closed, or know no Greek letters."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

_NARROWEST = 20
"""Columns below which help cannot be laid out."""


class _Lasting:
    """A stream that nobody may read any more: the work goes on, and is said nowhere.

    Else it is the stream itself.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """As the stream's."""
        with suppress(OSError, ValueError):  # gone; closed
            return self._stream.write(text)
        hush(self._stream)
        return len(text)

    def flush(self) -> None:
        """As the stream's."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            hush(self._stream)


@contextmanager
def lasting() -> Iterator[None]:
    """Inside, what is printed never ends a command, whoever went away meanwhile."""
    _open_what_is_closed()
    if shutil.get_terminal_size().columns < _NARROWEST:
        os.environ["COLUMNS"] = str(_NARROWEST)
    before = sys.stdout, sys.stderr
    for stream in before:
        if hasattr(stream, "reconfigure"):  # a letter it does not know becomes a number
            stream.reconfigure(errors="backslashreplace", line_buffering=True)  # pyright: ignore[reportAttributeAccessIssue]
    sys.stdout, sys.stderr = map(_Lasting, before)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stdout, sys.stderr = before


def hush(*streams: Any) -> None:
    """Sends what is still said nowhere: the interpreter flushes at its end, once more."""
    for stream in streams or (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        except ValueError:  # it is closed
            continue


def _open_what_is_closed() -> None:
    # The next file that is opened would get the number of a closed stream, and what others
    # write there would be in it.
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 — for good

"""What a command says, to a terminal that may be gone or know no Greek letters."""

import os
import sys
from typing import Any


def prepare() -> None:
    """A character that the terminal does not know is written as its number."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # pyright: ignore[reportAttributeAccessIssue]


def say(line: str, file: Any = None) -> None:
    """Prints a line; a training goes on where nobody reads it any more."""
    try:
        print(line, file=file or sys.stdout, flush=True)
    except OSError:  # a closed pipe, a terminal that hung up
        hush()


def hush() -> None:
    """Sends what is still said nowhere: the interpreter flushes at its end, once more."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        except ValueError:  # it is closed
            continue

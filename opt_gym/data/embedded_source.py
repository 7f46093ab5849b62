"""A text set of our own: functions of Python's standard library, as code and nothing else.

`ast` reads the source files and writes each function anew, without docstrings and comments:
no passage of the documentation, which stands in for TaskSet's texts, is in it. It changes
with Python's version, which is why `describe` names it.
"""

import ast
import platform
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
from numpy.random import RandomState

from opt_gym.data import embedded_texts, encoders
from opt_gym.records import Texts

SHORTEST, LONGEST = 200, 2000
"""Characters of a function that is taken."""

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def describe() -> str:
    """What it is made of."""
    version, count = platform.python_version(), len(shuffled().labels)
    return f"functions of Python {version}'s standard library, {count:,} of them"


@cache
def shuffled() -> Texts:
    """The functions in a random order, as byte ids, all labels 0; kept on disk.

    Raises:
        FileNotFoundError: the standard library's source files are not there.
    """
    return embedded_texts.of_library("source", f"1 {SHORTEST} {LONGEST}", _read)


def _read(root: Path) -> Texts:
    found: dict[str, None] = {}
    for path in embedded_texts.sources(root):
        for node in ast.walk(embedded_texts.tree_of(path)):
            if isinstance(node, _Function):
                found.update(dict.fromkeys(_code(node)))
    if not found:
        raise FileNotFoundError(f"no source files of the standard library under {root}")
    parts = [code.encode() for code in found]
    order = RandomState(0).permutation(len(parts))[: embedded_texts.MOST_EXAMPLES]
    return encoders.from_bytes([parts[i] for i in order], np.zeros(len(order), int))


def _code(function: _Function) -> Iterator[str]:
    """The function without docstrings, if it is neither short nor long."""
    for node in ast.walk(function):
        if isinstance(node, _Function | ast.ClassDef) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    code = ast.unparse(function)
    if SHORTEST <= len(code) <= LONGEST:
        yield code

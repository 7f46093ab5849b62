"""Text sets made of Python's own documentation: real text that is there wherever we are.

Documents are the topics of `pydoc_data` (the language reference) and the docstrings of the
standard library, read with `ast` from its source files; nothing is imported for it. They
change with Python's version, which is why `describe` names it.
"""

import ast
import gc
import hashlib
import os
import platform
import sys
import sysconfig
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import RandomState

from opt_gym.data import encoders
from opt_gym.records import Texts
from opt_gym.runtime.array_files import keep_arrays
from opt_gym.runtime.files import cache_folder

MOST_EXAMPLES = 10_000
"""A stand-in has at most this many examples, all splits together."""

SMALLEST_SPLIT = 128
"""No split is smaller than this."""

KINDS = ("topic", "module", "class", "method", "function")
"""What a document is about: a topic of the language, or a part of the library."""

_LEFT_OUT = {
    *("distutils", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "test", "tests"),
    *("tkinter", "turtledemo", "venv", "dist-packages", "site-packages", "turtle.py"),
}
"""Folders and files whose docstrings are not read: most are not in every installation."""


_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


class Passage(NamedTuple):
    """A few paragraphs of one kind from one file, and which of `KINDS` that is."""

    text: str
    kind: int


def describe(length: int, num_classes: int) -> str:
    """What a stand-in is made of: Python's version, how many passages, what labels say."""
    number = len(_labelled(length, num_classes)[1])
    labels = {0: "", 2: " labelled language or library"}.get(
        num_classes, f" labelled {', '.join(KINDS[:-1])} or {KINDS[-1]}"
    )
    version = platform.python_version()
    return f"Python {version}'s own documentation, {number:,} passages{labels}"


@cache
def shuffled(length: int, num_classes: int) -> Texts:
    """All examples of a stand-in in a random order, as byte ids.

    Args:
        length: characters of a passage, about; one ends with the paragraph that reaches it.
        num_classes: 0 (all labels 0); 2 (0: a topic of the language, 1: documentation of
            the library; as many of one as of the other); 5 (the place in `KINDS`).
    """
    texts, labels = _labelled(length, num_classes)
    order = RandomState(0).permutation(len(texts))[:MOST_EXAMPLES]
    parts = [texts[i].encode() for i in order]
    return encoders.from_bytes(parts, np.asarray(labels, np.int32)[order])


@cache
def documents() -> Texts:
    """Every document once, as byte ids, its label the place in `KINDS`; kept on disk.

    Raises:
        FileNotFoundError: the standard library's source files are not there.
    """
    return of_library("documentation", f"2 {sorted(_LEFT_OUT)}", _read)


def of_library(kind: str, how: str, read: Callable[[Path], Texts]) -> Texts:
    """What is read of the standard library's source files, kept on disk.

    Args:
        kind: begins the name of the file.
        how: it is read, so that what was read otherwise is read again.
        read: folder of the library -> Texts.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    origin = f"{how} {sys.version} {root}"
    name = hashlib.sha256(origin.encode()).hexdigest()[:24]
    file = cache_folder() / "texts" / f"{kind}-{name}.npz"
    return Texts(**keep_arrays(file, lambda: read(root)._asdict()))


@cache
def passages(length: int) -> tuple[Passage, ...]:
    """The documents' paragraphs in passages of about `length` characters, none twice.

    Docstrings of one kind in one file follow one another, because most are short. What is
    left at the end of a file joins the passage before it if it is shorter than half.
    """
    kinds: dict[str, int] = {}
    everything = documents()
    texts = [part.decode() for part in encoders.to_bytes(everything)]
    for text, kind in zip(texts, everything.labels.tolist(), strict=True):
        for passage in _pack(_paragraphs(text), length):
            kinds.setdefault(passage, kind)
    return tuple(Passage(*item) for item in kinds.items())


def _labelled(length: int, num_classes: int) -> tuple[list[str], list[int]]:
    pieces = passages(length)
    if num_classes == 2:
        language = [p.text for p in pieces if p.kind == 0]
        library = [p.text for p in pieces if p.kind > 0]
        order = RandomState(0).permutation(len(library))[: len(language)]
        texts = [*language, *(library[i] for i in order)]
        return texts, [0] * len(language) + [1] * len(order)
    return [p.text for p in pieces], [p.kind if num_classes else 0 for p in pieces]


def _paragraphs(text: str) -> list[str]:
    parts = (part.strip("\n") for part in text.split("\n\n"))
    return [part for part in parts if part.strip()]


def _pack(paragraphs: list[str], length: int) -> list[str]:
    packed: list[list[str]] = [[]]
    for paragraph in paragraphs:
        if sum(map(len, packed[-1])) >= length:
            packed.append([])
        packed[-1].append(paragraph)
    if sum(map(len, packed[-1])) < length / 2:
        rest = packed.pop()
        if not packed:
            return []
        packed[-1] += rest
    return ["\n\n".join(parts) for parts in packed]


def _read(root: Path) -> Texts:
    """Documents: every topic, and per source file and kind its docstrings, none twice."""
    from pydoc_data.topics import topics

    parts = [topics[name] for name in sorted(topics)]
    labels = [0] * len(parts)
    seen: set[str] = set()
    for path in sources(root):
        by_kind: dict[int, list[str]] = {}
        for kind, docstring in _docstrings(tree_of(path), 1):
            if docstring not in seen:
                seen.add(docstring)
                by_kind.setdefault(kind, []).append(docstring)
        parts += ["\n\n".join(by_kind[kind]) for kind in sorted(by_kind)]
        labels += sorted(by_kind)
    if not seen:
        raise FileNotFoundError(f"no source files of the standard library under {root}")
    return encoders.from_bytes([part.encode() for part in parts], labels)


def sources(root: Path) -> list[Path]:
    """The standard library's source files, but those that not every installation has."""
    names: list[Path] = []
    for folder, folders, files in os.walk(root):
        # Pruned, because all installed packages may lie under root.
        folders[:] = [name for name in folders if name not in _LEFT_OUT]
        here = Path(folder).relative_to(root)
        kept = (name for name in files if name not in _LEFT_OUT)
        names += [here / name for name in kept if name.endswith(".py")]
    left_out = ("config-", "_sysconfigdata")
    kept_names = (name for name in names if not name.parts[0].startswith(left_out))
    return [root / name for name in sorted(kept_names)]


def tree_of(path: Path) -> ast.Module:
    """A source file, parsed."""
    collecting = gc.isenabled()
    gc.disable()  # it would visit every new node again and again: twice the time
    try:
        return ast.parse(path.read_bytes())
    finally:
        if collecting:
            gc.enable()


def _docstrings(node: _Documented, kind: int) -> Iterator[tuple[int, str]]:
    """(place in KINDS, docstring) of a module, its classes and functions, in file order."""
    docstring = ast.get_docstring(node)
    if docstring and docstring.strip():
        yield kind, docstring
    for child in node.body:
        if isinstance(child, ast.ClassDef):
            yield from _docstrings(child, 2)
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _docstrings(child, 3 if isinstance(node, ast.ClassDef) else 4)

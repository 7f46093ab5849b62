"""What other distributions announce in the entry-point group `opt_gym.plugins`, as strings.

Read from their `entry_points.txt` directly, for this happens when opt_gym is imported: with
150 distributions on 2 cores `importlib.metadata` takes 15 to 30 ms for it, beside 20 ms to
be imported itself, and this 3 to 8 ms.
"""

import functools
import os
import re
import sys
from collections.abc import Iterator
from typing import NamedTuple

GROUP = "opt_gym.plugins"
_METADATA = (".dist-info", ".egg-info")


class EntryPoint(NamedTuple):
    """One line of the group, `name = module:attribute`, and the distribution it is of."""

    name: str
    module: str
    attribute: str
    distribution: str


@functools.cache
def announced() -> tuple[EntryPoint, ...]:
    """Every entry of the group; the path is scanned once a process.

    Of two installations of one distribution the first on the path counts.
    """
    seen: set[str] = set()
    entries: list[EntryPoint] = []
    for folder in dict.fromkeys(sys.path):
        for distribution, text in _of_folder(folder or "."):
            if distribution not in seen:
                seen.add(distribution)
                entries += _parsed(text, distribution)
    return tuple(entries)


def _of_folder(folder: str) -> Iterator[tuple[str, str]]:
    """(distribution, its entry points) of those that announce something."""
    try:
        inside = [entry for entry in os.listdir(folder) if entry.endswith(_METADATA)]
    except OSError:  # not a folder
        return
    for entry in sorted(inside):
        try:
            with open(f"{folder}/{entry}/entry_points.txt", encoding="utf-8") as file:
                text = file.read()
        except (OSError, UnicodeDecodeError):
            continue
        if GROUP in text:
            name = entry.rpartition(".")[0].partition("-")[0]
            yield re.sub(r"[-_.]+", "-", name).lower(), text


def _parsed(text: str, distribution: str) -> Iterator[EntryPoint]:
    from configparser import ConfigParser  # hardly anybody needs it

    class Parser(ConfigParser):
        def optionxform(self, optionstr: str) -> str:
            return optionstr  # names keep their capitals

    parser = Parser(delimiters=("=",), interpolation=None, strict=False)
    parser.read_string(text)
    if not parser.has_section(GROUP):
        return
    for name, value in parser.items(GROUP):
        module, _, attribute = value.partition("[")[0].partition(":")
        yield EntryPoint(name, module.strip(), attribute.strip(), distribution)

"""Our docstrings for autodoc: plain text with sections becomes reStructuredText.

A docstring of ours is prose in which `name` is code and * and | are what they are, sections
(`Args:`, `Raises:`, ...) of entries "name, other: text", and indented lines that are to stay
as they are written. Nothing else is markup.
"""

import re
import textwrap
from collections.abc import Iterator

from sphinx.application import Sphinx

FIELDS = {"Args": "param", "Attributes": "ivar", "Raises": "raises"}
PROSE = {"Returns": "returns", "Yields": "yields"}
_ENTRY = re.compile(r"^(\*{0,2}\w[\w, *.]*?): (.*)$", re.DOTALL)


def converted(text: str) -> list[str]:
    """The lines of a docstring as reStructuredText."""
    lines: list[str] = []
    for block in re.split(r"\n\s*\n", textwrap.dedent(text).strip("\n")):
        lines += [*_block(block), ""]
    return lines


def _block(block: str) -> Iterator[str]:
    """Of one block between empty lines."""
    first, _, rest = block.partition("\n")
    section = first.rstrip(":") if first.endswith(":") else ""
    inside, after = _indented(rest) if section else ("", "")
    if block.startswith(" "):
        yield from ["::", "", *_literal(block)]
    elif section in FIELDS:
        for name, about in _entries(inside):
            yield f":{FIELDS[section]} {name}: {prose(about)}"
    elif section in PROSE:
        yield f":{PROSE[section]}: {prose(' '.join(inside.split()))}"
    elif inside:
        yield from [prose(first), "", "::", "", *_literal(inside)]
    else:
        yield from (prose(line) for line in block.split("\n"))
        return
    if after:
        yield ""
        yield from _block(after)


def _indented(text: str) -> tuple[str, str]:
    """(the lines up to the first that is not indented, the others)."""
    lines = text.split("\n")
    count = next((i for i, x in enumerate(lines) if not x.startswith(" ")), len(lines))
    return "\n".join(lines[:count]), "\n".join(lines[count:])


def _literal(text: str) -> list[str]:
    """As it is written."""
    return textwrap.indent(textwrap.dedent(text), "    ").split("\n")


def _entries(text: str) -> Iterator[tuple[str, str]]:
    """(name, about) of a section; "a, b: text" is two of them."""
    for entry in re.split(r"\n(?=\S)", textwrap.dedent(text)):
        match = _ENTRY.match(" ".join(entry.split()))
        if match is None:
            raise ValueError(
                f"a section of a docstring has {entry!r}, not 'name: text'"
            )
        for name in match[1].split(", "):
            yield name.lstrip("*"), match[2]


def prose(line: str) -> str:
    """One line with code marked, and everything else free of markup."""
    pieces = re.split(r"(`[^`]+`)", line)
    return "".join(
        f"`{piece}`"
        if piece.startswith("`")
        else re.sub(r"([*|\\`]|_\b)", r"\\\1", piece)
        for piece in pieces
    )


def _process(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    try:
        lines[:] = converted("\n".join(lines))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


KEY = re.compile(r"Key\[Array, ''\](?: \| UInt32\[Array, '\d'\])*")


def _sign(
    app: Sphinx,
    what: str,
    name: str,
    obj: object,
    options: object,
    signature: str | None,
    returns: str | None,
) -> tuple[str | None, str | None]:
    """Annotations as they were written: a key is a union of arrays for jaxtyping."""

    def written(text: str | None) -> str | None:
        if text is None:
            return None
        short = re.sub(r"(?:jax\.)?jaxlib\._jax\.Array", "Array", text)
        return KEY.sub("PRNGKeyArray", short)

    return written(signature), written(returns)


def setup(app: Sphinx) -> dict[str, bool]:
    """Hands every docstring through `converted`, every signature through `_sign`."""
    app.connect("autodoc-process-docstring", _process)
    app.connect("autodoc-process-signature", _sign)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

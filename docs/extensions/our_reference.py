"""Writes the reference before Sphinx reads it: modules, plug-ins, commands.

All is in `docs/reference/generated/`, which is not kept: docstrings and `--help` are the
source.
"""

import ast
import contextlib
import importlib
import inspect
import io
import os
import textwrap
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

from sphinx.application import Sphinx

from docs.extensions import our_docstrings, public_modules
from opt_gym import plugins

FOLDER = Path(__file__).resolve().parents[1] / "reference" / "generated"
WIDTH = 92
PLUGINS = {
    "task": ("Task families", ""),
    "features": ("Feature sets", 'opt_gym.make(..., features="{}")'),
    "action": ("Action maps", 'opt_gym.make(..., action="{}")'),
    "architecture": ("Architectures", 'learned.make("{}", ...)'),
    "trainer": ("Outer-trainers", 'agents.make("{}", ...)'),
}
"""Of each kind of plug-ins its title, and what makes one of it."""


def write_all(app: Sphinx) -> None:
    """Every page, and none that is of no module any more; unchanged ones are left alone."""
    pages = {"command_line.md": commands()}
    toctree = []
    for pattern, module in public_modules.public_modules():
        name, about = module.__name__, public_modules.MODULES[pattern]
        pages[f"{name}.rst"] = "\n".join(module_page(module)) + "\n"
        toctree.append((name, about if name == pattern.removesuffix(".*") else ""))
    pages["modules.md"] = table(toctree)
    for kind in plugins.KINDS:
        pages[f"plugins_{kind}.rst"] = "\n".join(plugin_page(kind)) + "\n"
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.iterdir():
        if path.name not in pages:
            path.unlink()
    for file, text in pages.items():
        path = FOLDER / file
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def table(modules: list[tuple[str, str]]) -> str:
    """The page that lists the modules."""
    rows = [f"| {{doc}}`{name} <{name}>` | {about} |" for name, about in modules]
    names = [name for name, _ in modules]
    return "\n".join(
        [
            *("# Public modules", ""),
            *("| module | what is in it |", "|---|---|", *rows, ""),
            *("```{toctree}", ":hidden:", *names, "```", ""),
        ]
    )


def module_page(module: ModuleType) -> Iterator[str]:
    """reStructuredText: the module's docstring, then everything public in it."""
    name = module.__name__
    yield from [name, "=" * len(name), "", f".. automodule:: {name}", ""]
    yield from [f".. currentmodule:: {name}", ""]
    for public in public_modules.public_names(module):
        value = getattr(module, public)
        if public_modules.is_class(value):
            yield from [f".. autoclass:: {public}", ""]
            for part, found in public_modules.parts(value):
                kind = "property" if isinstance(found, property) else "method"
                yield from [f"   .. auto{kind}:: {part}", ""]
        elif public_modules.is_function(value):
            yield from [f".. autofunction:: {public}", ""]
        else:
            yield from [f".. py:data:: {public}", ""]
            about = our_docstrings.converted(_said_of(module, public))
            yield from textwrap.indent("\n".join(about), "   ").split("\n")


def plugin_page(kind: str) -> Iterator[str]:
    """reStructuredText: what each plug-in of a kind is, its settings and its source."""
    title, made_by = PLUGINS[kind]
    yield from [title, "=" * len(title), ""]
    for name in plugins.built_in(kind):
        spec = plugins.spec(kind, name)
        module = importlib.import_module(f"{plugins.KINDS[kind]}.{name}")
        yield from [name, "-" * len(name), ""]
        yield from our_docstrings.converted(inspect.getdoc(module) or "")
        yield from [f"Source: {our_docstrings.prose(spec.source)}.", ""]
        if kind != "task":
            settings = ", ".join(f"{k}={v!r}" for k, v in spec.settings.items())
            yield from [f"Made by ``{made_by.format(name)}``.", ""]
            yield from [f".. py:function:: {name}({settings})", "   :no-index:", ""]
            about = our_docstrings.converted(inspect.getdoc(spec.make) or "")
            yield from textwrap.indent("\n".join(about), "   ").split("\n")


def _said_of(module: ModuleType, name: str) -> str:
    """The string below a constant, where it is assigned; "" where there is none."""
    body = ast.parse(inspect.getsource(module)).body
    for node, following in zip_longest(body, body[1:]):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _said_of(importlib.import_module(node.module), alias.name)
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        is_it = any(isinstance(t, ast.Name) and t.id == name for t in targets)
        if is_it and isinstance(following, ast.Expr):
            return ast.literal_eval(following.value)
    return ""


def commands() -> str:
    """Markdown: what every command's `--help` prints."""
    from opt_gym import cli

    lines = ["# The command line", "", "```text", cli.DESCRIPTION, "```", ""]
    for name in cli.commands():
        lines += [f"## opt-gym {name}", "", "```text", _help(cli.main, name), "```", ""]
    return "\n".join(lines)


def _help(main: Any, name: str) -> str:
    printed = io.StringIO()
    plain = {"COLUMNS": str(WIDTH), "NO_COLOR": "1", "TERM": "dumb"}
    with (
        mock.patch.dict(os.environ, plain),
        contextlib.redirect_stdout(printed),
        contextlib.suppress(SystemExit),
    ):
        main([name, "--help"])
    lines = (line.rstrip() for line in printed.getvalue().strip().splitlines())
    return "\n".join(piece for line in lines for piece in _wrapped(line))


def _wrapped(line: str) -> list[str]:
    """Prose above the options is one line a paragraph in a help."""
    if len(line) <= WIDTH:
        return [line]
    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.wrap(line, WIDTH, subsequent_indent=indent) or [line]


def setup(app: Sphinx) -> dict[str, bool]:
    """Writes the pages when a build begins."""
    app.connect("builder-inited", write_all)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

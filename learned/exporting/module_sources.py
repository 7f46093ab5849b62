"""The modules of this package as texts: what each defines, and where its names come from."""

import ast
import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

PACKAGES = ("opt_gym", "learned")


class Place(NamedTuple):
    """Where something is defined: a module's name, and a name in it ("" for the module)."""

    module: str
    name: str


class Source(NamedTuple):
    """A module.

    Attributes:
        definitions: statements by the names that they define.
        imported: what it has from this package, by the name that it has there.
        foreign: likewise the import of what is from elsewhere.
    """

    definitions: dict[str, ast.stmt]
    imported: dict[str, Place]
    foreign: dict[str, str]


@cache
def source(module: str) -> Source:
    """Of the module called `module`."""
    spec = importlib.util.find_spec(module)
    assert spec is not None, module
    found = Source({}, {}, {})
    for statement in ast.parse(Path(str(spec.origin)).read_text()).body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            _note_import(found, statement)
        else:
            for name in defined(statement):
                found.definitions[name] = statement
    return found


def _note_import(found: Source, statement: ast.Import | ast.ImportFrom) -> None:
    for alias in statement.names:
        name = alias.asname or alias.name
        if isinstance(statement, ast.Import):
            found.foreign[name] = f"import {ast.unparse(alias)}"
        elif (statement.module or "").partition(".")[0] not in PACKAGES:
            line = f"from {statement.module} import {ast.unparse(alias)}"
            found.foreign[name] = line
        else:
            found.imported[name] = _imported(str(statement.module), alias.name)


def _imported(module: str, name: str) -> Place:
    is_module = importlib.util.find_spec(module).submodule_search_locations and (  # type: ignore[union-attr]
        importlib.util.find_spec(f"{module}.{name}")
    )
    return Place(f"{module}.{name}", "") if is_module else Place(module, name)


def followed(place: Place) -> Place:
    """Where what is at `place` is defined, if its module has it from another."""
    imported = source(place.module).imported.get(place.name)
    return place if imported is None else followed(imported)


def defined(statement: ast.stmt) -> Iterator[str]:
    """Names that a `statement` at the top of a module gives something to."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Assign | ast.AnnAssign):
        yield from stored(statement)


def stored(node: ast.AST) -> Iterator[str]:
    """Names that are bound in `node`, without the scopes in it."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        yield node.name
        return
    if isinstance(node, ast.Lambda):
        return
    if isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
        for inner in ast.walk(node):  # a walrus binds outside of it
            if isinstance(inner, ast.NamedExpr):
                yield inner.target.id
        return
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name for alias in node.names)
    for child in ast.iter_child_nodes(node):
        yield from stored(child)

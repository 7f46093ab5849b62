"""The public names and their signatures, a line each: `python -m tests.public_api` writes them.

What is public is said in `docs.extensions.public_modules`. Annotations are left out: Python's
versions write them differently.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from docs.extensions import public_modules
from opt_gym import plugins

FILE = Path(__file__).with_suffix(".txt")
COMMAND = "python -m tests.public_api"


def lines() -> list[str]:
    """The whole snapshot: by module, then the plug-ins by kind."""
    modules = [module for _, module in public_modules.public_modules()]
    described = [line for module in modules for line in describe(module)]
    return [*described, *(line for kind in plugins.KINDS for line in settings(kind))]


def describe(module: ModuleType) -> Iterator[str]:
    """A line for each public name of a module, and for each public part of a class."""
    for name in public_modules.public_names(module):
        value, path = getattr(module, name), f"{module.__name__}.{name}"
        if public_modules.is_class(value):
            yield path + signature(value)
            yield from (f"{path}.{part}" for part in parts(value))
        elif public_modules.is_function(value):
            yield path + signature(value)
        else:
            yield path


def parts(cls: type) -> Iterator[str]:
    """A line for each public method and property of a class."""
    for name, value in public_modules.parts(cls):
        yield name if isinstance(value, property) else name + signature(value)


def signature(value: Any) -> str:
    """Names, kinds and defaults of the parameters, as in "(a, *, b=1)"."""
    try:
        parameters = inspect.signature(value).parameters.values()
    except ValueError:  # an exception that takes what its base class takes
        return "(...)"
    texts, named_only = [], False
    for parameter in parameters:
        if parameter.kind is parameter.VAR_POSITIONAL:
            named_only = True
        elif parameter.kind is parameter.KEYWORD_ONLY and not named_only:
            texts.append("*")
            named_only = True
        star = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}
        text = star.get(parameter.kind, "") + parameter.name
        if parameter.default is not parameter.empty:
            text += f"={written(parameter.default)}"
        texts.append(text)
    return f"({', '.join(texts)})"


def written(value: Any) -> str:
    """A default without addresses of memory."""
    if type(value) is tuple:
        inside = ", ".join(map(written, value))
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    text = getattr(value, "__qualname__", None) or repr(value)
    return f"<{type(value).__name__}>" if " at 0x" in text else text


def settings(kind: str) -> Iterator[str]:
    """A line for each built-in plug-in of a kind: its name and the parameters of `make`."""
    folder = importlib.import_module(plugins.KINDS[kind]).__path__
    for name in sorted(file.name for file in pkgutil.iter_modules(folder)):
        if name in plugins.names(kind):
            yield f"{kind} {name!r} {signature(plugins.spec(kind, name).make)}"


if __name__ == "__main__":
    FILE.write_text("\n".join(lines()) + "\n")

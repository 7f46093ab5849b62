"""The public names and their signatures, a line each: `python -m tests.public_api` writes them.

Public is what a module's `__all__` lists, or else what it defines without a leading `_`.
Annotations are left out: Python's versions write them differently.
"""

import ast
import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from opt_gym import plugins

FILE = Path(__file__).with_suffix(".txt")
COMMAND = "python -m tests.public_api"
PACKAGES = ("agents", "envs_registry", "learned", "opt_gym")

MODULES = (
    "opt_gym",
    "opt_gym.evaluation",
    "opt_gym.gym.opt_env",
    "opt_gym.gym.opt_vector_env",
    "opt_gym.maths.*",
    "opt_gym.plugins",
    "opt_gym.records",
    "opt_gym.tasks.building.*",
    "opt_gym.testing",
    "learned",
    "learned.building.*",
    "learned.torch",
    "agents",
    "agents.callbacks",
    "agents.estimators.*",
    "agents.records",
    "envs_registry.benchmark_sets",
    "envs_registry.names",
)
"""Where public names live; `.*` is the package and every file in it."""


def lines() -> list[str]:
    """The whole snapshot: by module, then the plug-ins by kind."""
    modules = [module for pattern in MODULES for module in matching(pattern)]
    described = [line for module in modules for line in describe(module)]
    return [*described, *(line for kind in plugins.KINDS for line in settings(kind))]


def matching(pattern: str) -> Iterator[ModuleType]:
    """The modules of one line of `MODULES`; none where there is no such file."""
    name = pattern.removesuffix(".*")
    if importlib.util.find_spec(name) is None:
        return
    module = importlib.import_module(name)
    yield module
    if name != pattern:
        for inside in sorted(pkgutil.iter_modules(module.__path__)):
            if not inside.name.startswith("_"):
                yield importlib.import_module(f"{name}.{inside.name}")


def describe(module: ModuleType) -> Iterator[str]:
    """A line for each public name of a module, and for each public part of a class."""
    for name in sorted(getattr(module, "__all__", None) or defined(module)):
        value, path = getattr(module, name), f"{module.__name__}.{name}"
        if inspect.isclass(value) and value.__module__.startswith(PACKAGES):
            yield path + signature(value)
            yield from (f"{path}.{part}" for part in parts(value))
        elif inspect.isfunction(inspect.unwrap(value)):
            yield path + signature(value)
        else:
            yield path


def defined(module: ModuleType) -> set[str]:
    """The public names that a module's own lines give: functions, classes, constants."""
    names: set[str] = set()
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {
                x.id for t in targets for x in ast.walk(t) if isinstance(x, ast.Name)
            }
    return {name for name in names if not name.startswith("_")}


def parts(cls: type) -> Iterator[str]:
    """The public methods and properties that our own classes give, not what they inherit."""
    owners = [owner for owner in cls.__mro__ if owner.__module__.startswith(PACKAGES)]
    members = {name: value for o in reversed(owners) for name, value in vars(o).items()}
    for name, value in sorted(members.items()):
        if name == "__call__" or not name.startswith("_"):
            value = getattr(value, "__func__", value)
            if inspect.isfunction(value):
                yield name + signature(value)
            elif isinstance(value, property):
                yield name


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

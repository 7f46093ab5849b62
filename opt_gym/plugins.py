"""Discovery: a plug-in is one file that ends in its `SPEC`, in here or anywhere else.

Built-in ones are the files of a plug-in folder whose name does not begin with `_`; their
names are listed without importing them. Other distributions announce theirs through the
entry-point group `opt_gym.plugins` (entry `<kind>.<name> = "module:SPEC"`), and a script
calls `register(SPEC)`.
"""

import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple

KINDS = {
    "task": "opt_gym.tasks",
    "features": "opt_gym.features",
    "action": "opt_gym.actions",
    "architecture": "learned.architectures",
    "trainer": "agents.trainers",
}
"""Every kind of plug-in, and the package whose files are the built-in ones."""


class Spec(NamedTuple):
    """What a plug-in file ends in, as `SPEC`.

    Attributes:
        kind: one of `KINDS`.
        name: as in `OptTask-<name>-v0`, `learned.make(name)`, `agents.make(name)`.
        make: a task family's `build(config) -> Task`; else `make(**config) -> record`, with
            a default for every setting.
        source: the paper, code or page it follows.
        sample_config: a task family's seed -> Config.
        traits: what others need to know before it is made: of an outer-trainer, an
            `agents.records.TrainerTraits`.
    """

    kind: str
    name: str
    make: Callable[..., Any]
    source: str
    sample_config: Any = None
    traits: Any = None

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of `make` and their defaults."""
        keywords = inspect.signature(self.make).parameters.values()
        return {k.name: k.default for k in keywords if k.default is not k.empty}


_MOST_LISTED = 40
"""An error message lists so many names at most."""

_ROOT = Path(__file__).resolve().parent.parent
_registered: dict[tuple[str, str], Spec] = {}


def register(spec: Spec) -> Spec:
    """Makes a plug-in known to this process under its kind and name, and returns it.

    Raises:
        ValueError: unknown kind, or a name that another plug-in has.
    """
    _check_kind(spec.kind)
    taken = _registered.get((spec.kind, spec.name))
    if spec.name in _built_in(spec.kind) or taken not in (None, spec):
        raise ValueError(f"a {spec.kind} named {spec.name!r} exists already")
    _registered[spec.kind, spec.name] = spec
    return spec


def names(kind: str) -> list[str]:
    """The sorted names of every plug-in of a kind; imports none of them."""
    _check_kind(kind)
    announced = {name for k, name in _registered if k == kind} | set(_announced(kind))
    return sorted(set(_built_in(kind)) | announced)


def spec(kind: str, name: str) -> Spec:
    """The `SPEC` of one plug-in; this imports its file.

    Raises:
        ValueError: unknown kind or name (near matches are named).
    """
    if not isinstance(name, str) or name not in names(kind):
        raise ValueError(unknown(kind, name, names(kind)))
    if (kind, name) in _registered:
        return _registered[kind, name]
    if name in _built_in(kind):
        return importlib.import_module(f"{KINDS[kind]}.{name}").SPEC
    return _announced(kind)[name].load()


def build(kind: str, name: str, config: dict[str, Any] | None = None) -> Any:
    """The record that `SPEC.make(**config)` gives, its name and whole config written in.

    Raises:
        ValueError: unknown kind, name, or a key of `config` that the plug-in does not have.
    """
    found = spec(kind, name)
    whole = with_defaults(found, config or {})
    return found.make(**whole)._replace(name=name, config=_as_json(whole))


def with_defaults(spec: Spec, config: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a plug-in.

    Raises:
        ValueError: a key of `config` that the plug-in does not have.
    """
    defaults = spec.settings
    for key in config:
        if key not in defaults:
            what = f"option of {spec.kind} {spec.name!r}"
            raise ValueError(unknown(what, key, list(defaults)))
    return {**defaults, **config}


def unknown(what: str, value: object, known: list[str]) -> str:
    """The message for a name that is none of `known`, with near matches."""
    near = difflib.get_close_matches(str(value), known, n=3)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    listed = [*map(str, known[:_MOST_LISTED])]
    if len(known) > _MOST_LISTED:
        listed.append(f"... {len(known)} in all")
    return f"unknown {what}: {value!r}{hint} (known: {', '.join(listed)})"


def _as_json(config: Mapping[str, Any]) -> dict[str, Any]:
    """With lists where there are tuples, as a file gives them back."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in config.items()}


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise ValueError(unknown("kind of plug-in", kind, list(KINDS)))


def _built_in(kind: str) -> list[str]:
    folder = _ROOT.joinpath(*KINDS[kind].split("."))
    return [path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")]


def _announced(kind: str) -> dict[str, Any]:
    prefix = f"{kind}."
    found = entry_points(group="opt_gym.plugins")
    return {e.name.removeprefix(prefix): e for e in found if e.name.startswith(prefix)}

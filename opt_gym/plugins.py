"""Discovery: a plug-in is one file that ends in its `SPEC`, in here or anywhere else.

Built-in ones are the files of a plug-in folder whose name does not begin with `_`; their
names are listed without importing them. Other distributions announce theirs through the
entry-point group `opt_gym.plugins` (entry `<kind>.<name> = "module:SPEC"`), and a script
calls `opt_gym.register(SPEC)`.

One from outside that cannot be used (it raises when it is imported, its SPEC is none, its
name is another's) gives one warning that names its package and its file. From then on it is
in no listing, and who asks for it by name is told why.
"""

import difflib
import functools
import importlib
import importlib.util
import inspect
import operator
import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from opt_gym import entry_points
from opt_gym.setting_kinds import check_kind, plain

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


GIVEN = {"trainer": ("mix", "learned_optimizer", "outer_optimizer")}
"""Arguments of a kind's `make` that are no settings: they have no default."""

_MOST_LISTED = 40
"""An error message lists so many names at most."""

_ROOT = Path(__file__).resolve().parent.parent
_registered: dict[tuple[str, str], Spec] = {}
_refused: dict[tuple[str, str], str] = {}


def add_spec(spec: Spec) -> Spec:
    """Makes a plug-in known to this process under its kind and name, and returns its `spec`.

    `opt_gym.register` does this, and gives a task family its Gymnasium id.

    Raises:
        ValueError: a SPEC that is none (see `check_spec`), or a name that another plug-in
            has.
    """
    check_spec(spec)
    key = (spec.kind, spec.name)
    taken = _registered.get(key)
    if spec.name in built_in(spec.kind) or key in _announced():
        raise ValueError(f"{spec.kind} {spec.name!r} exists already")
    if taken not in (None, spec):
        raise ValueError(f"{spec.kind} {spec.name!r} is registered already")
    _registered[key] = spec
    return spec


def registered() -> list[Spec]:
    """Those that this process was told of."""
    return list(_registered.values())


def check_spec(spec: Any) -> None:
    """Raises ValueError, naming the value, unless `spec` is a `Spec` that can be used."""
    if not isinstance(spec, Spec):
        raise ValueError(f"SPEC must be an opt_gym.plugins.Spec, got {spec!r}")
    _check_kind(spec.kind)
    what = f"the SPEC of {spec.kind} {spec.name!r}"
    if not (isinstance(spec.name, str) and spec.name.isidentifier()):
        raise ValueError(f"{what}: name must be a Python identifier")
    if not callable(spec.make):
        raise ValueError(f"{what}: make must be a function, got {spec.make!r}")
    if not (isinstance(spec.source, str) and spec.source):
        raise ValueError(
            f"{what}: source must say what it follows, got {spec.source!r}"
        )
    if spec.kind == "task":
        if not callable(spec.sample_config):
            raise ValueError(
                f"{what}: sample_config must be a function, got {spec.sample_config!r}"
            )
        return
    given = GIVEN.get(spec.kind, ())
    bare = set(inspect.signature(spec.make).parameters) - {*spec.settings, *given}
    if bare:
        raise ValueError(f"{what}: make has settings without a default: {sorted(bare)}")


def names(kind: str) -> list[str]:
    """The sorted names of every plug-in of a kind; imports none of them."""
    _check_kind(kind)
    outside = {name for k, name in (*_registered, *_announced()) if k == kind}
    refused = {name for k, name in _refused if k == kind}
    return sorted({*built_in(kind), *outside} - refused)


def built_in(kind: str) -> list[str]:
    """The sorted names of those of a `kind` that come with opt_gym; imports none of them."""
    _check_kind(kind)
    return list(_files(kind))


def spec(kind: str, name: str) -> Spec:
    """The `SPEC` of one plug-in; this imports its file.

    Raises:
        ValueError: unknown kind or name (near matches are named), or a plug-in from outside
            that cannot be used.
    """
    _check_kind(kind)
    key = (kind, name)
    if isinstance(name, str) and name not in built_in(kind) and key in _announced():
        return _load(kind, name)
    if not isinstance(name, str) or name not in names(kind):
        raise ValueError(unknown(kind, name, names(kind)))
    if key in _registered:
        return _registered[key]
    return importlib.import_module(module_of(kind, name)).SPEC


def specs(kind: str) -> Iterator[Spec]:
    """Every plug-in of a kind that can be used; this imports all of their files."""
    for name in names(kind):
        try:
            yield spec(kind, name)
        except ValueError:
            if (kind, name) not in _refused:
                raise


def module_of(kind: str, name: str) -> str:
    """The module of the SPEC of `kind` and `name`; of a registered one, that of its `make`."""
    if name in built_in(kind):
        return f"{KINDS[kind]}.{name}"
    entry = _announced().get((kind, name))
    return entry.module if entry else spec(kind, name).make.__module__


def is_refused(kind: str, name: str) -> bool:
    """Whether `name` is known as a plug-in of `kind` from outside that cannot be used."""
    return (kind, name) in _refused


def build(kind: str, name: str, config: dict[str, Any] | None = None) -> Any:
    """The record that `SPEC.make(**config)` gives, its name and whole config written in.

    Raises:
        ValueError: unknown kind, name, or a key or value of `config` that the plug-in
            cannot take.
    """
    return build_spec(spec(kind, name), config)


def build_spec(spec: Spec, config: Mapping[str, Any] | None = None) -> Any:
    """`build` of a SPEC, the `spec`, which nobody needs to have made known.

    Whatever the user's flags of JAX, its functions draw and compute in one way.

    Raises:
        ValueError: a key or value of `config` that the plug-in cannot take.
    """
    from opt_gym import numerics  # which imports JAX: a list of names needs none

    whole = with_defaults(spec, config or {})
    with numerics.fixed_numerics():
        record = spec.make(**whole)
    record = record._replace(name=spec.name, config=_as_json(whole))
    return numerics.record_with_fixed_numerics(record)


def rebuilt(kind: str, name: str, config: dict[str, Any], changes: Any) -> Any:
    """The record of which `reduced` wrote down `kind`, `name`, `config` and `changes`."""
    return build(kind, name, config)._replace(**changes)


def reduced(kind: str, record: Any, **changes: Any) -> tuple[Any, tuple]:
    """How pickle makes a record of functions again: from its name and settings.

    Args:
        kind: of plug-in.
        record: that `build` gave.
        changes: fields that its settings do not determine.

    Raises:
        pickle.PicklingError: nobody announced it, or its functions are others by now.
    """
    name, config = record.name, record.config
    check_told(kind, name, record, lambda: build(kind, name, config))
    return rebuilt, (kind, name, config, changes)


def check_told(kind: str, name: str | None, record: tuple, again: Any) -> None:
    """Whether a plug-in's name and its settings tell all of a record.

    Args:
        kind, name: of plug-in.
        record: of functions.
        again: () -> what name and settings make.

    Raises:
        pickle.PicklingError: nobody announced it, or its functions are others by now.
    """
    what = f"{kind} {repr(name) if name else 'without a name'}"
    if name not in names(kind):
        raise pickle.PicklingError(
            f"{what} cannot be copied to another process: it is no plug-in that is known "
            "by its name (opt_gym.register, opt_gym.plugins.add_spec)"
        )
    if codes_of(record) != codes_of(again()):
        raise pickle.PicklingError(
            f"{what} cannot be copied to another process: functions of it were replaced, "
            "and its name and settings would give the original"
        )


def is_told(record: tuple) -> bool:
    """Whether names and settings tell all of a record, so that pickle can make it again."""
    try:
        pickle.dumps(record)
    except pickle.PicklingError:
        return False
    return True


def codes_of(record: tuple) -> list[Any]:
    """The code of every function of a record: equal for two that one function made."""
    return [
        getattr(inspect.unwrap(field), "__code__", None) if callable(field) else None
        for field in record
    ]


def with_defaults(spec: Spec, config: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of the plug-in of `spec`: those of `config`, else its defaults.

    Raises:
        ValueError: a key of `config` that the plug-in does not have, or a value of another
            kind than the setting's (see `setting_kinds`).
    """
    defaults, what = spec.settings, f"{spec.kind} {spec.name!r}"
    given = {key: plain(value) for key, value in config.items()}
    for key, value in given.items():
        if key not in defaults:
            raise ValueError(unknown(f"option of {what}", key, list(defaults)))
        check_kind(what, key, value, spec.make)
    return {**defaults, **given}


def unknown(what: str, value: object, known: list[str]) -> str:
    """The message for a `what` named `value` that is none of `known`, with near matches."""
    near = difflib.get_close_matches(str(value), known, n=3)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    listed = [*map(str, known[:_MOST_LISTED])]
    if len(known) > _MOST_LISTED:
        listed.append(f"... {len(known)} in all")
    return f"unknown {what}: {value!r}{hint} (known: {', '.join(listed)})"


def refuse(kind: str, name: str, reason: str) -> None:
    """Leaves the announced plug-in `name` of `kind` out from now on; warns of the `reason`."""
    entry = _announced()[kind, name]
    _refused[kind, name] = f"{_described(entry)} cannot be used: {reason}"
    warnings.warn(f"{_refused[kind, name]}; it is left out", stacklevel=2)


def _as_json(config: Mapping[str, Any]) -> dict[str, Any]:
    """With lists where there are tuples, as a file gives them back."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in config.items()}


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise ValueError(unknown("kind of plug-in", kind, list(KINDS)))


@functools.cache
def _files(kind: str) -> tuple[str, ...]:
    folder = _ROOT.joinpath(*KINDS[kind].split("."))
    stems = sorted(path.stem for path in folder.glob("*.py"))
    return tuple(stem for stem in stems if not stem.startswith("_"))


@functools.cache
def _announced() -> dict[tuple[str, str], entry_points.EntryPoint]:
    """The entries whose name is `<kind>.<name>` and nobody else's; others are warned of."""
    known: dict[tuple[str, str], entry_points.EntryPoint] = {}
    for entry in entry_points.announced():
        kind, _, name = entry.name.partition(".")
        key = (kind, name)
        if kind not in KINDS or not name.isidentifier():
            reason = f"an entry is named <kind>.<name>, the kind one of {[*KINDS]}"
        elif name in _files(kind):
            reason = f"a built-in {kind} has this name"
        elif key in known:
            reason = f"the package {known[key].distribution!r} has this name"
        else:
            known[key] = entry
            continue
        message = f"{_described(entry)} cannot be used: {reason}; it is left out"
        warnings.warn(message, stacklevel=2)
    return known


def _described(entry: entry_points.EntryPoint) -> str:
    place = f"{entry.module}:{entry.attribute}"
    if file := _file_of(entry.module):
        place += f", {file}"
    return f"the plug-in {entry.name!r} of the package {entry.distribution!r} ({place})"


def _file_of(module: str) -> str:
    """Where a module lies, as far as that is seen without importing it; else ""."""
    top, *rest = module.split(".")
    try:
        package = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return ""
    if package is None or not rest:
        return "" if package is None else package.origin or ""
    paths = [Path(f, *rest) for f in package.submodule_search_locations or ()]
    files = [
        f for path in paths for f in (path.with_suffix(".py"), path / "__init__.py")
    ]
    return next((str(file) for file in files if file.is_file()), "")


def _load(kind: str, name: str) -> Spec:
    """The SPEC that an entry leads to.

    Raises:
        ValueError: it leads to none that can be used.
    """
    if (kind, name) not in _refused:
        try:
            return _loaded(kind, name)
        except (Exception, SystemExit) as error:
            reason = f"{type(error).__name__}: {error}"
            refuse(kind, name, reason)
            raise ValueError(_refused[kind, name]) from error
    raise ValueError(_refused[kind, name])


@functools.cache
def _loaded(kind: str, name: str) -> Spec:
    entry = _announced()[kind, name]
    module = importlib.import_module(entry.module)
    loaded = operator.attrgetter(entry.attribute)(module)
    check_spec(loaded)
    if (loaded.kind, loaded.name) != (kind, name):
        raise ValueError(
            f"it is announced as {kind}.{name}, its SPEC says "
            f"{loaded.kind}.{loaded.name}"
        )
    return loaded

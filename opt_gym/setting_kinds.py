"""Of what kind a value for a plug-in's setting must be: its annotation or its default says it.

    learning_rate: float = 1e-3      a finite number
    per_tensor: bool = True          True or False
    horizon: int | tuple[int, int]   an integer, or a list of them
    scale=2.0                        a finite number, as the default is

This is for every plug-in, and needs no list of settings. In which range a number makes sense
is for the plug-in's own `make` to say (`opt_gym.checks`).
"""

import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from types import UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

_LARGEST = 3.4028234663852886e38
"""Of float32: larger ones would be infinite in a program."""

Bound = Annotated[float, "infinity switches it off"]
"""The annotation of a number that may be infinity."""

_WORDS = {
    bool: "True or False",
    int: "an integer",
    float: "a finite number",
    Bound: "a number",
    str: "a text",
    type(None): "None",
    Any: "a value without NaN or infinity",
}


def check_kind(what: str, name: str, value: Any, make: Callable[..., Any]) -> None:
    """Raises ValueError unless the value is of the kind of this setting of `make`.

    Args:
        what: the plug-in, for the message.
        name, value: of the setting.
        make: the plug-in's function, which has such a keyword.
    """
    hints = _hints(make)[name]
    if not any(fits(value, hint) for hint in hints):
        words = dict.fromkeys(word for hint in hints for word in _words(hint))
        raise ValueError(f"{what}: {name} must be {' or '.join(words)}, got {value!r}")


def plain(value: Any) -> Any:
    """The Python value of a scalar of numpy or JAX, which JSON does not know."""
    is_scalar = getattr(value, "shape", None) == () and hasattr(value, "item")
    return value.item() if is_scalar else value


@functools.lru_cache(maxsize=256)
def _hints(make: Callable[..., Any]) -> dict[str, tuple[Any, ...]]:
    """What may stand for each keyword: its annotation, and the kind of its default."""
    try:
        parameters = inspect.signature(make, eval_str=True).parameters
    except Exception:  # annotations may name what only a type checker sees
        parameters = inspect.signature(make).parameters
    return {p.name: _hints_of(p) for p in parameters.values()}


def _hints_of(parameter: inspect.Parameter) -> tuple[Any, ...]:
    annotation, default = parameter.annotation, parameter.default
    if annotation is not parameter.empty and not isinstance(annotation, str):
        return annotation, _kind_of(default)
    return (Any if default is None else _kind_of(default),)


def _kind_of(default: Any) -> Any:
    """The hint that a default stands for."""
    if isinstance(default, list | tuple):
        kinds = tuple(dict.fromkeys(map(_kind_of, default)))
        return Sequence[Union[kinds]] if kinds else Sequence[Any]  # noqa: UP007
    return type(default)


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of the kind that a type hint names; no number may be NaN."""
    origin, inner = get_origin(hint) or hint, get_args(hint)
    if hint in (float, Bound):
        off = hint is not float and isinstance(value, float) and math.isinf(value)
        return off or is_finite_number(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is Any:
        return _is_sound(value)
    if origin in (Union, UnionType):
        return any(fits(value, each) for each in inner)
    if origin is Annotated:
        return fits(value, inner[0])
    if origin is Literal:
        return any(type(value) is type(known) and value == known for known in inner)
    if not inspect.isclass(origin):
        return value is None if hint is None else _is_sound(value)
    if issubclass(origin, Mapping):
        return isinstance(value, Mapping) and _fits_mapping(value, origin, inner)
    if issubclass(origin, Sequence) and origin is not str:
        of_elements = [each for each in inner if each is not ...] or [Any]
        return isinstance(value, list | tuple) and all(
            any(fits(each, element) for element in of_elements) for each in value
        )
    return isinstance(value, origin)


def _fits_mapping(
    value: Mapping[Any, Any], origin: type, inner: tuple[Any, ...]
) -> bool:
    """Whether the values of a dict are of the kinds of a `TypedDict`, or all of one kind."""
    if is_typeddict(origin):
        kinds = get_type_hints(origin)
    else:
        kinds = dict.fromkeys(value, inner[1] if inner else Any)
    return value.keys() == kinds.keys() and all(
        isinstance(key, str) and fits(value[key], kind) for key, kind in kinds.items()
    )


def is_finite_number(value: Any) -> bool:
    """Whether it is a number, and finite in a program: an int fits int32, a float float32."""
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) < 2**31
    return isinstance(value, float) and abs(value) <= _LARGEST


def _is_sound(value: Any) -> bool:
    """Whether no number in it is NaN or infinite."""
    if isinstance(value, Mapping):
        return all(_is_sound(each) for each in value.values())
    if isinstance(value, list | tuple):
        return all(_is_sound(each) for each in value)
    return not isinstance(value, float) or is_finite_number(value)


def _words(hint: Any) -> list[str]:
    """How a message names a kind, in alternatives."""
    origin, inner = get_origin(hint) or hint, get_args(hint)
    if hint is None or hint in _WORDS:
        return [_WORDS[type(None) if hint is None else hint]]
    if origin in (Union, UnionType):
        return [word for each in inner for word in _words(each)]
    if origin is Literal:
        return [repr(known) for known in inner]
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return ["a dict"]
    if inspect.isclass(origin) and issubclass(origin, Sequence):
        elements = [w for each in inner if each is not ... for w in _words(each)]
        return [f"a list ({' or '.join(dict.fromkeys(elements or ['anything']))} each)"]
    return [getattr(hint, "__name__", str(hint))]

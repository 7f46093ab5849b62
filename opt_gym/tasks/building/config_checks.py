"""Checks of a task config's values; every error names the family, the key and the value."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

from opt_gym.checks import MOST
from opt_gym.plugins import unknown
from opt_gym.setting_kinds import is_finite_number
from opt_gym.tasks.building import initializers
from opt_gym.tasks.building.activations import ACTIVATIONS


def strip(
    family: str, config: Any, keys: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, Any]:
    """The config without its key "family", once its keys are the expected ones.

    Args:
        family: its name, which `config` may leave out, also for errors.
        config: of a task, as a user gives it.
        keys, optional: those that have to be in it, and those that may be.

    Raises:
        ValueError: a missing or unknown key, or another family's name.
    """
    if not isinstance(config, dict):
        raise ValueError(f"{family}: a task config is a dict, got {config!r}")
    if config.get("family", family) != family:
        raise ValueError(f"{family}: family is {config['family']!r}")
    values = {key: value for key, value in config.items() if key != "family"}
    check_keys(family, values, keys, optional)
    return values


def check_keys(
    where: str,
    values: Any,
    required: Sequence[str],
    optional: Sequence[str] = (),
) -> None:
    """Raises a ValueError where `values` is no dict with these keys.

    Args:
        where: what the error begins with: whose values they are.
        values: to be checked.
        required, optional: keys that have to be there, and keys that may be.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{where}: expected a dict, got {values!r}")
    for key in values:
        if key not in required and key not in optional:
            known = [*required, *optional]
            raise ValueError(f"{where}: {unknown('key', key, known)}")
    missing = [key for key in required if key not in values]
    if missing:
        raise ValueError(f"{where}: missing {', '.join(map(repr, missing))}")


@contextlib.contextmanager
def inside(where: str) -> Iterator[None]:
    """Inside of it, errors begin with `where`, whose config it is.

    Raises:
        ValueError: what was raised inside, so begun.
    """
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def check(where: str, key: str, value: Any, valid: bool, expected: str) -> None:
    """Raises the ValueError of a bad `value` unless `valid`.

    It says "`where`: `key` must be `expected`, got `value`".
    """
    if not valid:
        raise ValueError(f"{where}: {key} must be {expected}, got {value!r}")


def is_int(value: Any, least: int, most: int = MOST) -> bool:
    """Whether `value` is an integer (no bool) from `least` to `most`, for sizes int32's."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return whole and least <= value <= most


def is_number(value: Any) -> bool:
    """Whether `value` is an int or a float (a bool is none), and finite in a program."""
    return is_finite_number(value)


def check_choice(where: str, key: str, value: Any, known: Sequence[str]) -> None:
    """Raises a ValueError with near matches unless `value` is one of `known`.

    The error names `where`, whose config it is, and the value's `key`.
    """
    if value not in known:
        raise ValueError(f"{where}: {unknown(key, value, list(known))}")


def check_sizes(where: str, key: str, value: Any, least: int = 0) -> None:
    """Raises a ValueError unless `value` is a list of integers >= 1, `least` or more of them.

    The error names `where`, whose config it is, and the value's `key`.
    """
    valid = isinstance(value, list | tuple) and all(is_int(v, 1) for v in value)
    check(where, key, value, valid, "a list of integers >= 1")
    check(where, key, value, len(value) >= least, f"a list of {least} or more")


def check_int(where: str, key: str, value: Any, least: int, most: int = MOST) -> None:
    """Raises a ValueError unless `value` is an integer from `least` to `most`.

    The error names `where`, whose config it is, and the value's `key`.
    """
    expected = f"an integer >= {least}"
    if isinstance(value, int) and value > most:
        expected += f" and <= {most}"
    check(where, key, value, is_int(value, least, most), expected)


def check_side(where: str, key: str, value: Any, least: int = 1) -> None:
    """Raises a ValueError unless a square matrix may have `value` rows, `least` or more.

    The error names `where`, whose config it is, and the value's `key`.
    """
    check_int(where, key, value, least, math.isqrt(MOST))


def check_positive(where: str, key: str, value: Any) -> None:
    """Raises a ValueError unless `value` is a number > 0.

    The error names `where`, whose config it is, and the value's `key`.
    """
    check(where, key, value, is_number(value) and value > 0, "a number > 0")


def check_bool(where: str, key: str, value: Any) -> None:
    """Raises a ValueError unless `value` is True or False.

    The error names `where`, whose config it is, and the value's `key`.
    """
    check(where, key, value, isinstance(value, bool), "true or false")


def check_activation(where: str, value: Any) -> None:
    """Raises a ValueError, which begins with `where`, unless `value` names an activation."""
    check_choice(where, "activation", value, list(ACTIVATIONS))


def check_initializer(where: str, key: str, value: Any) -> None:
    """Raises a ValueError unless `value` is [name, scale or null], an initializer.

    The error names `where`, whose config it is, and the value's `key`.
    """
    pair = isinstance(value, list | tuple) and len(value) == 2
    check(where, key, value, pair, "[name, scale or null]")
    try:
        initializers.check_initializer(*value)
    except ValueError as error:
        raise ValueError(f"{where}: {key}: {error}") from None

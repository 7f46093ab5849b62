"""How a check says what is wrong: messages with values, of which plug-in, in which check."""

import unittest
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np

from opt_gym.plugins import Spec, check_spec
from opt_gym.records import Config
from opt_gym.runtime.key_arrays import is_key

QUICK: Any = {"xla_backend_optimization_level": 0}
"""Of XLA's compiler, for programs that run a few steps of a small problem."""


def expect(condition: Any, message: str) -> None:
    """Raises AssertionError with the message unless the condition holds."""
    if not condition:
        raise AssertionError(message)


def expect_equal(what: str, actual: Any, expected: Any) -> None:
    """Raises AssertionError, showing both, unless they are equal."""
    expect(actual == expected, f"{what} is {actual!r}, expected {expected!r}")


def expect_shapes(what: str, actual: Any, expected: Any) -> None:
    """Raises AssertionError unless two trees have the same structure, shapes and types."""
    expect_equal(f"the shapes of {what}", _described(actual), _described(expected))


def expect_bits(what: str, actual: Any, expected: Any) -> None:
    """Raises AssertionError unless two trees have the same numbers, bit for bit."""
    expect_shapes(what, actual, expected)
    for leaf, other in zip(*map(jax.tree.leaves, (actual, expected)), strict=True):
        np.testing.assert_array_equal(_plain(leaf), _plain(other), err_msg=what)


def expect_close(
    what: str, actual: Any, expected: Any, *, rtol: float, atol: float = 0.0
) -> None:
    """Raises AssertionError unless the numbers of two trees are close."""
    leaves = [len(jax.tree.leaves(tree)) for tree in (actual, expected)]
    expect(leaves[0] == leaves[1], f"{what} has {leaves[0]} arrays, not {leaves[1]}")
    for leaf, other in zip(*map(jax.tree.leaves, (actual, expected)), strict=True):
        np.testing.assert_allclose(leaf, other, rtol=rtol, atol=atol, err_msg=what)


def expect_finite(what: str, tree: Any) -> None:
    """Raises AssertionError unless all numbers of a tree are finite."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        values = np.asarray(_plain(leaf))
        bad = np.count_nonzero(~np.isfinite(values))
        place = jax.tree_util.keystr(path)
        expect(not bad, f"{what}{place} has {bad} numbers that are not finite")


def expect_arrays(what: str, tree: Any) -> None:
    """Raises AssertionError unless all leaves of a tree are arrays."""
    for leaf in jax.tree.leaves(tree):
        good = isinstance(leaf, jax.Array | np.ndarray | np.generic)
        expect(good, f"{what} holds {leaf!r}, which is no array")


def run_checks(spec: Spec, case: Any, checks: Sequence[Callable[[Any], None]]) -> None:
    """Runs checks one after another; what cannot be checked here is a warning.

    Raises:
        AssertionError: of the first that fails, whatever it raised.
    """
    for check in checks:
        try:
            with naming(spec, check.__name__):
                check(case)
        except unittest.SkipTest as reason:
            warnings.warn(f"{check.__name__} was not checked: {reason}", stacklevel=3)


def check_settings(
    spec: Spec,
    kind: str,
    configs: Iterable[Config],
    prepare: Callable[[Spec, Config], Any],
    checks: Sequence[Callable[[Any], None]],
) -> None:
    """Prepares a case of a plug-in with each of these settings and checks it.

    Raises:
        AssertionError: what is wrong, and with what value.
    """
    expect_spec(spec, kind)
    for config in configs:
        with naming(spec, f"building and running it with the settings {config}"):
            case = prepare(spec, config)
        run_checks(spec, case, checks)


@contextmanager
def naming(spec: Spec, what: str) -> Iterator[None]:
    """Errors say which plug-in they are about, and what was being checked."""
    try:
        yield
    except unittest.SkipTest:
        raise
    except Exception as error:
        name = f"{spec.kind} {spec.name!r}" if isinstance(spec, Spec) else repr(spec)
        kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
        raise AssertionError(f"{name}: {what}: {kind}{error}") from error


def expect_spec(spec: Spec, kind: str) -> None:
    """Raises AssertionError unless it is a usable SPEC of this kind."""
    with naming(spec, "its SPEC"):
        check_spec(spec)
        expect_equal("the kind of the SPEC", spec.kind, kind)


def _described(tree: Any) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    return str(structure), [(str(x.dtype), tuple(x.shape)) for x in map(_array, leaves)]


def _array(leaf: Any) -> Any:
    return leaf if hasattr(leaf, "dtype") else np.asarray(leaf)


def _plain(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if is_key(leaf) else leaf

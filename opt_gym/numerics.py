"""What numbers depend on beside the code, held whatever the user's flags of JAX say.

`jax_enable_x64` would make draws and arithmetic float64, `jax_default_prng_impl` and
`jax_threefry_partitionable` change what is drawn from a key: with each of them the same id
and seed would be another problem.
"""

import contextlib
import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

KEY_IMPLEMENTATION = "threefry2x32"

_P = ParamSpec("_P")
_R = TypeVar("_R")


def fixed_numerics() -> contextlib.AbstractContextManager[Any]:
    """Inside, and in what is traced inside: float32, and draws of one kind."""
    config: Any = jax.config
    if (
        not config.jax_enable_x64
        and config.jax_threefry_partitionable
        and config.jax_default_prng_impl == KEY_IMPLEMENTATION
    ):
        return contextlib.nullcontext()
    stack = contextlib.ExitStack()
    stack.enter_context(jax.enable_x64(False))
    stack.enter_context(jax.threefry_partitionable(True))
    stack.enter_context(jax.default_prng_impl(KEY_IMPLEMENTATION))
    return stack


def with_fixed_numerics(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """The function, whose body runs inside `fixed_numerics`."""

    @functools.wraps(function)
    def fixed(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with fixed_numerics():
            return function(*args, **kwargs)

    return fixed


def record_with_fixed_numerics(record: Any) -> Any:
    """A NamedTuple of functions, all of them so."""
    functions = {
        name: with_fixed_numerics(field)
        for name, field in record._asdict().items()
        if callable(field) and not isinstance(field, type)
    }
    return record._replace(**functions)


def own_buffers(tree: PyTree) -> PyTree:
    """The same numbers, every array in a buffer of its own, so that each can be donated.

    Inside a program this costs nothing.
    """

    def copied(leaf: Any) -> Any:
        return jnp.copy(leaf) if isinstance(leaf, jax.Array) else leaf

    return jax.tree.map(copied, tree)

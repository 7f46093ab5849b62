"""Tensors of torch of which this process holds a part: what is told is told of the whole.

Where parameters are cut over processes (FSDP), a step is done `with_others`: sums over a tensor
are then added up over its parts, and its shape is that of the whole. In JAX an array is whole
however it is cut, and this does nothing.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

from opt_gym.maths.array_namespace import is_torch


class Others(NamedTuple):
    """shapes: of the whole tensors, axes as shown; add_up: [k, f] of parts -> of the wholes."""

    shapes: Sequence[tuple[int, ...]]
    add_up: Callable[[Any], Any]


_OTHERS: ContextVar[Others | None] = ContextVar("others", default=None)


@contextlib.contextmanager
def with_others(others: Others | None) -> Iterator[None]:
    """What is done inside is done with these `others`, or by a process alone, for None."""
    token = _OTHERS.set(others)
    try:
        yield
    finally:
        _OTHERS.reset(token)


def whole_shapes(tensors: Sequence[Any]) -> Sequence[tuple[int, ...]]:
    """Those of the whole `tensors`, which are all of φ, in their order."""
    if tensors and is_torch(tensors[0]) and known() is not None:
        return known().shapes
    return [tensor.shape for tensor in tensors]


def added_up(totals: Any) -> Any:
    """`totals`, sums over each tensor of φ, [k, f], made those over the wholes."""
    if is_torch(totals) and known() is not None:
        return known().add_up(totals)
    return totals


def known() -> Any:
    """The `Others` of this step; None for a process alone."""
    return _OTHERS.get()

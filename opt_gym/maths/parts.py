"""What a step is told of tensors beside their numbers: whole shapes, and sums over all parts.

Where parameters of torch are cut over processes (FSDP), a step is done `with_others`: sums over
a tensor are then added up over its parts, and its shape is that of the whole. In JAX an array
is whole however it is cut; there only shapes are told, of who has outputs first (Equinox).
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple


class Others(NamedTuple):
    """shapes: of the whole tensors, outputs last; add_up: [k, f] of parts -> of the wholes."""

    shapes: Sequence[tuple[int, ...]]
    add_up: Callable[[Any], Any] = lambda totals: totals


_OTHERS: ContextVar[Others | None] = ContextVar("others", default=None)


@contextlib.contextmanager
def with_others(others: Others | None) -> Iterator[None]:
    """What is done inside is done with these `others`, or by a process alone, for None."""
    token = _OTHERS.set(others)
    try:
        yield
    finally:
        _OTHERS.reset(token)


def of_shapes(
    shapes: Sequence[tuple[int, ...]],
) -> contextlib.AbstractContextManager[None]:
    """The same others, of tensors with these shapes."""
    return with_others((known() or Others(()))._replace(shapes=shapes))


def whole_shapes(tensors: Sequence[Any]) -> Sequence[tuple[int, ...]]:
    """Those of the whole `tensors`, which are all of φ, in their order."""
    if known() is not None:
        return known().shapes
    return [tensor.shape for tensor in tensors]


def added_up(totals: Any) -> Any:
    """`totals`, sums over each tensor of φ, [k, f], made those over the wholes."""
    return totals if known() is None else known().add_up(totals)


def known() -> Any:
    """The `Others` of this step; None for a process alone."""
    return _OTHERS.get()

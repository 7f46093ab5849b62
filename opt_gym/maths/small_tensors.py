"""The same function of every weight of many tensors, the small ones in one go.

XLA compiles a loop a tensor, 0.1 to 0.5 core-seconds for a small network at every weight, and
a call of one costs more than its few hundred numbers. Padded to one length, small tensors have
one loop for all of them. In torch every operation is a call, of 5 µs and more: tensors of equal
shape are stacked, and have one for all of them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from opt_gym.maths.array_namespace import is_torch, namespace
from opt_gym.maths.pieces import SIZE
from opt_gym.maths.sums import padded_length


def together(
    fn: Callable[..., Any], sources: Sequence[Sequence[Any]], likes: Sequence[Any]
) -> list[Any | None]:
    """What fn gives for every small tensor, [num, *shape]; None for those that are not small.

    Where there is nothing to gain (an accelerator, a tensor alone) none is small.

    Args:
        fn: sources -> [num, *axes], elementwise along the tensor's axes; of a stack the numbers
            for a whole tensor are [k, 1, ..., 1].
        sources: of each tensor, arrays whose last axes are the tensor's, or all 1, or a
            number for the whole tensor; the axes before them are the same for all tensors.
        likes: the tensors.
    """
    out: list[Any | None] = [None] * len(likes)
    for places in alike(likes):
        if len(places) > 1:
            columns = zip(*(sources[place] for place in places), strict=True)
            rank = likes[places[0]].ndim
            result = fn(*(_stack(column, rank) for column in columns))
            parts = result.unbind(result.ndim - rank - 1)
            for place, part in zip(places, parts, strict=True):
                out[place] = part
    groups: dict[int, list[int]] = {}
    for place, like in enumerate(likes):
        if length := padded_length(like):
            groups.setdefault(length, []).append(place)
    for places in groups.values():
        if len(places) == 1:
            continue
        longest = max(likes[place].size for place in places)
        columns = zip(*(sources[place] for place in places), strict=True)
        shapes = [likes[place].shape for place in places]
        result = fn(*(_stacked(column, shapes, longest) for column in columns))
        for row, place in enumerate(places):
            like = likes[place]
            own = result[:, row, : like.size]
            out[place] = own.reshape(result.shape[0], *like.shape)
    return out


def alike(likes: Sequence[Any]) -> list[list[int]]:
    """The places of tensors that have a stack in common: in JAX each is alone.

    Args:
        likes: the tensors; of those of torch the small ones of one shape and device go
            together, as many as are a piece (`maths.pieces`).
    """
    open_stacks: dict[Any, list[int]] = {}
    stacks: list[list[int]] = []
    for place, like in enumerate(likes):
        most = SIZE // max(1, like.numel()) if is_torch(like) else 1
        kind = (like.shape, like.device) if most > 1 else place
        stack = open_stacks.get(kind)
        if stack is None or len(stack) >= most:
            open_stacks[kind] = stack = []
            stacks.append(stack)
        stack.append(place)
    return stacks


def in_stacks(
    stacks: Sequence[Sequence[int]], arrays: Sequence[Any], likes: Sequence[Any]
) -> list[Any]:
    """Of every stack of k > 1 one array [*lead, k, *shape]; one alone is left as it is.

    Args:
        stacks: of `alike`.
        arrays: of each tensor, [*lead, *shape].
        likes: the tensors.
    """
    return [
        _stack([arrays[place] for place in places], likes[places[0]].ndim)
        for places in stacks
    ]


def each_of(
    stacks: Sequence[Sequence[int]],
    arrays: Sequence[Any],
    likes: Sequence[Any] | None = None,
) -> list[Any]:
    """What `in_stacks` makes one of, for each tensor again.

    Args:
        stacks: of `alike`.
        arrays: of each stack, [*lead, k, *shape].
        likes: the tensors; without them there is no shape.
    """
    out: list[Any] = [None] * sum(map(len, stacks))
    for places, array in zip(stacks, arrays, strict=True):
        rank = 0 if likes is None else likes[places[0]].ndim
        parts = [array] if len(places) == 1 else array.unbind(array.ndim - rank - 1)
        for place, part in zip(places, parts, strict=True):
            out[place] = part
    return out


def _stack(arrays: Sequence[Any], rank: int) -> Any:
    """As one; numbers [], which are of whole tensors, as [k, 1, ..., 1]."""
    if len(arrays) == 1:
        return arrays[0]
    xp, own = namespace(arrays[0]), arrays[0].ndim
    if own < rank:
        return xp.reshape(xp.stack([*arrays]), (len(arrays), *(1,) * rank))
    return xp.stack([*arrays], axis=own - rank)


def _stacked(
    column: Sequence[Any], shapes: Sequence[tuple[int, ...]], longest: int
) -> Any:
    """One source of all tensors of a group: [*lead, k, longest], or [*lead, k, 1].

    Padded with ones, of which every function here has a finite derivative.
    """
    rows = []
    for source, shape in zip(column, shapes, strict=True):
        lead = source.shape[: max(0, source.ndim - len(shape))]
        flat = source.reshape(*lead, -1)
        if flat.shape[-1] > 1:  # one number is for the whole tensor, also of one weight
            room = [(0, 0)] * len(lead) + [(0, longest - flat.shape[-1])]
            flat = jnp.pad(flat, room, constant_values=1.0)
        rows.append(flat)
    return jnp.stack(jnp.broadcast_arrays(*rows), axis=-2)

"""The same function of every weight of many tensors, the small ones in one go.

XLA compiles a loop a tensor, 0.1 to 0.5 core-seconds for a small network at every weight, and
a call of one costs more than its few hundred numbers. Padded to one length, small tensors have
one loop for all of them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp

from opt_gym.maths.sums import padded_length


def together(
    fn: Callable[..., Any], sources: Sequence[Sequence[Any]], likes: Sequence[Any]
) -> list[Any | None]:
    """What fn gives for every small tensor, [num, *shape]; None for those that are not small.

    Where there is nothing to gain (torch, accelerators, a tensor alone) none is small.

    Args:
        fn: sources -> [num, *axes], elementwise along the tensor's axes.
        sources: of each tensor, arrays whose last axes are the tensor's, or all 1, or a
            number for the whole tensor; the axes before them are the same for all tensors.
        likes: the tensors.
    """
    out: list[Any | None] = [None] * len(likes)
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


def _stacked(
    column: Sequence[Any], shapes: Sequence[tuple[int, ...]], longest: int
) -> Any:
    """One source of all tensors of a group: [*lead, k, longest], or [*lead, k, 1].

    Padded with ones, of which every function here has a finite derivative.
    """
    rows = []
    for source, shape in zip(column, shapes, strict=True):
        lead = source.shape[: max(0, source.ndim - len(shape))]
        is_whole = source.ndim >= len(shape) and source.shape[len(lead) :] == shape
        flat = source.reshape(*lead, -1)
        if is_whole:
            room = [(0, 0)] * len(lead) + [(0, longest - flat.shape[-1])]
            flat = jnp.pad(flat, room, constant_values=1.0)
        rows.append(flat)
    return jnp.stack(jnp.broadcast_arrays(*rows), axis=-2)

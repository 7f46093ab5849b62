"""Sums over each of many tensors; those of small ones in one go, on CPU.

XLA compiles a sum over a tensor of a few hundred numbers as three small programs, about 12 ms
each: seven sums over each of 14 tensors were a third of what an evaluation of `nominal`
compiles. Padded to one length, the small tensors have three for all of them, which run faster,
too: a call takes longer than its sum.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import jax

from opt_gym.maths.array_namespace import is_torch, namespace

LENGTHS = (256, 2048, 8192)
"""Tensors up to one of these are padded to the largest among them. XLA's sums over larger
ones are calls of a library, which cost little to compile."""

Product = tuple[Any, Any]
"""(a, b), [k, *shape] both, to be multiplied; (a, None) for a itself."""


def sums(
    products: Iterable[Sequence[Product]], counts: Sequence[int] | None = None
) -> list[Any]:
    """For every tensor the sums over it of its products, one after another: [f].

    Args:
        products: of each tensor, the same numbers of them; made one tensor at a time in
            torch, so that what is made for it can be given back.
        counts: how many tensors each is of; one that is of k > 1 is a stack of torch,
            [r, k, *shape], and its sums are [f, k].
    """
    out: list[Any] = []
    together: dict[int, list[tuple[int, Any]]] = {}
    for place, pairs in enumerate(products):
        length = padded_length(pairs[0][0], pairs[0][0].shape[0])
        if length:
            together.setdefault(length, []).append((place, _rows(pairs)))
            out.append(None)
        else:
            xp = namespace(pairs[0][0])
            kept = 1 if counts is None or counts[place] == 1 else 2
            out.append(xp.concat([_sum(a, b, kept) for a, b in pairs]))
    for members in together.values():
        for (place, _), total in zip(members, _padded_sums(members), strict=True):
            out[place] = total
    return out


def padded_length(tensor: Any, rows: int = 1) -> int:
    """Which of LENGTHS a tensor, or each of `rows` in a block, belongs to; 0 for none."""
    if is_torch(tensor) or jax.default_backend() != "cpu":
        return 0
    size = tensor.size // rows
    return next((length for length in LENGTHS if size <= length), 0)


def _rows(pairs: Sequence[Product]) -> Any:
    """[f, n]."""
    blocks = [a if b is None else a * b for a, b in pairs]
    return jax.numpy.concat([block.reshape(block.shape[0], -1) for block in blocks])


def _padded_sums(members: list[tuple[int, Any]]) -> list[Any]:
    longest = max(rows.shape[1] for _, rows in members)

    def padded(rows: Any) -> Any:
        return jax.numpy.pad(rows, ((0, 0), (0, longest - rows.shape[1])))

    block = jax.numpy.stack([padded(rows) for _, rows in members])
    return list(jax.numpy.sum(block, axis=2))


def _sum(a: Any, b: Any, kept: int) -> Any:
    """Over all axes but the first `kept`."""
    axes = tuple(range(kept, a.ndim))
    if b is None:
        return namespace(a).sum(a, axis=axes)
    if a is b and is_torch(a) and axes:  # one pass, and no array of squares
        import torch

        norm = torch.linalg.vector_norm(a, dim=axes)
        return norm * norm
    return namespace(a).sum(a * b, axis=axes)

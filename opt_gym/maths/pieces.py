"""Large tensors in pieces, so that their features are never held all at once.

The features of a parameter go through a network that is applied to every one of them. For a
tensor of a million weights 28 features are 112 MB, and the units of a hidden layer as much
again. Pieces that fit a core's cache are faster, and small: a tenth of the CPU time for 22
features and 32 units of half a million weights in JAX (16 instead of 157 ms).

Where the device is no CPU, JAX gets everything at once: memory is fast there, and a tensor
that is cut over devices has no axis to walk along.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax

from opt_gym.maths.array_namespace import (
    is_eager,
    is_torch,
    mean_square,
    namespace,
    zeros_over,
)

SIZE = 49_152
"""Elements of a piece in torch, where every operation on one costs a call."""

JAX_SIZE = 16_384
"""Elements of a piece in JAX."""


def elementwise(
    fn: Callable[..., Any], sources: Sequence[Any], like: Any, num: int
) -> Any:
    """fn(*sources), [num, *shape], in pieces where that pays.

    Args:
        fn: sources -> [num, *axes], elementwise along the tensor's axes. In a piece these
            may be in another order, so fn must not care which is which.
        sources: arrays whose last axes are the tensor's, or 1.
        like: the tensor.
        num: see above.
    """
    if is_large(like):
        return _walk(fn, sources, like, num)
    if is_eager(like) and like.numel() > SIZE:
        out = zeros_over(num, like)
        for _, cut in _torch_pieces(like):
            cut(out).copy_(fn(*map(cut, sources)))
        return out
    return fn(*sources)


def elementwise_and_means(
    fn: Callable[..., tuple[Any, Any]], sources: Sequence[Any], like: Any, num: int
) -> tuple[Any, Any]:
    """(a [num, *shape], the means of b over the tensor [k]), in pieces in torch.

    Args:
        fn: sources -> (a [num, *axes], b [k, *axes]), as `fn` of `elementwise`.
        sources, like, num: as those of `elementwise`.
    """

    def means(b: Any) -> Any:
        return namespace(b).mean(b, axis=tuple(range(1, b.ndim)))

    if not is_eager(like) or like.numel() <= SIZE:
        a, b = fn(*sources)
        return a, means(b)
    out, mean = zeros_over(num, like), 0.0
    for share, cut in _torch_pieces(like):
        a, b = fn(*map(cut, sources))
        cut(out).copy_(a)
        mean = mean + share * means(b)
    return out, mean


def mean_squares(
    rows: Callable[..., tuple[Any, ...]], sources: Sequence[Any], like: Any
) -> Any:
    """The mean square of every feature over a tensor: [f].

    Args:
        rows: sources -> blocks [k, *axes] or broadcastable, as `fn` of `elementwise`.
        sources, like: as those of `elementwise`.
    """

    def means(*sources: Any) -> Any:
        blocks = rows(*sources)
        return namespace(like).concat(
            [mean_square(block, axis=tuple(range(1, block.ndim))) for block in blocks]
        )

    if is_eager(like) and like.numel() > SIZE:
        # A feature that is one number along the cut axis has that mean in every piece.
        return sum(
            share * means(*map(cut, sources)) for share, cut in _torch_pieces(like)
        )
    return means(*sources)


def is_large(like: Any) -> bool:
    """Whether JAX walks along the tensor `like`."""
    return not is_torch(like) and like.size > 2 * JAX_SIZE and _on_cpu()


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"


def _walk(fn: Callable[..., Any], sources: Sequence[Any], like: Any, num: int) -> Any:
    """`elementwise` as a loop that writes one piece after the other in place."""
    wanted = like.size // JAX_SIZE
    long_enough = [axis for axis, size in enumerate(like.shape) if size >= wanted]
    longest = max(range(like.ndim), key=lambda axis: like.shape[axis])
    axis = long_enough[0] if long_enough else longest
    length = like.shape[axis]
    step = max(1, length // wanted)

    def cut(source: Any, first: Any) -> Any:
        along = source.ndim - like.ndim + axis
        if source.ndim < like.ndim or source.shape[along] == 1:
            return source
        return jax.lax.dynamic_slice_in_dim(source, first, step, along)

    def body(index: Any, out: Any) -> Any:
        # The last piece begins earlier, so that all have one shape.
        first = jax.numpy.minimum(index * step, length - step)
        piece = fn(*(cut(source, first) for source in sources))
        return jax.lax.dynamic_update_slice_in_dim(out, piece, first, 1 + axis)

    return jax.lax.fori_loop(0, -(-length // step), body, zeros_over(num, like))


def _torch_pieces(like: Any) -> Iterator[tuple[float, Callable[[Any], Any]]]:
    """(share of the tensor, source -> its slice with the axes in the order of memory)."""
    order = sorted(range(like.ndim), key=lambda axis: -like.stride(axis))
    length = like.shape[order[0]]
    step = max(1, SIZE * length // like.numel())
    for start in range(0, length, step):
        count = min(step, length - start)

        def cut(source: Any, start: int = start, count: int = count) -> Any:
            lead = source.ndim - like.ndim
            if lead < 0:  # one number for the whole tensor
                return source
            if source.shape[lead + order[0]] != 1:
                source = source.narrow(lead + order[0], start, count)
            return source.permute(*range(lead), *(lead + axis for axis in order))

        yield count / length, cut

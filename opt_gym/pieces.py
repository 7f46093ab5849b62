"""Large tensors of torch in pieces, so that their features are never held all at once.

XLA fuses the features of a parameter into what reads them. torch does one operation after the
other: for a tensor of a million weights each would go through memory, and 28 features of it
are 112 MB. Pieces that fit a core's cache are faster, and small.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from opt_gym.array_namespace import is_torch, mean_square, namespace, zeros_over

SIZE = 16_384
"""Elements of a piece."""


def elementwise(
    fn: Callable[..., Any], sources: Sequence[Any], like: Any, num: int
) -> Any:
    """fn(*sources), [num, *shape], in pieces where that pays.

    Args:
        fn: sources -> [num, *axes], elementwise along the tensor's axes. In a piece these
            are in the order of memory, so fn must not care which is which.
        sources: arrays whose last axes are the tensor's, or 1.
        like: the tensor.
        num: see above.
    """
    if not _pays(like):
        return fn(*sources)
    out = zeros_over(num, like)
    for _, cut in _pieces(like):
        cut(out).copy_(fn(*map(cut, sources)))
    return out


def elementwise_and_means(
    fn: Callable[..., tuple[Any, Any]], sources: Sequence[Any], like: Any, num: int
) -> tuple[Any, Any]:
    """(a [num, *shape], the means of b over the tensor [k]), in pieces where that pays.

    Args:
        fn: sources -> (a [num, *axes], b [k, *axes]), as `fn` of `elementwise`.
        sources, like, num: as those of `elementwise`.
    """

    def means(b: Any) -> Any:
        return namespace(b).mean(b, axis=tuple(range(1, b.ndim)))

    if not _pays(like):
        a, b = fn(*sources)
        return a, means(b)
    out, mean = zeros_over(num, like), 0.0
    for share, cut in _pieces(like):
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

    if not _pays(like):
        return means(*sources)
    # A feature that is one number along the cut axis has the same mean in every piece.
    return sum(share * means(*map(cut, sources)) for share, cut in _pieces(like))


def _pays(like: Any) -> bool:
    return is_torch(like) and like.numel() > SIZE


def _pieces(like: Any) -> Iterator[tuple[float, Callable[[Any], Any]]]:
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

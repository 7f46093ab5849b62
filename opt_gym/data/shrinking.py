"""The same data made small, for tiny twins of tasks: small images, a small vocabulary.

Everything is exact: what is rounded is rounded from whole numbers, on every machine alike.
"""

import numpy as np

from opt_gym.records import Data, Images, Texts

_AT_ONCE = 1024
"""Images that are shrunk together."""

PIECES = 64
"""A vocabulary of size k has this many times k ids."""


def shrink_images(data: Data, side: int) -> Data:
    """Every split with images of `side` x `side`: means over areas, rounded."""
    return {
        split: Images(_shrunk(images, side), labels)
        for split, (images, labels) in data.items()
    }


def shrink_texts(data: Data, size: int) -> Data:
    """Every split with ids by frequency: 1 is the commonest piece of train, 0 is padding.

    The last of the 64 x `size` ids stands for all pieces that have none of their own. (A
    subword's own number says nothing of how frequent it is: the first are bytes.)
    """
    counts = np.bincount(data["train"].tokens)
    counts[0] = 0
    by_frequency = np.argsort(-counts, kind="stable")
    last = PIECES * size - 1
    highest = max(int(texts.tokens.max(initial=0)) for texts in data.values())
    new = np.full(max(len(counts), highest + 1), last, np.uint16)
    kept = by_frequency[: min(last - 1, int((counts > 0).sum()))]
    new[kept] = np.arange(1, len(kept) + 1, dtype=np.uint16)
    new[0] = 0
    return {split: _renumbered(texts, new) for split, texts in data.items()}


def _shrunk(images: np.ndarray, side: int) -> np.ndarray:
    count, height, width, channels = images.shape
    rows = _areas(height, side).astype(np.float32)
    columns = _areas(width, side).astype(np.float32)
    whole = height * width
    small = np.empty((count, side, side, channels), np.uint8)
    for start in range(0, count, _AT_ONCE):
        part = images[start : start + _AT_ONCE].astype(np.float32)
        # Whole numbers below 2^24, which float32 has exactly for sides up to 256.
        sums = np.einsum("ih,nhwc,jw->nijc", rows, part, columns, optimize=True)
        means = (sums.astype(np.int64) + whole // 2) // whole
        small[start : start + _AT_ONCE] = means
    return small


def _areas(old: int, new: int) -> np.ndarray:
    """[new, old]: how much of each old pixel lies in a new one, in parts of 1/new; sum old."""
    first = np.arange(new)[:, None] * old
    start = np.arange(old)[None, :] * new
    overlap = np.minimum(first + old, start + new) - np.maximum(first, start)
    return np.maximum(overlap, 0)


def _renumbered(texts: Texts, new: np.ndarray) -> Texts:
    return texts._replace(tokens=new[texts.tokens])

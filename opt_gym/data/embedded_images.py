"""Image sets made of what comes inside scikit-learn: its digits and its two photographs.

Everything is deterministic and uses integers where a rounding could differ between
machines, because digests of the arrays are part of what figures are reported with.
"""

import gzip
import importlib.util
import itertools
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.random import RandomState

from opt_gym.data import splits

MOST_EXAMPLES = 10_000
"""A stand-in has at most this many examples, all splits together."""

SMALLEST_SPLIT = 128
"""No split of photograph crops is smaller than this."""

TILE = 8
"""Pixels: crop centres of one TILE x TILE square of a photograph share a split."""

Arrays = list[tuple[np.ndarray, np.ndarray]]
"""(images uint8 [n, h, w, c], labels int32 [n]) per split, in the order of `SPLITS`."""


def describe(shape: tuple[int, int, int]) -> str:
    """What a stand-in of this image shape is made of."""
    height, width, channels = shape
    size = f"{height}x{width}"
    if channels == 1:
        return f"scikit-learn digits enlarged to {size}"
    return f"{size} crops of scikit-learn's two photographs"


def digits(sizes: tuple[int, ...]) -> Arrays:
    """The 1,797 digits of scikit-learn, 8x8x1, shuffled and cut into splits.

    Source: E. Alpaydin, C. Kaynak 1998, Optical Recognition of Handwritten Digits, UCI.
    """
    values, labels = _shuffled_digits()
    images = ((values * 255 + 8) // 16).astype(np.uint8)[..., None]
    return _cut(images, labels, sizes)


def enlarged_digits(size: int, sizes: tuple[int, ...]) -> Arrays:
    """The digits enlarged to size x size (bilinear), in splits proportional to `sizes`."""
    values, labels = _shuffled_digits()
    weights, unit = _bilinear(values.shape[1], size)
    enlarged = np.einsum("ih,nhw,jw->nij", weights, values, weights, optimize=True)
    whole = 16 * unit * unit
    images = ((enlarged * 255 + whole // 2) // whole).astype(np.uint8)[..., None]
    return _cut(images, labels, splits.proportional(sizes, len(labels), least=1))


def photograph_crops(
    size: int, num_classes: int, sizes: tuple[int, ...], seed: int = 0
) -> Arrays:
    """Crops of two photographs; the label says which part of them the crop comes from.

    The places where a crop can lie are divided into `num_classes` cells of equal area,
    half of the cells in each photograph; a crop's label is the cell of its centre. Splits
    take their centres from disjoint TILE x TILE squares, and no centre is used twice. The
    seed says which squares and which centres.

    Source: scikit-learn's `load_sample_images` (china.jpg, flower.jpg).
    """
    rng = RandomState(seed)
    photographs = _photographs()
    total = min(MOST_EXAMPLES, sum(sizes))
    counts = splits.proportional(sizes, total, least=SMALLEST_SPLIT)
    half = (num_classes + 1) // 2
    cells = (half, num_classes - half)
    height, width = photographs[0].shape[:2]
    places = (height - size + 1, width - size + 1)
    owner = _owners(rng, len(photographs), places, counts)
    labels = np.stack([_cells(places, cells[0]), half + _cells(places, cells[1])])
    windows = [sliding_window_view(p, (size, size), axis=(0, 1)) for p in photographs]
    return [
        _crops(rng, windows, labels, np.argwhere(owner == split), count)
        for split, count in enumerate(counts)
    ]


def _shuffled_digits() -> tuple[np.ndarray, np.ndarray]:
    with gzip.open(inside_sklearn("data/digits.csv.gz"), "rt") as file:
        rows = np.loadtxt(file, np.int64, delimiter=",")
    rows = rows[RandomState(0).permutation(len(rows))]
    return rows[:, :-1].reshape(-1, 8, 8), rows[:, -1].astype(np.int32)


def _photographs() -> list[np.ndarray]:
    from PIL import Image

    images = []
    for name in ("china.jpg", "flower.jpg"):
        with Image.open(inside_sklearn(f"images/{name}")) as image:
            images.append(np.asarray(image))
    return images


def inside_sklearn(path: str) -> Path:
    """A file of `sklearn.datasets`, which takes 0.7 s to import."""
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("embedded data come inside scikit-learn")
    return Path(spec.origin).parent / "datasets" / path


def _cut(images: np.ndarray, labels: np.ndarray, sizes: tuple[int, ...]) -> Arrays:
    starts = np.cumsum([0, *sizes])
    return [
        (images[a:b].copy(), labels[a:b].copy()) for a, b in itertools.pairwise(starts)
    ]


def _bilinear(old: int, new: int) -> tuple[np.ndarray, int]:
    """Integer weights [new, old] of a linear interpolation, and what they sum to."""
    unit = 2 * new
    position = np.clip((2 * np.arange(new) + 1) * old - new, 0, (old - 1) * unit)
    low, part = np.divmod(position, unit)
    weights = np.zeros((new, old), np.int64)
    rows = np.arange(new)
    weights[rows, low] += unit - part
    weights[rows, np.minimum(low + 1, old - 1)] += part
    return weights, unit


def _cells(places: tuple[int, int], number: int) -> np.ndarray:
    """The cell of every place: rows of cells, all cells of nearly equal area."""
    height, width = places
    rows = max(1, min(number, round((number * height / width) ** 0.5)))
    first = number * np.arange(rows + 1) // rows
    row_of_unit = np.searchsorted(first, np.arange(number), side="right") - 1
    row = row_of_unit[np.arange(height) * number // height]
    in_row = (first[1:] - first[:-1])[row]
    column = np.arange(width)[None, :] * in_row[:, None] // width
    return (first[row][:, None] + column).astype(np.int32)


def _owners(
    rng: RandomState, number: int, places: tuple[int, int], counts: tuple[int, ...]
) -> np.ndarray:
    """The split that owns each place of each photograph, by tiles."""
    rows, columns = (-(-side // TILE) for side in places)
    tiles = number * rows * columns
    share = np.cumsum([0, *splits.proportional(counts, tiles, least=1)])
    owner = np.empty(tiles, np.int8)
    order = rng.permutation(tiles)
    for split in range(len(counts)):
        owner[order[share[split] : share[split + 1]]] = split
    grid = owner.reshape(number, rows, columns).repeat(TILE, 1).repeat(TILE, 2)
    return grid[:, : places[0], : places[1]]


def _crops(
    rng: RandomState,
    windows: list[np.ndarray],
    labels: np.ndarray,
    places: np.ndarray,
    count: int,
) -> tuple[np.ndarray, np.ndarray]:
    chosen = places[rng.permutation(len(places))[:count]]
    photograph, row, column = chosen.T
    size = windows[0].shape[-1]
    images = np.empty((len(chosen), size, size, 3), np.uint8)
    for index, window in enumerate(windows):
        here = photograph == index
        images[here] = window[row[here], column[here]].transpose(0, 2, 3, 1)
    return images, labels[photograph, row, column]

"""Where the four splits lie, by hand."""

import pytest

from opt_gym.data import splits
from opt_gym.records import SPLITS


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (
            {"train": 10},
            [("train", 6, 10), ("train", 0, 2), ("train", 2, 4), ("train", 4, 6)],
        ),
        (
            {"train": 10, "test": 3},
            [("train", 4, 10), ("train", 0, 2), ("train", 2, 4), ("test", 0, 3)],
        ),
        (
            {"train": 10, "validation": 3},
            [("train", 4, 10), ("train", 0, 2), ("train", 2, 4), ("validation", 0, 3)],
        ),
        (
            {"train": 10, "validation": 3, "test": 4},
            [("train", 2, 10), ("train", 0, 2), ("validation", 0, 3), ("test", 0, 4)],
        ),
    ],
)
def test_slices_by_hand(counts, expected):
    cut = splits.cut(counts, 2)
    assert tuple(cut) == SPLITS
    assert list(cut.values()) == expected


def test_sizes_by_hand():
    assert splits.sizes((10,), 2) == (4, 2, 2, 2)
    assert splits.sizes((10, 3), 2) == (6, 2, 2, 3)
    assert splits.sizes((10, 3, 4), 2) == (8, 2, 3, 4)


def test_proportions_by_hand():
    assert splits.proportional((60, 10, 10, 20), 50, 1) == (30, 5, 5, 10)
    assert splits.proportional((60, 10, 10, 20), 50, 8) == (24, 8, 8, 10)
    assert splits.kept(30, original=60, standing_in=40, least=5) == 20
    assert splits.kept(1, original=60, standing_in=40, least=5) == 5


def test_what_cannot_be_cut_is_an_error():
    message = "6 training examples leave none after 3 slices of 2"
    with pytest.raises(ValueError, match=message):
        splits.cut({"train": 6}, 2)
    with pytest.raises(ValueError, match="num_valid must be >= 1, got 0"):
        splits.cut({"train": 6}, 0)
    with pytest.raises(ValueError, match="24 examples are too few for splits of"):
        splits.proportional((60, 10, 10, 20), 24, 8)

"""Data made small: areas by hand, ids by frequency, and what stays as it was."""

import numpy as np
import pytest

from opt_gym.data import catalog
from opt_gym.data.shrinking import PIECES, shrink_images, shrink_texts
from opt_gym.records import Images, Texts


def test_means_over_areas_by_hand():
    image = np.array([[0, 30, 90], [60, 120, 0], [255, 0, 0]], np.uint8)
    data = {"train": Images(image[None, :, :, None], np.zeros(1, np.int32))}
    (small,) = shrink_images(data, 2)["train"].images[..., 0]
    # A new pixel is 1.5 x 1.5 old ones: 1, 1/2, 1/2 and 1/4 of the four under it.
    first = (0 + 30 / 2 + 60 / 2 + 120 / 4) / 2.25
    second = (90 + 30 / 2 + 0 / 2 + 120 / 4) / 2.25
    assert small[0].tolist() == [round(first), round(second)]
    (same,) = shrink_images(data, 3)["train"].images[..., 0]
    np.testing.assert_array_equal(same, image)


def test_images_of_every_set_become_small():
    for name, entry in catalog.IMAGE_SETS.items():
        if entry.shape[0] > 32:
            continue
        small = catalog.load_images(name, "embedded", num_train=300, size=8)
        whole = catalog.load_images(name, "embedded", num_train=300)
        assert small.keys() == whole.keys()
        for split, images in small.items():
            assert images.images.shape[1:] == (8, 8, entry.shape[2])
            assert images.images.dtype == np.uint8
            np.testing.assert_array_equal(images.labels, whole[split].labels)
            means = images.images.mean(axis=(1, 2)), whole[split].images.mean((1, 2))
            np.testing.assert_allclose(*means, atol=0.51)  # an area keeps its mean


def test_ids_by_frequency():
    tokens = np.array([7, 7, 7, 300, 300, 5, 0], np.uint16)
    other = np.array([5, 9, 400], np.uint16)
    ends = np.zeros(1, np.int32)
    data = {
        "train": Texts(tokens, ends, ends + 7, ends),
        "test": Texts(other, ends, ends + 3, ends),
    }
    small = shrink_texts(data, 1)
    assert small["train"].tokens.tolist() == [1, 1, 1, 2, 2, 3, 0]
    assert small["test"].tokens.tolist() == [3, PIECES - 1, PIECES - 1]


@pytest.mark.parametrize("name", ["lm1b/subwords8k", "lm1b/bytes"])
def test_a_small_vocabulary_covers_most_of_a_text(name):
    small = catalog.load_texts(name, "embedded", num_train=500, size=8)
    whole = catalog.load_texts(name, "embedded", num_train=500)
    for split, texts in small.items():
        assert texts.tokens.max() < PIECES * 8
        np.testing.assert_array_equal(texts.lengths, whole[split].lengths)
    counts = np.bincount(small["train"].tokens, minlength=PIECES * 8)
    assert counts[1] == counts[:-1].max()
    assert counts[-1] < 0.6 * counts.sum()

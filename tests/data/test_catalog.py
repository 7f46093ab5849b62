"""What serves the image sets: stand-ins, splits, subsets of classes, warnings."""

import warnings

import numpy as np
import pytest

from opt_gym.data import catalog, embedded_images, splits
from opt_gym.data.digest import digest_data
from opt_gym.records import SPLITS
from opt_gym.tasks.building.samplers import IMAGE_SETS


@pytest.fixture
def nothing_prepared(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    catalog._warn_once.cache_clear()


def test_every_set_that_taskset_draws_is_there():
    others = {"digits", "food101_64x64", "colorectal_histology_32x32"}
    assert set(IMAGE_SETS) | others == set(catalog.IMAGE_SETS)


@pytest.mark.parametrize("name", catalog.IMAGE_SETS)
def test_stand_ins_have_the_originals_shapes_and_labels(name):
    entry = catalog.image_set(name)
    data = catalog.load_images(name, "embedded")
    assert tuple(data) == SPLITS
    for images, labels in data.values():
        assert images.shape == (len(labels), *entry.shape)
        assert images.dtype == np.uint8
        assert labels.dtype == np.int32
        assert labels.min() >= 0
        assert labels.max() < entry.num_classes
    train = data["train"].labels
    assert len(np.unique(train)) >= 0.99 * entry.num_classes
    sizes = [len(images.labels) for images in data.values()]
    assert sum(sizes) <= embedded_images.MOST_EXAMPLES
    assert sizes[0] == max(sizes)
    originals = splits.sizes(entry.sizes, entry.num_valid)
    whole = sum(originals)
    for size, original in zip(sizes[1:], originals[1:], strict=True):
        share = sum(sizes) * original / whole
        assert size == pytest.approx(max(share, 128), abs=1)


@pytest.mark.parametrize("name", ["digits", "mnist", "cifar10"])
def test_splits_are_disjoint(name):
    data = catalog.load_images(name, "embedded")
    # Equal crops can lie at different places (the sky); those of most places differ.
    seen = [{image.tobytes() for image in split.images} for split in data.values()]
    for index, one in enumerate(seen):
        for other in seen[index + 1 :]:
            assert len(one & other) <= 0.001 * len(one)


def test_crop_centres_of_different_splits_lie_in_different_tiles():
    counts, places = (600, 100, 100, 200), (100, 90)
    owner = embedded_images._owners(np.random.RandomState(0), 2, places, counts)
    assert owner.shape == (2, *places)
    for row in range(0, 100, embedded_images.TILE):
        tile = owner[1, row : row + embedded_images.TILE, : embedded_images.TILE]
        assert len(np.unique(tile)) == 1
    share = np.bincount(owner.ravel(), minlength=4) / owner.size
    np.testing.assert_allclose(share, [0.6, 0.1, 0.1, 0.2], atol=0.05)


@pytest.mark.parametrize("number", [1, 5, 51, 199, 500])
def test_cells_have_nearly_equal_areas(number):
    areas = np.bincount(
        embedded_images._cells((396, 609), number).ravel(), minlength=number
    )
    assert len(areas) == number
    assert areas.max() - areas.min() < 0.15 * areas.mean() + 1


def test_labels_of_crops_say_where_they_come_from():
    images, labels = catalog.load_images("deep_weeds_32x32", "embedded")["train"]
    # Nearest class mean over coarse pixels: far from chance (1/9) where labels are places.
    coarse = images.reshape(len(images), 4, 8, 4, 8, 3).mean((2, 4)).reshape(-1, 48)
    means = np.stack([coarse[:3000][labels[:3000] == k].mean(0) for k in range(9)])
    distance = ((coarse[3000:, None] - means[None]) ** 2).sum(-1)
    assert np.mean(distance.argmin(1) == labels[3000:]) > 0.3


def test_digits_are_scaled_to_the_whole_range():
    images = np.concatenate([split.images for split in _splits("digits")])
    assert set(np.unique(images)) == {(v * 255 + 8) // 16 for v in range(17)}
    assert len(images) == 1797


def test_enlarging_keeps_what_is_constant_and_interpolates_between():
    weights, unit = embedded_images._bilinear(8, 28)
    np.testing.assert_array_equal(weights.sum(1), unit)
    # Half-pixel centres: new pixel i looks at (i + 1/2) * 8/28 - 1/2, inside [0, 7].
    position = np.clip((np.arange(28) + 0.5) * 8 / 28 - 0.5, 0, 7)
    np.testing.assert_allclose(weights @ np.arange(8) / unit, position)
    small = np.concatenate([split.images for split in _splits("digits")])
    large = np.concatenate([split.images for split in _splits("mnist")])
    assert large.max() <= 255
    assert np.mean(large) == pytest.approx(np.mean(small), rel=0.02)


def _splits(name):
    return catalog.load_images(name, "embedded").values()


DIGESTS = {"digits": "ed5cc7d17576327a", "mnist": "c0d8c6452d730128"}


@pytest.mark.parametrize("name", DIGESTS)
def test_digits_have_the_recorded_digest(name):
    assert digest_data(catalog.load_images(name, "embedded")) == DIGESTS[name]


TRAIN_SIZES = {
    "mnist": 50000,
    "cifar100": 40000,
    "food101_32x32": 86000,
    "food101_64x64": 86000,
    "coil100_32x32": 4800,
    "deep_weeds_32x32": 11509,
    "colorectal_histology_32x32": 2900,
    "sun397_32x32": 71128,
    "imagenet_resized/16x16": 1271167,
}


@pytest.mark.parametrize("name", TRAIN_SIZES)
def test_what_is_left_of_train_is_what_taskset_says(name):
    entry = catalog.image_set(name)
    assert splits.sizes(entry.sizes, entry.num_valid)[0] == TRAIN_SIZES[name]


def test_num_train_is_scaled_to_the_stand_in():
    whole = len(catalog.load_images("cifar10", "embedded")["train"].labels)
    half = catalog.load_images("cifar10", "embedded", num_train=20000)
    assert len(half["train"].labels) == pytest.approx(whole / 2, abs=1)
    assert len(half["test"].labels) == len(
        catalog.load_images("cifar10", "embedded")["test"][1]
    )
    most = catalog.load_images("cifar10", "embedded", num_train=50000)
    assert len(most["train"].labels) == whole
    least = catalog.load_images("mnist", "embedded", num_train=1000)
    assert len(least["train"].labels) == 128


def test_num_valid_changes_the_proportions():
    sizes = [
        len(split.labels)
        for split in catalog.load_images("mnist", "embedded", num_valid=3000).values()
    ]
    # 54,000, 3,000, 3,000 and 10,000 of 70,000, of the 1,797 digits.
    assert sizes == [1386, 77, 77, 257]


def test_ways_of_digits_are_the_permutations_classes_renumbered():
    whole = catalog.load_images("mnist", "embedded")
    some = catalog.load_images("mnist", "embedded", ways=(3, 5))
    classes = np.random.RandomState(5).permutation(10)[:3]
    for split in SPLITS:
        kept = np.isin(whole[split].labels, classes)
        np.testing.assert_array_equal(some[split].images, whole[split].images[kept])
        np.testing.assert_array_equal(
            classes[some[split].labels], whole[split].labels[kept]
        )


def test_ways_of_photographs_are_so_many_cells():
    first = catalog.load_images("imagenet_resized/16x16", "embedded", ways=(10, 0))
    other = catalog.load_images("imagenet_resized/16x16", "embedded", ways=(10, 1))
    assert sum(len(split.labels) for split in first.values()) == 10_000
    for data in (first, other):
        assert set(np.unique(data["train"].labels)) == set(range(10))
    crops = [{i.tobytes() for i in data["train"].images} for data in (first, other)]
    assert len(crops[0] & crops[1]) < 0.1 * len(crops[0])
    tenth = catalog.load_images(
        "imagenet_resized/16x16", "embedded", ways=(10, 0), num_train=1271
    )
    whole = len(first["train"].labels)
    assert len(tenth["train"].labels) == pytest.approx(whole / 10, abs=1)


def test_one_copy_a_process_that_nobody_can_change():
    first = catalog.load_images("digits", "embedded")
    assert (
        first["train"].images
        is catalog.load_images("digits", "embedded")["train"].images
    )
    with pytest.raises(ValueError, match="read-only"):
        first["train"].images[0] = 0


def test_a_stand_in_is_announced_once_and_only_where_it_was_not_asked_for(
    nothing_prepared,
):
    with pytest.warns(
        catalog.StandInWarning, match="mnist .stand-in: scikit-learn dig"
    ):
        catalog.load_images("mnist", "auto")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        catalog.load_images("mnist", "auto")
        catalog.load_images("fashion_mnist", "embedded")
        catalog.load_images("digits", "auto")
        catalog.load_images("digits", "tfds")


def test_descriptions_say_what_serves(nothing_prepared):
    assert catalog.describe("digits", "auto") == "digits"
    stand_in = "mnist (stand-in: scikit-learn digits enlarged to 28x28)"
    assert catalog.describe("mnist", "auto") == stand_in
    assert "16x16 crops" in catalog.describe("imagenet_resized/16x16", "embedded")


def test_errors_name_what_was_wrong(nothing_prepared, tmp_path):
    with pytest.raises(ValueError, match="'mnits'; did you mean 'mnist'"):
        catalog.load_images("mnits", "embedded")
    with pytest.raises(ValueError, match="unknown data source: 'disk'"):
        catalog.load_images("mnist", "disk")
    with pytest.raises(ValueError, match=r"ways must be 2 \.\.\. 10 classes, got 11"):
        catalog.load_images("mnist", "embedded", ways=(11, 0))
    with pytest.raises(ValueError, match=r"seed of ways .* got -1"):
        catalog.load_images("mnist", "embedded", ways=(3, -1))
    with pytest.raises(ValueError, match="num_train must be >= 1, got 0"):
        catalog.load_images("mnist", "embedded", num_train=0)
    with pytest.raises(ValueError, match="1797 training examples leave none"):
        catalog.load_images("digits", "embedded", num_valid=600)
    message = "no 'food101' in array_record format under .*tfds build food101"
    with pytest.raises(FileNotFoundError, match=message):
        catalog.load_images("food101_32x32", "tfds")


def test_two_sets_may_show_the_same_examples():
    for names, whose in (
        (("digits", "mnist", "fashion_mnist"), "scikit-learn's digits"),
        (("cifar10", "sun397_32x32"), "scikit-learn's two photographs"),
        (("lm1b/bytes", "imdb_reviews/subwords8k"), "Python's documentation"),
        (("python_source/bytes",), "Python's code"),
        (("wine",), "wine"),
        (("none",), ""),
    ):
        for name in names:
            assert catalog.made_of(name, "embedded") == whose

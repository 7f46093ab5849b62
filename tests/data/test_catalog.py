"""What serves the image sets: stand-ins, splits, warnings, digests."""

import warnings

import numpy as np
import pytest

from opt_gym.data import catalog, embedded
from opt_gym.records import SPLITS, Images
from opt_gym.tasks._samplers import IMAGE_SETS


@pytest.fixture
def nothing_prepared(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    catalog._warn_once.cache_clear()


def test_every_set_that_taskset_draws_is_there():
    assert set(IMAGE_SETS) | {"digits"} == set(catalog.IMAGE_SETS)


@pytest.mark.parametrize("name", catalog.IMAGE_SETS)
def test_stand_ins_have_the_originals_shapes_and_labels(name):
    entry = catalog.image_set(name)
    data = catalog.load(name, "embedded")
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
    assert sum(sizes) <= embedded.MOST_EXAMPLES
    assert sizes[0] == max(sizes)
    whole = sum(entry.sizes)
    for size, original in zip(sizes[1:], entry.sizes[1:], strict=True):
        share = sum(sizes) * original / whole
        assert size == pytest.approx(max(share, 128), abs=1)


@pytest.mark.parametrize("name", ["digits", "mnist", "cifar10"])
def test_splits_are_disjoint(name):
    data = catalog.load(name, "embedded")
    # Equal crops can lie at different places (the sky); those of most places differ.
    seen = [{image.tobytes() for image in split.images} for split in data.values()]
    for index, one in enumerate(seen):
        for other in seen[index + 1 :]:
            assert len(one & other) <= 0.001 * len(one)


def test_crop_centres_of_different_splits_lie_in_different_tiles():
    counts, places = (600, 100, 100, 200), (100, 90)
    owner = embedded._owners(np.random.RandomState(0), 2, places, counts)
    assert owner.shape == (2, *places)
    for row in range(0, 100, embedded.TILE):
        tile = owner[1, row : row + embedded.TILE, : embedded.TILE]
        assert len(np.unique(tile)) == 1
    share = np.bincount(owner.ravel(), minlength=4) / owner.size
    np.testing.assert_allclose(share, [0.6, 0.1, 0.1, 0.2], atol=0.05)


@pytest.mark.parametrize("number", [1, 5, 51, 199, 500])
def test_cells_have_nearly_equal_areas(number):
    areas = np.bincount(embedded._cells((396, 609), number).ravel(), minlength=number)
    assert len(areas) == number
    assert areas.max() - areas.min() < 0.15 * areas.mean() + 1


def test_labels_of_crops_say_where_they_come_from():
    images, labels = catalog.load("deep_weeds_32x32", "embedded")["train"]
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
    weights, unit = embedded._bilinear(8, 28)
    np.testing.assert_array_equal(weights.sum(1), unit)
    # Half-pixel centres: new pixel i looks at (i + 1/2) * 8/28 - 1/2, inside [0, 7].
    position = np.clip((np.arange(28) + 0.5) * 8 / 28 - 0.5, 0, 7)
    np.testing.assert_allclose(weights @ np.arange(8) / unit, position)
    small = np.concatenate([split.images for split in _splits("digits")])
    large = np.concatenate([split.images for split in _splits("mnist")])
    assert large.max() <= 255
    assert np.mean(large) == pytest.approx(np.mean(small), rel=0.02)


def _splits(name):
    return catalog.load(name, "embedded").values()


DIGESTS = {"digits": "df7882c339e4", "mnist": "ffbd7df12e52"}


@pytest.mark.parametrize("name", DIGESTS)
def test_digits_have_the_recorded_digest(name):
    assert catalog.digest(catalog.load(name, "embedded")) == DIGESTS[name]


def test_digest_sees_values_shapes_types_and_places():
    def data(labels, split="train"):
        return {split: Images(np.zeros((2, 1, 1, 1), np.uint8), labels)}

    base = catalog.digest(data(np.array([0, 1], np.int32)))
    assert base == catalog.digest(data(np.array([0, 1], np.int32)))
    others = [
        data(np.array([1, 0], np.int32)),
        data(np.array([0, 1], np.int64)),
        data(np.array([[0, 1]], np.int32)),
        data(np.array([0, 1], np.int32), "test"),
        {split: np.zeros((0,), np.float32) for split in SPLITS},
    ]
    digests = [base, *map(catalog.digest, others)]
    assert len(set(digests)) == len(digests)
    assert all(len(digest) == 12 for digest in digests)


def test_num_train_is_scaled_to_the_stand_in():
    whole = len(catalog.load("cifar10", "embedded")["train"].labels)
    half = catalog.load("cifar10", "embedded", 20000)
    assert len(half["train"].labels) == pytest.approx(whole / 2, abs=1)
    assert len(half["test"].labels) == len(
        catalog.load("cifar10", "embedded")["test"][1]
    )
    assert len(catalog.load("cifar10", "embedded", 50000)["train"].labels) == whole
    assert len(catalog.load("mnist", "embedded", 1000)["train"].labels) == 128


def test_one_copy_a_process_that_nobody_can_change():
    first = catalog.load("digits", "embedded")
    assert first["train"].images is catalog.load("digits", "embedded")["train"].images
    with pytest.raises(ValueError, match="read-only"):
        first["train"].images[0] = 0


def test_a_stand_in_is_announced_once_and_only_where_it_was_not_asked_for(
    nothing_prepared,
):
    with pytest.warns(
        catalog.StandInWarning, match="mnist .stand-in: scikit-learn dig"
    ):
        catalog.load("mnist", "auto")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        catalog.load("mnist", "auto")
        catalog.load("fashion_mnist", "embedded")
        catalog.load("digits", "auto")
        catalog.load("digits", "tfds")


def test_descriptions_say_what_serves(nothing_prepared):
    assert catalog.describe("digits", "auto") == "digits"
    stand_in = "mnist (stand-in: scikit-learn digits enlarged to 28x28)"
    assert catalog.describe("mnist", "auto") == stand_in
    assert "16x16 crops" in catalog.describe("imagenet_resized/16x16", "embedded")


def test_errors_name_what_was_wrong(nothing_prepared, tmp_path):
    with pytest.raises(ValueError, match="'mnits'; did you mean 'mnist'"):
        catalog.load("mnits", "embedded")
    with pytest.raises(ValueError, match="unknown data source: 'disk'"):
        catalog.load("mnist", "disk")
    message = "no 'food101' in array_record format under .*tfds build food101"
    with pytest.raises(FileNotFoundError, match=message):
        catalog.load("food101_32x32", "tfds")

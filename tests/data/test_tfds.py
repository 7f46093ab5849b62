"""Originals prepared by the user: a tiny one is built here and read back."""

import io
import shutil
import warnings

import numpy as np
import pytest

from opt_gym.data import catalog, tfds
from opt_gym.data.digest import digest_data
from opt_gym.records import SPLITS

NUM_EXAMPLES, NUM_VALID = 40, 5


def png(image):
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    buffer.seek(0)
    return buffer


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with a coil100 of 40 flat images: image i has the grey value 4 i."""
    with warnings.catch_warnings():
        # TFDS's own imports use names that its dependencies deprecate.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        import tensorflow_datasets

    class Coil100(tensorflow_datasets.core.GeneratorBasedBuilder):
        VERSION = tensorflow_datasets.core.Version("2.0.0")

        def _info(self):
            features = tensorflow_datasets.features
            return tensorflow_datasets.core.DatasetInfo(
                builder=self,
                features=features.FeaturesDict(
                    {
                        "image": features.Image(shape=(48, 64, 3)),
                        "angle_label": features.ClassLabel(num_classes=72),
                    }
                ),
            )

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for index in range(NUM_EXAMPLES):
                image = np.full((48, 64, 3), 4 * index, np.uint8)
                yield index, {"image": png(image), "angle_label": index}

    folder = tmp_path_factory.mktemp("tfds")
    builder = Coil100(data_dir=folder, file_format="array_record")
    builder.download_and_prepare()
    return folder


@pytest.fixture
def catalog_finds_it(prepared, tmp_path, monkeypatch):
    name = "coil100_32x32"
    entry = catalog.IMAGE_SETS[name]._replace(num_valid=NUM_VALID)
    monkeypatch.setitem(catalog.IMAGE_SETS, name, entry)
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))
    monkeypatch.setenv("OPT_GYM_CACHE", str(tmp_path))
    catalog._images.cache_clear()
    yield name
    catalog._images.cache_clear()


def test_an_original_is_cut_and_resized_as_taskset_does(catalog_finds_it):
    name = catalog_finds_it
    data = catalog.load_images(name, "auto")
    sizes = [len(split.labels) for split in data.values()]
    assert sizes == [NUM_EXAMPLES - 3 * NUM_VALID, *[NUM_VALID] * 3]
    for images, labels in data.values():
        assert images.shape[1:] == (32, 32, 3)
        # Every image kept its own label through shuffling, slicing and resizing.
        np.testing.assert_array_equal(images[:, 3, 5, 1], 4 * labels)
    everything = np.concatenate([split.labels for split in data.values()])
    assert sorted(everything) == list(range(NUM_EXAMPLES))
    assert catalog.describe(name, "auto") == f"{name} (original, tfds 2.0.0)"
    assert len(catalog.load_images(name, "tfds", num_train=7)["train"].labels) == 7


def test_the_second_start_reads_the_cache(catalog_finds_it, tmp_path, monkeypatch):
    name = catalog_finds_it
    first = catalog.load_images(name, "tfds")
    (file,) = (tmp_path / "images").glob("*.npz")
    catalog._images.cache_clear()

    def fail(*arguments):
        raise AssertionError("decoded again")

    monkeypatch.setattr(tfds, "_decode", fail)
    assert digest_data(catalog.load_images(name, "tfds")) == digest_data(first)
    with np.load(file, allow_pickle=False) as arrays:
        assert set(arrays.files) == {"train/images", "train/labels"}


def test_other_formats_are_not_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    folder = tmp_path / "mnist" / "3.0.1"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text('{"fileFormat": "tfrecord"}')
    with pytest.raises(FileNotFoundError, match="mnist"):
        tfds.find("mnist")
    newer = tmp_path / "mnist" / "3.10.0"
    for path in (folder, newer):
        path.mkdir(exist_ok=True)
        (path / "dataset_info.json").write_text('{"fileFormat": "array_record"}')
    assert tfds.find("mnist").version == "3.10.0"


@pytest.mark.parametrize("content", ['{"fileFormat": "arr', "[1]", "\x00"])
def test_half_a_description_is_named_or_replaced(tmp_path, monkeypatch, content):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(catalog, "_damaged", set())
    folder = tmp_path / "mnist" / "3.0.1"
    folder.mkdir(parents=True)
    (tmp_path / "mnist" / "3.0.1-strange").mkdir()
    (folder / "dataset_info.json").write_text(content)
    with pytest.raises(ValueError, match=rf"'mnist' cannot be read: {folder} \("):
        catalog.load_images("mnist", "tfds")
    with pytest.warns(catalog.StandInWarning, match=rf"{folder} .*stand-in serves"):
        data = catalog.load_images("mnist", "auto")
    assert digest_data(data) == digest_data(catalog.load_images("mnist", "embedded"))
    assert "stand-in" in catalog.describe("mnist", "auto")


def test_a_cut_record_file_is_named_or_replaced(
    catalog_finds_it, prepared, tmp_path, monkeypatch
):
    name = catalog_finds_it
    builder = catalog.IMAGE_SETS[name].builder
    assert builder is not None
    monkeypatch.setattr(catalog, "_damaged", set())
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "cut"))
    folder = shutil.copytree(prepared / builder, tmp_path / "cut" / builder)
    for path in folder.rglob("*.array_record*"):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=rf"'{builder}' cannot be read: {folder}"):
        catalog.load_images(name, "tfds")
    with pytest.warns(catalog.StandInWarning, match="cannot be read"):
        data = catalog.load_images(name, "auto")
    assert digest_data(data) == digest_data(catalog.load_images(name, "embedded"))


def test_num_valid_and_ways_of_an_original(catalog_finds_it):
    name = catalog_finds_it
    whole = catalog.load_images(name, "tfds", num_valid=3)
    assert [len(split.labels) for split in whole.values()] == [31, 3, 3, 3]
    some = catalog.load_images(name, "tfds", num_valid=3, ways=(30, 2))
    classes = np.random.RandomState(2).permutation(72)[:30]
    for split in SPLITS:
        kept = np.isin(whole[split].labels, classes)
        np.testing.assert_array_equal(
            classes[some[split].labels], whole[split].labels[kept]
        )
        np.testing.assert_array_equal(some[split].images, whole[split].images[kept])
    few = catalog.load_images(name, "tfds", num_valid=3, ways=(30, 2), num_train=4)
    np.testing.assert_array_equal(few["train"].labels, some["train"].labels[:4])

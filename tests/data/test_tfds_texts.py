"""Text that the user prepared: a tiny set is built here, cut, encoded and read back."""

import hashlib
import warnings

import numpy as np
import pytest

from opt_gym.data import catalog, encoders, texts, tfds_texts
from opt_gym.data.digest import digest_data

NUM_TRAIN, NUM_TEST, NUM_VALID = 30, 8, 5


def review(split, index):
    """Of a length of its own; the first of train has no text."""
    return (
        ""
        if (split, index) == ("train", 0)
        else f"{split} {index}: " + "gut ü " * index
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with reviews, their labels 0 and 1 in turn."""
    with warnings.catch_warnings():
        # TFDS's own imports use names that its dependencies deprecate.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        import tensorflow_datasets

    core, features = tensorflow_datasets.core, tensorflow_datasets.features

    class ImdbReviews(core.GeneratorBasedBuilder):
        VERSION = core.Version("1.0.0")
        BUILDER_CONFIGS = (core.BuilderConfig(name="plain_text"),)

        def _info(self):
            label = features.ClassLabel(num_classes=2)
            columns = {"text": features.Text(), "label": label}
            columns = features.FeaturesDict(columns)
            return core.DatasetInfo(builder=self, features=columns)

        def _split_generators(self, dl_manager):
            return {
                "train": self._generate_examples("train", NUM_TRAIN),
                "test": self._generate_examples("test", NUM_TEST),
                "unsupervised": self._generate_examples("unsupervised", 3),
            }

        def _generate_examples(self, split="train", number=0):
            for index in range(number):
                yield index, {"text": review(split, index), "label": index % 2}

    folder = tmp_path_factory.mktemp("tfds")
    builder = ImdbReviews(data_dir=folder, file_format="array_record")
    builder.download_and_prepare()
    return folder


def forget():
    catalog._texts.cache_clear()
    texts._original.cache_clear()


@pytest.fixture
def catalog_finds_it(prepared, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))
    monkeypatch.setenv("OPT_GYM_CACHE", str(tmp_path))
    forget()
    yield
    forget()


def load(encoding, **settings):
    return catalog.load_texts(
        f"imdb_reviews/{encoding}", "auto", num_valid=NUM_VALID, **settings
    )


def test_an_original_is_cut_as_taskset_does_and_keeps_its_labels(catalog_finds_it):
    data = load("bytes")
    sizes = [len(split.labels) for split in data.values()]
    # One of the 30 is empty.
    assert sizes == [NUM_TRAIN - 1 - 2 * NUM_VALID, NUM_VALID, NUM_VALID, NUM_TEST]
    found = {split: _decoded(data[split]) for split in data}
    for split, rows in found.items():
        origin = "test" if split == "test" else "train"
        for text, label in rows:
            assert text == review(origin, int(text.split()[1][:-1]))
            assert label == int(text.split()[1][:-1]) % 2
    everything = [row for rows in found.values() for row in rows]
    assert len(set(everything)) == NUM_TRAIN - 1 + NUM_TEST
    description = catalog.describe("imdb_reviews/bytes", "auto")
    assert description == "imdb_reviews/bytes (original, tfds 1.0.0)"


def _decoded(split):
    parts = [part.decode() for part in encoders.to_bytes(split)]
    return list(zip(parts, split.labels.tolist(), strict=True))


def test_subwords_of_an_original_are_learned_from_it(catalog_finds_it):
    as_bytes, subwords = load("bytes"), load("subwords8k")
    stored = tfds_texts.read("imdb_reviews/plain_text", "reviews")
    model = encoders.subword_model(stored["train"])
    for split, found in subwords.items():
        expected = [text for text, _ in _decoded(as_bytes[split])]
        for index, text in enumerate(expected):
            tokens = encoders.take(found, index, index + 1).tokens
            assert encoders.decode_subwords(tokens, model) == text
        np.testing.assert_array_equal(found.labels, as_bytes[split].labels)
        assert len(found.tokens) < len(as_bytes[split].tokens)
    description = catalog.describe("imdb_reviews/subwords8k", "tfds")
    assert description.endswith("(original, tfds 1.0.0, subwords learned from it)")


def test_num_train_keeps_the_first(catalog_finds_it):
    train = load("bytes")["train"]
    few = load("bytes", num_train=4, just_train=True)
    for split in few.values():
        assert _decoded(split) == _decoded(train)[:4]
    assert len(load("bytes", num_train=1000)["train"].labels) == len(train.labels)


def test_the_second_start_reads_the_cache(catalog_finds_it, tmp_path, monkeypatch):
    first = {encoding: digest_data(load(encoding)) for encoding in texts._VOCABULARIES}
    # The bytes, and the subwords of two splits.
    assert len(list((tmp_path / "texts").iterdir())) == 3
    assert len(list((tmp_path / "vocabularies").iterdir())) == 1
    forget()

    def fail(*arguments):
        raise AssertionError("decoded again")

    for module, name in (
        (tfds_texts, "_decode"),
        (encoders, "to_subwords"),
        (encoders, "learn_subwords"),
    ):
        monkeypatch.setattr(module, name, fail)
    for encoding, digest in first.items():
        assert digest_data(load(encoding)) == digest


def index_with_share(expected):
    salt = "token_wikipedia_salt"
    return next(
        index
        for index in range(100_000)
        if tfds_texts.hash_share(index, salt, 1000) == expected
    )


def test_a_hash_says_the_split():
    digits = hashlib.md5(b"17salt").hexdigest()
    assert tfds_texts.hash_share(17, "salt", 1000) == int(digits, 16) % 1000 / 1000
    shares = [tfds_texts.hash_share(i, "salt", 1000) for i in range(3000)]
    assert np.mean(np.array(shares) < 0.7) == pytest.approx(0.7, abs=0.03)


def test_articles_give_their_longer_lines_to_one_split():
    record = {"text": "Überschrift\n\n  kurz  \n a longer line \nééééé".encode()}
    lines = ["Überschrift".encode(), b" a longer line "]
    splits = set()
    for index in range(20):
        examples = list(tfds_texts.FORMS["articles"]("train", index, record))
        (split,) = {split for split, _, _ in examples}
        splits.add(split)
        assert examples == [(split, line, 0) for line in lines]
        share = tfds_texts.hash_share(index, "token_wikipedia_salt", 100_000)
        assert split == ("train" if share < 0.7 else "test")
    assert splits == {"train", "test"}


def test_products_give_reviews_with_their_stars():
    record = {"data": {"review_body": b"good", "star_rating": np.int32(4)}}
    for share, expected in (
        (0.699, [("train", b"good", 3)]),
        (0.7, []),
        (0.701, [("test", b"good", 3)]),
    ):
        index = index_with_share(share)
        assert list(tfds_texts.FORMS["products"]("train", index, record)) == expected


def test_so_much_is_read_and_no_more(monkeypatch):
    records = [{"text": text} for text in (b"ab", b"", b"c\xff", b"defg", b"h")]

    def read():
        examples = tfds_texts._first("train", records, tfds_texts.FORMS["sentences"])
        return [text for _, text, _ in examples]

    everything = [b"ab", "c\N{REPLACEMENT CHARACTER}".encode(), b"defg", b"h"]
    assert read() == everything
    monkeypatch.setattr(tfds_texts, "MOST_BYTES", 10)
    assert read() == everything[:3]
    monkeypatch.setattr(tfds_texts, "MOST_EXAMPLES", 3)
    assert read() == everything[:2]


def test_an_unknown_form_is_an_error():
    with pytest.raises(ValueError, match="form of a text set: 'review'; did you mean"):
        tfds_texts.read("imdb_reviews/plain_text", "review")

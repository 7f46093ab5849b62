"""What serves the text sets: stand-ins, splits, labels that say something, warnings."""

import ast
import platform
import warnings

import numpy as np
import pytest

from opt_gym.data import catalog, embedded_texts, encoders, splits
from opt_gym.records import SPLITS

NAMES = (
    *("imdb_reviews/bytes", "imdb_reviews/subwords8k", "lm1b/bytes", "lm1b/subwords8k"),
    *(
        f"tokenized_amazon_reviews/{category}_{encoding}"
        for category in ("Books_v1_02", "Camera_v1_00", "Home_v1_00", "Video_v1_00")
        for encoding in ("bytes", "subwords8k")
    ),
    *(
        f"tokenized_wikipedia/20190301.{language}_{encoding}"
        for language in ("en", "hsb", "ja", "ru", "zh")
        for encoding in ("bytes", "subwords8k")
    ),
)


OURS = "python_source/bytes"


@pytest.fixture
def nothing_prepared(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    catalog._warn_once.cache_clear()


def strings(texts):
    return [part.decode() for part in encoders.to_bytes(texts)]


def test_every_set_that_taskset_draws_is_there():
    assert {*NAMES, OURS} == set(catalog.TEXT_SETS)
    assert not set(catalog.IMAGE_SETS) & set(catalog.TEXT_SETS)
    assert all(map(catalog.is_known, (*NAMES, "mnist")))
    assert not catalog.is_known("none")


@pytest.mark.parametrize("name", NAMES)
def test_stand_ins_have_the_originals_ids_labels_and_proportions(name):
    entry = catalog.text_set(name)
    data = catalog.load_texts(name, "embedded")
    assert tuple(data) == SPLITS
    for texts in data.values():
        assert texts.tokens.dtype == (
            np.uint8 if entry.encoding == "bytes" else np.uint16
        )
        assert texts.tokens.min() >= 1
        assert texts.tokens.max() < entry.vocab_size
        assert texts.lengths.min() >= 1
        np.testing.assert_array_equal(
            texts.starts, np.cumsum(texts.lengths) - texts.lengths
        )
        assert texts.lengths.sum() == len(texts.tokens)
        # Every label comes up, and none is nearly all.
        share = np.bincount(texts.labels) / len(texts.labels)
        assert len(share) == max(1, entry.num_classes)
        assert entry.num_classes == 0 or share.max() < 0.6
    sizes = [len(texts.labels) for texts in data.values()]
    assert sum(sizes) <= embedded_texts.MOST_EXAMPLES
    originals = splits.sizes(entry.sizes, entry.num_valid)
    for size, original in zip(sizes[1:], originals[1:], strict=True):
        share = sum(sizes) * original / sum(originals)
        assert size == pytest.approx(max(share, 128), abs=1)


def test_code_has_no_word_of_the_documentation(recwarn):
    data = catalog.load_texts(OURS, "auto")
    assert not [w for w in recwarn if issubclass(w.category, catalog.StandInWarning)]
    parts = [code for split in SPLITS for code in strings(data[split])]
    assert len(set(parts)) == len(parts) > 3000
    assert "functions of Python" in catalog.describe(OURS, "auto")
    for code in parts[::50]:
        (function,) = ast.parse(code).body
        assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        nodes = (n for n in ast.walk(function) if isinstance(n, ast.FunctionDef))
        assert not any(ast.get_docstring(node) for node in nodes)


@pytest.mark.parametrize("name", ["imdb_reviews", "lm1b"])
def test_both_encodings_have_the_same_examples_and_none_twice(name):
    as_bytes = catalog.load_texts(f"{name}/bytes", "embedded")
    subwords = catalog.load_texts(f"{name}/subwords8k", "embedded")
    model = encoders.subword_model(embedded_texts.documents())
    for split in SPLITS:
        found = encoders.to_subwords(as_bytes[split], model)
        for one, other in zip(found, subwords[split], strict=True):
            np.testing.assert_array_equal(one, other)
    everything = [text for texts in as_bytes.values() for text in strings(texts)]
    assert len(set(everything)) == len(everything)


def test_text_is_that_of_the_documentation():
    from pydoc_data.topics import topics

    language = "\n\n".join(topics.values())
    data = catalog.load_texts("imdb_reviews/bytes", "embedded")["train"]
    for text, label in zip(strings(data), data.labels, strict=True):
        # Paragraphs of one topic, each as it stands there.
        there = [part in language for part in text.split("\n\n")]
        assert all(there) if label == 0 else not all(there)


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("imdb_reviews/subwords8k", 0.85),
        # Of five classes; the largest is 0.3 of all.
        ("tokenized_amazon_reviews/Books_v1_02_subwords8k", 0.6),
    ],
)
def test_labels_can_be_learned_from_windows_of_text(name, least):
    from sklearn.naive_bayes import MultinomialNB

    entry = catalog.text_set(name)
    data = catalog.load_texts(name, "embedded")
    counts = {split: _counts(data[split], entry.vocab_size) for split in data}
    model = MultinomialNB(alpha=0.1).fit(counts["train"], data["train"].labels)
    assert model.score(counts["test"], data["test"].labels) > least


def _counts(texts, vocab_size):
    """How often each token is among an example's first 64."""
    rows = np.zeros((len(texts.labels), vocab_size), np.int32)
    for row, start, length in zip(rows, texts.starts, texts.lengths, strict=True):
        row += np.bincount(
            texts.tokens[start:][: min(length, 64)], minlength=vocab_size
        )
    return rows


def test_passages_by_hand():
    pack = embedded_texts._pack
    assert pack(["aaaa", "bbb", "cc", "ddddddd", "eeee"], 6) == [
        "aaaa\n\nbbb",
        "cc\n\nddddddd",
        "eeee",
    ]
    # What is left is shorter than half, and joins the one before it or is dropped.
    assert pack(["aaaaaa", "bb"], 6) == ["aaaaaa\n\nbb"]
    assert pack(["bb"], 6) == []
    assert pack([], 6) == []
    assert embedded_texts._paragraphs("a\n b\n\n\n  c\n\n \n") == ["a\n b", "  c"]


def test_docstrings_by_hand():
    source = '''"""A module."""
class A:
    """A class."""
    async def f(self):
        """A method."""
        def g():
            """A function inside."""
    class B: """Inside."""
def f():
    """A function."""
x = """No docstring."""
'''
    found = list(embedded_texts._docstrings(ast.parse(source), 1))
    assert found == [
        (1, "A module."),
        (2, "A class."),
        (3, "A method."),
        (4, "A function inside."),
        (2, "Inside."),
        (4, "A function."),
    ]


def test_documents_are_read_once(tmp_path, monkeypatch):
    monkeypatch.setenv("OPT_GYM_CACHE", str(tmp_path))
    roots, expected = [], encoders.from_bytes([b"one", b"two"], [0, 4])
    monkeypatch.setattr(
        embedded_texts, "_read", lambda root: roots.append(root) or expected
    )
    for _ in range(2):
        found = embedded_texts.documents.__wrapped__()
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)
    (root,) = roots
    assert (root / "pydoc_data").is_dir()


def test_a_python_without_sources_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="no source files of the standard"):
        embedded_texts._read(tmp_path)


def test_num_train_num_valid_and_just_train():
    name = "lm1b/bytes"
    whole = catalog.load_texts(name, "embedded")
    size = len(whole["train"].labels)
    # A tenth of 1,000,000 - 6,000 examples.
    some = catalog.load_texts(name, "embedded", num_train=99_400)
    kept = len(some["train"].labels)
    assert kept == pytest.approx(size / 10, abs=1)
    assert strings(some["train"]) == strings(whole["train"])[:kept]
    assert some["test"] is whole["test"]
    least = catalog.load_texts(name, "embedded", num_train=1)
    assert len(least["train"].labels) == catalog.SMALLEST_TRAIN
    same = catalog.load_texts(name, "embedded", num_train=99_400, just_train=True)
    assert tuple(same) == SPLITS
    assert all(texts is some["train"] for texts in same.values())
    # 5,000, 10,000, 10,000 and 25,000 of 50,000.
    imdb = catalog.load_texts("imdb_reviews/bytes", "embedded", num_valid=10_000)
    sizes = np.array([len(texts.labels) for texts in imdb.values()])
    np.testing.assert_allclose(sizes / sizes.sum(), [0.1, 0.2, 0.2, 0.5], atol=0.002)


def test_one_copy_a_process_that_nobody_can_change():
    first = catalog.load_texts("lm1b/bytes", "embedded")["train"]
    assert first is catalog.load_texts("lm1b/bytes", "embedded")["train"]
    for array in first:
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_descriptions_and_the_one_warning(nothing_prepared):
    version = platform.python_version()
    number = sum(
        len(texts.labels)
        for texts in catalog.load_texts("lm1b/bytes", "embedded").values()
    )
    expected = (
        f"lm1b/bytes (stand-in: Python {version}'s own documentation, "
        f"{number:,} passages)"
    )
    assert catalog.describe("lm1b/bytes", "auto") == expected
    imdb = catalog.describe("imdb_reviews/subwords8k", "embedded")
    assert imdb.endswith("passages labelled language or library)")
    amazon = catalog.describe("tokenized_amazon_reviews/Books_v1_02_bytes", "auto")
    assert amazon.endswith("labelled topic, module, class, method or function)")
    with pytest.warns(catalog.StandInWarning, match="lm1b/bytes .stand-in: Python"):
        catalog.load_texts("lm1b/bytes", "auto")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        catalog.load_texts("lm1b/bytes", "auto")
        catalog.load_texts("lm1b/subwords8k", "embedded")


def test_errors_name_what_was_wrong(nothing_prepared):
    with pytest.raises(ValueError, match="'lm1b/byte'; did you mean 'lm1b/bytes'"):
        catalog.load_texts("lm1b/byte", "embedded")
    with pytest.raises(ValueError, match="unknown data set: 'mnits'"):
        catalog.describe("mnits", "embedded")
    with pytest.raises(ValueError, match="unknown data source: 'disk'"):
        catalog.load_texts("lm1b/bytes", "disk")
    with pytest.raises(ValueError, match="num_train must be >= 1, got -3"):
        catalog.load_texts("lm1b/bytes", "embedded", num_train=-3)
    with pytest.raises(ValueError, match="25000 training examples leave none"):
        catalog.load_texts("imdb_reviews/bytes", "embedded", num_valid=12_500)
    message = "no 'wikipedia/20190301.ja' in array_record format"
    with pytest.raises(FileNotFoundError, match=message):
        catalog.load_texts("tokenized_wikipedia/20190301.ja_bytes", "tfds")

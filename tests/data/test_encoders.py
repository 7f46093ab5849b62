"""Token ids: bytes by hand; subwords that give every text back and depend on nothing else."""

import numpy as np
import pytest

from opt_gym.data import embedded_texts, encoders
from opt_gym.runtime import array_files

STRINGS = ["abc", "ü", " ", "\n", "a\tb  c\n\n  d", "日本語 ▁", "\x00\x7f"]


@pytest.fixture(scope="module")
def model():
    return encoders.subword_model(embedded_texts.documents())


@pytest.fixture(scope="module")
def texts():
    return encoders.from_bytes([s.encode() for s in STRINGS], range(len(STRINGS)))


def test_bytes_by_hand():
    texts = encoders.from_bytes([b"ab", "é".encode()], [3, 4])
    assert texts.tokens.dtype == np.uint8
    assert list(texts.tokens) == [98, 99, 196, 170]
    assert list(texts.starts) == [0, 2]
    assert list(texts.lengths) == [2, 2]
    assert list(texts.labels) == [3, 4]
    assert {array.dtype for array in texts[1:]} == {np.dtype(np.int32)}


def test_bytes_come_back(texts):
    assert [part.decode() for part in encoders.to_bytes(texts)] == STRINGS


def test_taking_some_is_what_making_them_alone_gives(texts):
    some = encoders.take(texts, 2, 5)
    alone = encoders.from_bytes([s.encode() for s in STRINGS[2:5]], [2, 3, 4])
    for one, other in zip(some, alone, strict=True):
        np.testing.assert_array_equal(one, other)
    assert np.shares_memory(some.tokens, texts.tokens)
    assert len(encoders.take(texts, 3, 3).tokens) == 0


def test_a_text_of_no_bytes_is_an_error():
    with pytest.raises(ValueError, match="no bytes"):
        encoders.from_bytes([b"a", b""], [0, 0])


def test_subwords_give_every_text_back(texts, model):
    found = encoders.to_subwords(texts, model)
    assert found.tokens.dtype == np.uint16
    assert found.tokens.min() >= 1
    assert found.tokens.max() < encoders.SUBWORDS
    assert found.lengths.min() >= 1
    np.testing.assert_array_equal(found.labels, texts.labels)
    for index, string in enumerate(STRINGS):
        one = encoders.take(found, index, index + 1)
        # sentencepiece writes a space as this sign.
        expected = string.replace("▁", " ")
        assert encoders.decode_subwords(one.tokens, model) == expected


def test_the_vocabulary_is_full_and_shortens_text(model):
    documents = embedded_texts.documents()
    found = encoders.to_subwords(documents, model)
    assert found.tokens.max() == encoders.SUBWORDS - 1
    assert len(np.unique(found.tokens)) > 7000
    assert 3 < len(documents.tokens) / len(found.tokens) < 6


def test_ids_do_not_depend_on_the_run_or_the_number_of_threads(model):
    documents = embedded_texts.documents()
    expected = encoders.to_subwords(documents, model)
    parts = encoders.to_bytes(documents)
    assert encoders.learn_subwords(parts) == model
    other = encoders.to_subwords(documents, encoders.learn_subwords(parts, 3))
    np.testing.assert_array_equal(other.tokens, expected.tokens)


def test_a_vocabulary_is_learned_once(tmp_path, monkeypatch):
    monkeypatch.setenv("OPT_GYM_CACHE", str(tmp_path))
    # Too short for 8k pieces, and more characters than most.
    parts = [f"the cat {chr(0x4E00 + i)} sat".encode() for i in range(50)]
    texts = encoders.from_bytes(parts, [0] * 50)
    model = encoders.subword_model(texts)
    (file,) = (tmp_path / "vocabularies").iterdir()
    kept = array_files.read_arrays(file)
    assert kept is not None
    assert kept["model"].tobytes() == model

    def fail(*arguments):
        raise AssertionError("learned again")

    monkeypatch.setattr(encoders, "learn_subwords", fail)
    assert encoders.subword_model(texts) == model
    with pytest.raises(AssertionError, match="learned again"):
        encoders.subword_model(encoders.take(texts, 0, 40))


def test_a_vocabulary_is_learned_from_the_first_texts(monkeypatch):
    texts = encoders.from_bytes([b"abc"] * 10, [0] * 10)
    monkeypatch.setattr(encoders, "MOST_TRAINING_BYTES", 17)
    assert encoders._training_parts(texts) == [b"abc"] * 5
    monkeypatch.setattr(encoders, "MOST_TRAINING_TEXTS", 2)
    assert encoders._training_parts(texts) == [b"abc"] * 2
    monkeypatch.setattr(encoders, "MOST_TRAINING_BYTES", 1)
    assert encoders._training_parts(texts) == [b"abc"]


def test_characters_that_do_not_fit_are_bytes(monkeypatch):
    parts = ["ab" * 200, "cd" * 20 + "é"]
    encoded = [part.encode() for part in parts]
    assert encoders._coverage(encoded) == 1.0
    monkeypatch.setattr(encoders, "_MOST_CHARACTERS", 4)
    assert encoders._coverage(encoded) == pytest.approx(440 / 441)
    model = encoders.learn_subwords(encoded)
    ids = encoders.to_subwords(encoders.from_bytes(["é".encode()], [0]), model).tokens
    # The two byte pieces, which follow padding and the unused unknown.
    assert list(ids) == [2 + 0xC3, 2 + 0xA9]

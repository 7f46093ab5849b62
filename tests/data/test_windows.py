"""Windows of text: where they start, what pads them, which examples they come from."""

import jax
import numpy as np
import pytest

from opt_gym.data import encoders
from opt_gym.data.windows import sample_windows

LENGTHS = (1, 3, 4, 5, 10)


@pytest.fixture(scope="module")
def texts():
    """Example i has LENGTHS[i] tokens 20 i + 1, 20 i + 2, ... and the label i."""
    parts = [bytes(range(20 * i, 20 * i + n)) for i, n in enumerate(LENGTHS)]
    return encoders.from_bytes(parts, np.arange(len(parts)))


@pytest.fixture(scope="module")
def batch(texts):
    """3,000 windows of four tokens."""
    sample = jax.jit(lambda key, texts: sample_windows(key, texts, 3000, 4))
    return tuple(map(np.asarray, sample(jax.random.key(0), texts)))


def test_types(batch):
    tokens, mask, labels = batch
    assert (tokens.shape, mask.shape, labels.shape) == ((3000, 4), (3000, 4), (3000,))
    assert (tokens.dtype, mask.dtype, labels.dtype) == (np.int32, np.float32, np.int32)


def test_examples_are_drawn_uniformly(batch):
    counts = np.bincount(batch[2], minlength=5)
    # 600 each, standard deviation 22.
    assert np.abs(counts - 600).max() < 110


def test_starts_are_uniform_and_the_last_is_left_out(batch):
    tokens, _, labels = batch
    starts = tokens[labels == 4][:, 0] - 81
    counts = np.bincount(starts)
    # Ten tokens and a window of four: starts 0 ... 5, and never 6.
    assert len(counts) == 6
    assert np.abs(counts - len(starts) / 6).max() < 50
    # Five tokens leave one start of two.
    assert set(tokens[labels == 3][:, 0]) == {61}


def test_windows_are_what_lies_there_and_zeros_after_the_end(batch):
    tokens, mask, labels = batch
    for row, real, label in zip(tokens, mask, labels, strict=True):
        number = min(4, LENGTHS[label])
        assert list(row[:number]) == list(range(row[0], row[0] + number))
        assert row[0] > 20 * label
        assert row[number - 1] <= 20 * label + LENGTHS[label]
        assert not row[number:].any()
        assert list(real) == [1.0] * number + [0.0] * (4 - number)


def test_a_window_longer_than_all_text_is_padded(texts):
    tokens, mask, labels = sample_windows(jax.random.key(1), texts, 20, 40)
    np.testing.assert_array_equal(mask.sum(1), np.take(LENGTHS, labels))
    np.testing.assert_array_equal(np.asarray(tokens) > 0, np.asarray(mask) > 0)


def test_jit_gives_the_same_and_a_key_says_which(texts, batch):
    again = sample_windows(jax.random.key(0), texts, 3000, 4)
    for one, other in zip(batch, again, strict=True):
        np.testing.assert_array_equal(one, other)
    other = sample_windows(jax.random.key(1), texts, 3000, 4)
    assert not np.array_equal(batch[2], other[2])

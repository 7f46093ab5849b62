"""The digest of a data set: what it sees, and what it remembers."""

import gc
import hashlib

import jax.numpy as jnp
import numpy as np

from opt_gym.data import digest
from opt_gym.data.digest import digest_data
from opt_gym.records import Images


def data(labels):
    return {"train": Images(np.zeros((2, 1, 1, 1), np.uint8), labels)}


def test_the_digits_are_those_of_the_arrays_one_after_the_other():
    expected = hashlib.sha256(b"uint8(2, 1, 1, 1)\0\0int32(2,)")
    expected.update(np.array([0, 1], "<i4").tobytes())
    found = digest_data(data(np.array([0, 1], np.int32)))
    assert found == expected.hexdigest()[:16]


def test_it_sees_values_shapes_and_types():
    labels = [
        np.array([0, 1], np.int32),
        np.array([1, 0], np.int32),
        np.array([0, 1], np.int64),
        np.array([[0, 1]], np.int32),
    ]
    digests = [digest_data(data(one)) for one in labels]
    assert len(set(digests)) == len(digests)
    assert digest_data(data(jnp.asarray(labels[0]))) == digests[0]
    assert digest_data(data(labels[0][::1])) == digests[0]
    assert digest_data({"train": 3}) != digest_data({"train": 4})


def test_arrays_are_hashed_once_and_forgotten_with_them(monkeypatch):
    one = data(np.array([5, 6], np.int32))
    number = len(digest._known)
    found = digest_data(one)
    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "sha256", None)
        assert digest_data(dict(one)) == found
    del one
    gc.collect()
    assert len(digest._known) == number

import copy
import pickle
import tracemalloc

import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.spaces import Box
from gymnasium.vector.utils import batch_space

from opt_gym.gym.spaces import BroadcastBox


def box() -> BroadcastBox:
    return BroadcastBox(-1.0, 1.0, (4, 2))


def test_equals_the_box_of_the_same_bounds() -> None:
    plain = Box(-1.0, 1.0, (4, 2), np.float32)
    assert box() == plain
    assert plain == box()
    assert repr(box()) == repr(plain)
    assert box() == BroadcastBox(-1.0, 1.0, (4, 2))
    assert box() != BroadcastBox(-1.0, 1.0, (2, 4))
    assert box() != BroadcastBox(-1.0, 2.0, (4, 2))
    assert box() != BroadcastBox(-np.inf, 1.0, (4, 2))


def test_samples_what_a_box_of_the_same_seed_samples() -> None:
    for low, high in ((-1.0, 1.0), (-np.inf, np.inf)):
        ours = BroadcastBox(low, high, (4, 2), seed=3)
        plain = Box(low, high, (4, 2), np.float32, seed=3)
        sample = ours.sample()
        np.testing.assert_array_equal(sample, plain.sample())
        assert sample in ours


@pytest.mark.parametrize(
    ("x", "inside"),
    [
        (np.zeros((4, 2), np.float32), True),
        (jnp.zeros((4, 2)), True),
        (np.full((4, 2), 1.5, np.float32), False),
        (np.full((4, 2), np.nan, np.float32), False),
        (np.zeros((2, 4), np.float32), False),
        (np.zeros((4, 2), np.complex64), False),
    ],
)
def test_contains(x, inside) -> None:
    assert box().contains(x) is inside


def test_copies_and_pickles_keep_bounds_and_random_state() -> None:
    original = BroadcastBox(-1.0, 1.0, (4, 2), seed=5)
    original.sample()
    for again in (copy.deepcopy(original), pickle.loads(pickle.dumps(original))):
        assert again == original
        assert again.low.shape == (4, 2)
        assert again.low.strides == (0, 0)
        np.testing.assert_array_equal(again.sample(), copy.deepcopy(original).sample())


def test_batches_with_its_own_class() -> None:
    batched = batch_space(box(), 5)
    assert isinstance(batched, BroadcastBox)
    assert batched == batch_space(Box(-1.0, 1.0, (4, 2), np.float32), 5)
    assert batched.is_bounded()
    assert not BroadcastBox(-np.inf, 1.0, (2,)).is_bounded("below")


def test_takes_no_memory_at_network_size() -> None:
    # A plain Box of this shape stores 400 MB.
    tracemalloc.start()
    space = batch_space(BroadcastBox(-np.inf, np.inf, (20_000, 31)), 64)
    again = copy.deepcopy(space)
    size = len(pickle.dumps(space))
    assert space == again
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000
    assert size < 10_000

"""Made-up sequences: what a batch looks like, and the loss on it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from opt_gym.records import SPLITS, Batch
from opt_gym.tasks import sequence

CONFIG = {
    "kind": "associative",
    "length": 3,
    "num_tokens": 5,
    "batch_size": 40,
    "core": ["gru", {"core_dim": 4}],
}


def test_an_associative_batch_asks_for_the_value_of_one_of_its_keys(key):
    batch = sequence.associative(key, 40, 3, 5)
    inputs, targets = np.asarray(batch.inputs), np.asarray(batch.targets)
    keys, values = inputs[:, :6:2], inputs[:, 1:6:2]
    assert inputs.shape == targets.shape == batch.mask.shape == (40, 8)
    assert inputs.dtype == targets.dtype == np.int32
    assert all(len(set(row)) == 3 for row in keys)
    assert keys.min() == values.min() == 0
    assert keys.max() == values.max() == 4
    assert (inputs[:, 6] == 6).all()
    asked = keys == inputs[:, 7:]
    assert (asked.sum(axis=1) == 1).all()
    # Every place is asked for, and every id comes first.
    assert asked.any(axis=0).all()
    assert set(keys[:, 0]) == set(range(5))
    assert (targets[:, :-1] == 5).all()
    np.testing.assert_array_equal(targets[:, -1], values[asked])
    np.testing.assert_array_equal(batch.mask, np.arange(8)[None, :].repeat(40, 0) == 7)


def test_all_tokens_can_be_keys(key):
    batch = sequence.associative(key, 10, 5, 5)
    assert (np.sort(batch.inputs[:, :10:2], axis=1) == np.arange(5)).all()


def test_a_copy_batch_repeats_its_ids(key):
    batch = sequence.copy(key, 30, 4, 6)
    inputs, targets = np.asarray(batch.inputs), np.asarray(batch.targets)
    assert inputs.shape == targets.shape == (30, 9)
    assert inputs.dtype == targets.dtype == np.int32
    assert set(inputs[:, :4].ravel()) == set(range(6))
    assert (inputs[:, 4] == 6).all()
    assert (inputs[:, 5:] == 7).all()
    assert (targets[:, :5] == 0).all()
    np.testing.assert_array_equal(targets[:, 5:], inputs[:, :4])
    np.testing.assert_array_equal(batch.mask[0], [0, 0, 0, 0, 0, 1, 1, 1, 1])


def test_batches_follow_from_the_key_alone(key):
    task = sequence.SPEC.make(CONFIG)
    data = task.load_data("embedded")
    assert {split: data[split].shape for split in data} == dict.fromkeys(SPLITS, (0,))
    draw = jax.jit(lambda key: task.sample_batch(key, data, (), "test"))
    first, again, other = draw(key), draw(key), draw(jax.random.key(9))
    np.testing.assert_array_equal(first.inputs, again.inputs)
    assert (first.inputs != other.inputs).any()


def test_loss_and_accuracy_by_hand():
    task = sequence.SPEC.make({**CONFIG, "kind": "copy", "num_tokens": 1})
    params, _ = task.init(jax.random.key(0), {})
    # The last layer sees nothing but its bias: three ids, the second the most likely.
    params = (*params[:-2], jnp.zeros((4, 3)), jnp.log(jnp.array([0.2, 0.5, 0.3])))
    mask = np.array([[1, 0, 1, 1]], np.float32)
    batch = Batch(np.zeros((1, 4), np.int32), np.array([[1, 1, 0, 2]], np.int32), mask)
    loss, aux = task.loss(jax.random.key(0), params, (), batch)
    np.testing.assert_allclose(loss, -np.log(0.5 * 0.2 * 0.3) / 3, rtol=1e-6)
    np.testing.assert_allclose(aux["accuracy"], 1 / 3, rtol=1e-6)
    even = (*params[:-1], jnp.zeros(3))
    loss, aux = task.loss(jax.random.key(0), even, (), batch)
    np.testing.assert_allclose([loss, aux["accuracy"]], [np.log(3), 1 / 3], rtol=1e-6)


def test_copying_is_learned():
    """A GRU that is trained on one id to copy among two soon knows it."""
    config = {**CONFIG, "kind": "copy", "length": 1, "num_tokens": 2, "batch_size": 16}
    task = sequence.SPEC.make({**config, "core": ["gru", {"core_dim": 8}]})

    def step(params, key):
        batch = task.sample_batch(key, {}, (), "train")

        def loss(params):
            return task.loss(key, params, (), batch)

        (_, aux), grad = jax.value_and_grad(loss, has_aux=True)(params)
        return jax.tree.map(lambda p, g: p - g, params, grad), aux["accuracy"]

    @jax.jit
    def train(key):
        params, _ = task.init(key, {})
        return jax.lax.scan(step, params, jax.random.split(key, 300))[1]

    accuracies = train(jax.random.key(1))
    assert 0.2 < float(accuracies[:5].mean()) < 0.8
    assert float(accuracies[-20:].mean()) > 0.99


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "copi"}, "sequence: unknown kind: 'copi'"),
        ({"length": 6}, "num_tokens must be >= length, 6.*got 5"),
        ({"length": 0}, "length must be an integer >= 1, got 0"),
        ({"batch_size": 1.5}, "batch_size must be an integer >= 1, got 1.5"),
        ({"core": ["gru", {"core_dim": -1}]}, "sequence: core gru: core_dim.*-1"),
        ({"tokens": 3}, "unknown key: 'tokens'"),
    ],
)
def test_a_bad_config_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        sequence.SPEC.make({**CONFIG, **change})

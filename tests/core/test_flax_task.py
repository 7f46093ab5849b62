"""The user's own model as a task."""

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest

import opt_gym
from opt_gym.records import SPLITS

RNG = np.random.default_rng(0)
X = RNG.normal(size=(100, 6)).astype(np.float32)
Y = RNG.integers(0, 3, 100)


class Net(nn.Module):
    norm: bool = False

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(5)(x)
        if self.norm:
            x = nn.BatchNorm(use_running_average=False)(x)
        x = nn.Dropout(0.5, deterministic=False)(nn.relu(x))
        return nn.Dense(3)(x)


def cross_entropy(outputs, batch):
    losses = optax.softmax_cross_entropy_with_integer_labels(outputs, batch.targets)
    return losses.mean(), {"accuracy": (outputs.argmax(-1) == batch.targets).mean()}


def test_it_trains_and_its_loss_is_the_module_s():
    task = opt_gym.task_from_flax(Net(), cross_entropy, (X, Y), batch_size=10)
    data = task.load_data("auto")
    assert [len(data[split].inputs) for split in SPLITS] == [70, 10, 10, 10]
    assert sorted(task.roles) == ["bias", "bias", "kernel", "kernel"]
    key = jax.random.key(0)
    params, instance = task.init(key, data)
    batch = task.sample_batch(key, data, instance, "train")
    loss, aux = task.loss(key, params, instance, batch)
    outputs = Net().apply({"params": params}, batch.inputs, rngs={"dropout": key})
    np.testing.assert_allclose(loss, cross_entropy(outputs, batch)[0], rtol=1e-6)
    assert 0 <= float(aux["accuracy"]) <= 1
    env = opt_gym.make(task)
    assert env.normalizer.source == "provisional"


def test_what_a_task_cannot_be_is_said():
    with pytest.raises(ValueError, match=r"Net has the collections \['batch_stats'\]"):
        opt_gym.task_from_flax(Net(norm=True), cross_entropy, (X, Y))
    with pytest.raises(ValueError, match=r"one length, got \[100, 99\]"):
        opt_gym.task_from_flax(Net(), cross_entropy, (X, Y[1:]))
    with pytest.raises(ValueError, match="splits must be 4 positive shares"):
        opt_gym.task_from_flax(
            Net(), cross_entropy, (X, Y), splits=(0.9, 0.9, 0.1, 0.1)
        )
    with pytest.raises(ValueError, match="leave the split 'valid_outer' empty"):
        opt_gym.task_from_flax(Net(), cross_entropy, (X[:5], Y[:5]))
    with pytest.raises(ValueError, match="batch_size must be >= 1, got 0"):
        opt_gym.task_from_flax(Net(), cross_entropy, (X, Y), batch_size=0)

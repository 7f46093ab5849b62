"""Fine-tuning starts where the base ended, and moves what it says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import opt_gym
from opt_gym import plugins, twins
from opt_gym.records import Batch
from opt_gym.tasks import fine_tuning
from opt_gym.tasks.building import base_weights

CODE = [
    "python_source/bytes",
    {"patch_length": 32, "batch_size": 16, "num_valid": 500},
]
FULL = {
    "family": "fine_tuning",
    "base": "english_transformer",
    "adapter": "full",
    "dataset": CODE,
}
LOW = {**FULL, "adapter": "low_rank", "rank": 2, "scale": 3.0}


def begun(config):
    """(task, φ, ψ, a batch) of a config."""
    task = opt_gym.make_task(config)
    params, instance = jax.jit(task.init)(jax.random.key(0), {})
    words = "the loss of a network is the mean over all of its examples"
    tokens = jnp.asarray([[ord(letter) + 1 for letter in words[:32]]])
    return task, params, instance, Batch(tokens, None)


def test_both_begin_as_the_base_and_the_base_was_trained():
    base = base_weights.load("english_transformer")
    plain = opt_gym.make_task({**base.config, "dataset": CODE})
    task, params, instance, batch = begun(FULL)
    jax.tree.map(np.testing.assert_array_equal, params, base.params)
    key = jax.random.key(2)
    found, _ = jax.jit(task.loss)(key, params, instance, batch)
    expected, _ = jax.jit(plain.loss)(key, base.params, (), batch)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    fresh, _ = jax.jit(plain.init)(key, {})
    assert found < jax.jit(plain.loss)(key, fresh, (), batch)[0] - 1.0
    low, params, instance, batch = begun(LOW)
    found, _ = jax.jit(low.loss)(key, params, instance, batch)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_low_rank_step_is_one_of_the_kernels_alone():
    task, params, (fixed, _), batch = begun(LOW)
    base = base_weights.load("english_transformer")
    plain = opt_gym.make_task({**base.config, "dataset": CODE})
    kernels = [
        place
        for place, role in enumerate(plain.roles)
        if role == "kernel" and base.params[place].ndim == 2
    ]
    assert len(params) == 2 * len(kernels) == 2 * 8
    assert task.roles == ("kernel",) * 16
    random = np.random.default_rng(0)
    moved = [
        jnp.asarray(0.1 * random.standard_normal(leaf.shape), "f4") for leaf in params
    ]
    whole = [np.array(leaf) for leaf in base.params]
    for i, place in enumerate(kernels):
        a, b = moved[2 * i], moved[2 * i + 1]
        assert a.shape == (whole[place].shape[0], 2)
        assert b.shape == (2, whole[place].shape[1])
        whole[place] = whole[place] + 3.0 * np.asarray(a) @ np.asarray(b)
    key = jax.random.key(2)
    found, _ = jax.jit(task.loss)(key, tuple(moved), (fixed, ()), batch)
    expected, _ = jax.jit(plain.loss)(key, tuple(whole), (), batch)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("name", base_weights.names())
def test_every_base_is_a_task_and_tells_its_training(name):
    base = base_weights.load(name)
    task = opt_gym.make_task(base.config)
    shapes, _ = jax.eval_shape(lambda: task.init(jax.random.key(0), {}))
    assert [leaf.shape for leaf in shapes] == [leaf.shape for leaf in base.params]
    assert base.training["last_loss"] < 0.5 * base.training["first_loss"]
    assert set(fine_tuning.OTHERS) == set(base_weights.names())
    for other, settings in fine_tuning.OTHERS[name]:
        is_image = "bs" in base.config["dataset"][1]
        size = {"bs": 4} if is_image else {"batch_size": 4}
        dataset = [other, {**settings, **size}, *([None] if is_image else [])]
        opt_gym.make_task({**FULL, "base": name, "dataset": dataset})


def test_configs_of_seeds_can_be_built():
    spec = plugins.spec("task", "fine_tuning")
    assert spec.sample_config is not None
    seen = set()
    for seed in range(20):
        config = spec.sample_config(seed)
        seen.add((config["base"], config["adapter"]))
        opt_gym.make_task({"family": "fine_tuning", **config})
        assert twins.twin({"family": "fine_tuning", **config})["base"] == config["base"]
    assert len(seen) == 4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"base": "english_transforme"}, "english_transformer"),
        ({"adapter": "prefix"}, "adapter"),
        ({"rank": 2}, "rank must be given with the adapter low_rank"),
        ({"adapter": "low_rank", "rank": 2}, "scale must be given"),
        ({"adapter": "low_rank", "rank": 0, "scale": 1.0}, "rank must be"),
        (
            {"dataset": ["lm1b/bytes", {"patch_length": 9, "batch_size": 2}]},
            "dataset must be of the shape",
        ),
    ],
)
def test_what_cannot_be_is_named(change, said):
    with pytest.raises(ValueError, match=said):
        plugins.spec("task", "fine_tuning").make({**FULL, **change})

"""Tiny twins: what they keep, what they shrink, and who has none."""

import jax
import numpy as np
import pytest

import opt_gym
from envs_registry import names
from opt_gym import twins
from opt_gym.tasks import named

KEPT = ("family", "activation", "w_init", "center_data", "strides", "num_bijectors")


def twin_of(name):
    return twins.twin(opt_gym.task_config(name))


@pytest.mark.parametrize("family", names.INFEASIBLE_SEEDS)
def test_twins_of_every_family(family):
    for seed in (1, 503):
        config = opt_gym.task_config(f"{family}_family_seed{seed}")
        tiny = opt_gym.task_config(f"{family}_family_seed{seed}_tiny")
        assert tiny == twins.twin(config)
        assert twins.twin(tiny) == tiny
        assert twins.num_weights(tiny) <= twins.MOST_WEIGHTS
        assert {k: tiny.get(k) for k in KEPT} == {k: config.get(k) for k in KEPT}
        task, plain = opt_gym.make_task(tiny), opt_gym.make_task(config)
        assert task.batch_size == plain.batch_size
        assert task.roles == plain.roles
        assert task.dataset == plain.dataset


QUICK = {"xla_backend_optimization_level": 0}


@pytest.mark.parametrize(
    "name",
    [
        "conv_fc_family_seed25",  # infeasible at its own size
        "word_rnn_language_model_family_seed0",
        "Conv3_cifar100_10way_seed9_bs128",
    ],
)
def test_a_twin_trains(name):
    task = opt_gym.make_task(twin_of(name))
    data = task.load_data("embedded")
    key = jax.random.key(0)
    params, instance = jax.jit(task.init, compiler_options=QUICK)(key, data)
    batch = task.sample_batch(jax.random.key(1), data, instance, "train")

    def loss(params):
        return task.loss(jax.random.key(2), params, instance, batch)[0]

    value, grad = jax.jit(jax.value_and_grad(loss), compiler_options=QUICK)(params)
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grad))


def test_every_named_task_has_one_or_says_why():
    without = []
    for name in named.TASKS:
        try:
            twin_of(name)
        except ValueError as error:
            without.append((name, str(error)))
    large = "resnet: no tiny twin: 335,154 weights with the narrowest layers, more than 60,000"
    assert without == [
        ("ResNet34_cifar10_bs128", large),
        ("ResNet34_imagenet32_10way_seed0_bs128", large),
    ]


def test_the_rules_by_hand():
    tiny = twin_of("conv_fc_family_seed12")
    assert tiny["dataset"][1] == {
        "bs": 8,
        "just_train": False,
        "num_train": None,
        "size": 8,
        "ways": [10, 0],
    }
    # 8 -> 3 -> 3 -> 1 pixels: the last convolution would meet a map of one.
    assert tiny["padding"] == ["VALID", "SAME", "VALID", "SAME"]
    text = twin_of("word_rnn_language_model_family_seed500")
    assert text["vocab_size"] == 512
    assert text["dataset"][1]["patch_length"] == 4  # an eighth of 28 is less
    cropped = opt_gym.task_config("mlp_family_seed3")  # 2 of 28 pixels
    assert twins.twin(cropped)["dataset"][2]["crop_amount"] == 1
    assert twins.twin(cropped)["layer_sizes"] == cropped["layer_sizes"]


def test_sizes_that_cannot_be():
    config = opt_gym.task_config("mlp_family_seed3_tiny")
    for size in (0, 29, 8.0, None):
        config["dataset"][1]["size"] = size
        with pytest.raises(ValueError, match=r"size must be an integer, 1 \.\.\. 28"):
            opt_gym.make_task(config)
    with pytest.raises(ValueError, match="unknown task: 'nonsense'"):
        opt_gym.task_config("nonsense_tiny")

"""Named tasks of our own: residual networks, 10-way subsets of classes, code, and a valley.

The 10-way tasks are those that learned optimizers of conv nets were trained on: a small
convnet, each time another 10 classes. "ways": [10, k] draws the classes from seed k.

Source: He et al. 2016, arXiv 1512.03385 (residual networks); Metz et al. 2019, arXiv
1810.10180 (3-layer convnets on 10-way subsets). differs: the sizes below are ours, and the
layers of a convnet are those of TaskSet's fixed tasks.
"""

from typing import Any

from opt_gym.tasks.named.common import SONNET, Config, core

BATCH_SIZE, TEXT_BATCH_SIZE = 128, 32
IMAGENET = "imagenet_resized/32x32"
SEEDS = range(10)


def _subset(name: str, seed: int) -> list[Any]:
    return [name, {"bs": BATCH_SIZE, "ways": [10, seed]}, None]


def _resnet(blocks: list[int], dataset: list[Any]) -> Config:
    return {
        "family": "resnet",
        "blocks": blocks,
        "width": 16,
        "groups": 8,
        "activation": "relu",
        "w_init": ["he_normal", None],
        "dataset": dataset,
        "center_data": True,
    }


def _conv3(dataset: list[Any]) -> Config:
    return {
        "family": "conv_pooling",
        "strides": [[2, 2], [1, 1], [1, 1]],
        "hidden_units": [32, 32, 32],
        "activation": "relu",
        "w_init": SONNET,
        "padding": ["SAME"] * 3,
        "pool_type": "mean",
        "use_bias": True,
        "dataset": dataset,
        "center_data": True,
    }


def _source_code(net: list[Any]) -> Config:
    settings = {"patch_length": 64, "batch_size": TEXT_BATCH_SIZE, "num_valid": 500}
    return {
        "family": "char_rnn_language_model",
        "embed_dim": 32,
        "w_init": SONNET,
        "vocab_size": 128,
        "core": net,
        "trainable_init": False,
        "dataset": ["python_source/bytes", settings],
    }


_CIFAR10 = ["cifar10", {"bs": BATCH_SIZE}, None]
_RESNET14, _RESNET34 = [2, 2, 2], [3, 4, 6, 3]

TASKS: dict[str, Config] = {
    "ResNet14_cifar10_bs128": _resnet(_RESNET14, _CIFAR10),
    "ResNet34_cifar10_bs128": _resnet(_RESNET34, _CIFAR10),
    "ResNet14_imagenet32_10way_seed0_bs128": _resnet(_RESNET14, _subset(IMAGENET, 0)),
    "ResNet34_imagenet32_10way_seed0_bs128": _resnet(_RESNET34, _subset(IMAGENET, 0)),
    **{
        f"Conv3_imagenet32_10way_seed{k}_bs128": _conv3(_subset(IMAGENET, k))
        for k in SEEDS
    },
    **{
        f"Conv3_cifar100_10way_seed{k}_bs128": _conv3(_subset("cifar100", k))
        for k in SEEDS
    },
    **{
        f"PythonSource_{net.upper()}{units}_patch64_bs{TEXT_BATCH_SIZE}": _source_code(
            core(net, units)
        )
        for net, units in (("gru", 64), ("lstm", 64), ("vrnn", 96), ("irnn", 96))
    },
    "TwoD_HalfSquaredDifference": {
        "family": "losg_tasks",
        "kind": "optimization_test_problems",
        "settings": {"problem": "half_squared_difference", "noise_stdev": 0.0},
        "problem_seed": 0,
    },
}
"""Name -> config."""

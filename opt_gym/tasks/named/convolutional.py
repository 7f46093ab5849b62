"""The fixed convolutional tasks: classifiers, autoencoders, variational ones."""

from typing import Any

from opt_gym.tasks.named.common import CONTRIB, SONNET, Config, images


def _pooled(
    data: str,
    units: list[int],
    bs: int,
    activation: str = "relu",
    *,
    w_init: list[Any] = SONNET,
    pool: str = "mean",
    norm: str = "none",
) -> Config:
    return {
        "family": "conv_pooling",
        "strides": [[2, 2]] + [[1, 1]] * (len(units) - 1),
        "hidden_units": units,
        "activation": activation,
        "w_init": w_init,
        "padding": ["SAME"] * len(units),
        "pool_type": pool,
        "use_bias": True,
        "dataset": images(data, bs),
        "center_data": False,
        "norm": norm,
        "head_w_init": SONNET,
    }


def _flattened(
    data: str,
    units: list[int],
    fc: list[int],
    bs: int,
    activation: str = "relu",
    w_init: list[Any] = SONNET,
) -> Config:
    return {
        "family": "conv_fc",
        "strides": [[2, 2]] + [[1, 1]] * (len(units) - 1),
        "hidden_units": units,
        "activation": activation,
        "w_init": w_init,
        "padding": ["SAME"] * len(units),
        "fc_hidden_units": fc,
        "use_bias": True,
        "dataset": images(data, bs),
        "center_data": False,
    }


def _conv_ae(
    data: str, encoder: list[int], latent: int, decoder: list[int], bs: int = 128
) -> Config:
    return {
        "family": "conv_ae",
        "enc_hidden_units": encoder,
        "latent_size": latent,
        "dec_hidden_units": decoder,
        "activation": "relu",
        "w_init": SONNET,
        "dataset": images(data, bs),
    }


def _conv_vae(
    data: str, encoder: list[int], latent: int, decoder: list[int], bs: int = 128
) -> Config:
    config = _conv_ae(data, encoder, latent, decoder, bs)
    return {**config, "family": "conv_vae"}


_CIFAR = "FixedImageConv_cifar10_32x64x128"
_WIDE = [32, 64, 128, 128]
CLASSIFIERS: dict[str, Config] = {
    "FixedImageConv_cifar10_32x64x64_bs128": _pooled("cifar10", [32, 64, 64], 128),
    "FixedImageConv_cifar10_32x64x64_tanh_bs64": _pooled(
        "cifar10", [32, 64, 64], 64, "tanh"
    ),
    f"{_CIFAR}_he_bs64": _pooled(
        "cifar10", [32, 64, 128], 64, "tanh", w_init=["he_normal", None], pool="max"
    ),
    f"{_CIFAR}_normal_bs64": _pooled(
        "cifar10", [32, 64, 128], 64, "tanh", w_init=["random_normal", 0.02]
    ),
    f"{_CIFAR}_largenormal_bs64": _pooled(
        "cifar10", [32, 64, 128], 64, "tanh", w_init=["random_normal", 0.2]
    ),
    f"{_CIFAR}_smallnormal_bs64": _pooled(
        "cifar10", [32, 64, 128], 64, "tanh", w_init=["random_normal", 0.002]
    ),
    "FixedImageConv_cifar10_32x64x128x128x128_avg_he_bs64": _pooled(
        "cifar10", [32, 64, 128, 128, 128], 64, "tanh", w_init=["he_normal", None]
    ),
    "FixedImageConv_cifar10_batchnorm_32x64x64_bs128": _pooled(
        "cifar10", [32, 64, 64], 128, norm="batch"
    ),
    "FixedImageConv_cifar10_batchnorm_32x32x32x64x64_bs128": _pooled(
        "cifar10", [32, 32, 32, 64, 64], 128, norm="batch"
    ),
    "FixedImageConv_food101_batchnorm_32x32x32x64x64_bs128": _pooled(
        "food101_32x32", [32, 32, 32, 64, 64], 128, norm="batch"
    ),
    "FixedImageConv_cifar100_bn_32x64x128x128_bs128": _pooled(
        "cifar100", _WIDE, 128, norm="batch"
    ),
    "FixedImageConv_coil10032x32_bn_32x64x128x128_bs128": _pooled(
        "coil100_32x32", _WIDE, 128, norm="batch"
    ),
    "FixedImageConv_sun39732x32_bn_32x64x128x128_bs128": _pooled(
        "sun397_32x32", _WIDE, 128, norm="batch"
    ),
    "FixedImageConv_cifar10_32x64x64_flatten_bs128": _flattened(
        "cifar10", [32, 64, 64], [], 128
    ),
    "FixedImageConv_cifar10_32x64x64_fc_64_bs128": _flattened(
        "cifar10", [32, 64, 64], [64], 128
    ),
    "FixedImageConv_mnist_32x64x64_fc_64_bs128": _flattened(
        "mnist", [32, 64, 64], [64], 128
    ),
    "Mnist_Conv_32x16x64_flatten_FC32_tanh_bs32": _flattened(
        "mnist", [32, 16, 64], [32], 32, "tanh"
    ),
    f"{_CIFAR}_flatten_FC64x32_tanh_he_bs8": _flattened(
        "cifar10", [32, 64, 128], [64, 32], 8, "tanh", ["he_normal", None]
    ),
    f"{_CIFAR}_flatten_FC64x32_tanh_variance_scaling_bs64": _flattened(
        "cifar10", [32, 64, 128], [64, 32], 64, "tanh", CONTRIB
    ),
    "FixedImageConv_cifar100_32x64x128_FC64x32_tanh_variance_scaling_bs64": _flattened(
        "cifar100", [32, 64, 128], [64, 32], 64, "tanh", CONTRIB
    ),
    "FixedImageConv_cifar100_32x64x64_flatten_bs128": _flattened(
        "cifar100", [32, 64, 64], [], 128
    ),
    "FixedImageConv_food10164x64_Conv_32x64x64_flatten_bs64": _flattened(
        "food101_64x64", [32, 64, 64], [], 64
    ),
    "FixedImageConv_colorectalhistology32x32_32x64x64_flatten_bs128": _flattened(
        "colorectal_histology_32x32", [32, 64, 64], [], 128
    ),
}

GENERATIVE: dict[str, Config] = {
    "FixedImageConvAE_mnist_32x32x32x32x32_bs128": _conv_ae(
        "mnist", [32, 32], 32, [32, 32]
    ),
    "FixedImageConvAE_mnist_32x64x8x64x32_bs128": _conv_ae(
        "mnist", [32, 64], 8, [64, 32]
    ),
    # The name says that the decoder is 64x32.
    "FixedImageConvAE_mnist_32x64x32x64x32_bs512": _conv_ae(
        "mnist", [32, 64], 32, [64, 64], 512
    ),
    "FixedImageConvAE_cifar10_32x32x32x32x32_bs128": _conv_ae(
        "cifar10", [32, 32], 32, [32, 32]
    ),
    "FixedImageConvAE_cifar10_32x64x8x64x32_bs128": _conv_ae(
        "cifar10", [32, 64], 8, [64, 32]
    ),
    "FixedImageConvVAE_mnist_32x32x32x32x32_bs128": _conv_vae(
        "mnist", [32, 32], 32, [32, 32]
    ),
    # The name says mnist.
    "FixedImageConvVAE_mnist_32x64x32x64x32_bs128": _conv_vae(
        "cifar10", [32, 64], 32, [64, 32]
    ),
    "FixedImageConvVAE_cifar10_32x64x128x64x32_bs128": _conv_vae(
        "cifar10", [32, 64], 128, [64, 32]
    ),
    "FixedImageConvVAE_mnist_64x128x128x128x64_bs128": _conv_vae(
        "mnist", [64, 128], 128, [128, 64]
    ),
    "FixedImageConvVAE_cifar10_64x128x256x128x256x128x64_bs128": _conv_vae(
        "cifar10", [64, 128, 256], 128, [256, 128, 64]
    ),
    "FixedImageConvVAE_cifar10_32x64x128x64x128x64x32_bs128": _conv_vae(
        "cifar10", [32, 64, 128], 64, [128, 64, 32]
    ),
    "FixedImageConvVAE_cifar10_32x64x128x64x128x64x32_bs512": _conv_vae(
        "cifar10", [32, 64, 128], 64, [128, 64, 32], 512
    ),
}

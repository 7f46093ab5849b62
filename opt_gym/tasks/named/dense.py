"""The fixed MLPs, autoencoders and flows."""

from typing import Any

from opt_gym.tasks.named.common import SONNET, Config, images


def _mlp(data: str, sizes: list[int], activation: str = "relu", **more: Any) -> Config:
    return {
        "family": "mlp",
        "layer_sizes": sizes,
        "activation": activation,
        "w_init": SONNET,
        "dataset": images(data, 128),
        "center_data": False,
        **more,
    }


def _mlp_ae(data: str, sizes: list[int]) -> Config:
    return {
        "family": "mlp_ae",
        "hidden_units": sizes,
        "activation": "relu",
        "w_init": SONNET,
        "dataset": images(data, 128),
        "output_type": "sigmoid",
        "loss_type": "l2",
        "reduction_type": "reduce_mean",
    }


def _mlp_vae(data: str, encoder: list[int], decoder: list[int], bs: int) -> Config:
    """The last of `encoder` is the latent size."""
    return {
        "family": "mlp_vae",
        "enc_hidden_units": encoder,
        "dec_hidden_units": decoder,
        "activation": "relu",
        "w_init": SONNET,
        "dataset": images(data, bs),
        "center_data": True,
    }


def _flow(
    family: str, data: str, units: list[int], num_bijectors: int, w_init: str
) -> Config:
    return {
        "family": family,
        "activation": "relu",
        "w_init": [w_init, None],
        "dataset": images(data, 64),
        "hidden_units": units,
        "num_bijectors": num_bijectors,
    }


_THREE = [128, 128, 128]

MLPS: dict[str, Config] = {
    "FixedMLP_cifar10_mse_128x128x128_relu_bs128": _mlp("cifar10", _THREE, loss="mse"),
    "FixedMLP_cifar10_ce_128x128x128_relu_bs128": _mlp("cifar10", _THREE),
    "FixedMLP_mnist_mse_128x128x128_relu_bs128": _mlp("mnist", _THREE, loss="mse"),
    "FixedMLP_mnist_ce_128x128x128_relu_bs128": _mlp("mnist", _THREE),
    "FixedMLP_food10132x32_mse_128x128x128_relu_bs128": _mlp(
        "food101_32x32", _THREE, loss="mse"
    ),
    "FixedMLP_food10132x32_ce_128x128x128_relu_bs128": _mlp("food101_32x32", _THREE),
    "FixedMLP_cifar10_Dropout05_128x128_relu_bs128": _mlp(
        "cifar10", [128, 128], keep=0.5
    ),
    "FixedMLP_cifar10_Dropout08_128x128_relu_bs128": _mlp(
        "cifar10", [128, 128], keep=0.8
    ),
    "FixedMLP_cifar10_Dropout02_128x128_relu_bs128": _mlp(
        "cifar10", [128, 128], keep=0.2
    ),
    "FixedMLP_cifar10_LayerNorm_128x128x128_relu_bs128": _mlp(
        "cifar10", _THREE, norm="layer"
    ),
    "FixedMLP_cifar10_LayerNorm_128x128x128_tanh_bs128": _mlp(
        "cifar10", _THREE, "tanh", norm="layer"
    ),
    "FixedMLP_cifar10_BatchNorm_128x128x128_relu_bs128": _mlp(
        "cifar10", _THREE, norm="frozen_batch"
    ),
    "FixedMLP_cifar10_BatchNorm_64x64x64x64x64_relu_bs128": _mlp(
        "cifar10", [64] * 5, norm="frozen_batch"
    ),
}

AUTOENCODERS: dict[str, Config] = {
    "FixedMLPAE_mnist_32x32x32_bs128": _mlp_ae("mnist", [32, 32, 32]),
    "FixedMLPAE_mnist_128x32x128_bs128": _mlp_ae("mnist", [128, 32, 128]),
    "FixedMLPAE_cifar10_128x32x128_bs128": _mlp_ae("cifar10", [128, 32, 128]),
}

VARIATIONAL: dict[str, Config] = {
    "FixedMLPVAE_cifar101_128x32x128_bs128": _mlp_vae("cifar10", [128, 32], [128], 128),
    "FixedMLPVAE_cifar101_128x128x32x128x128_bs128": _mlp_vae(
        "cifar10", [128, 128, 32], [128, 128], 128
    ),
    "FixedMLPVAE_mnist_128x8x128x128_bs128": _mlp_vae(
        "mnist", [128, 8], [128, 128], 128
    ),
    "FixedMLPVAE_mnist_128x128x8x128_bs128": _mlp_vae(
        "mnist", [128, 128, 8], [128], 128
    ),
    "FixedMLPVAE_mnist_128x64x32x64x128_bs64": _mlp_vae(
        "mnist", [128, 64, 32], [64, 128], 64
    ),
    "FixedMLPVAE_food10132x32_128x64x32x64x128_bs64": _mlp_vae(
        "food101_32x32", [128, 64, 32], [64, 128], 64
    ),
    # The name says imagenet.
    "Imagenet32x30_FC_VAE_128x64x32x64x128_relu_bs256": _mlp_vae(
        "food101_32x32", [128, 64, 32], [64, 128], 256
    ),
}

MAFS: dict[str, Config] = {
    "FixedMAF_mnist_2layer_bs64": _flow(
        "maf", "mnist", [2048, 2048], 2, "glorot_normal"
    ),
    "FixedMAF_mnist_3layer_thin_bs64": _flow(
        "maf", "mnist", [128, 128], 3, "glorot_normal"
    ),
    "FixedMAF_cifar10_3layer_bs64": _flow(
        "maf", "cifar10", [1024, 1024], 3, "glorot_normal"
    ),
}

NVPS: dict[str, Config] = {
    "FixedNVP_mnist_2layer_bs64": _flow(
        "nvp", "mnist", [2048, 2048], 2, "glorot_uniform"
    ),
    "FixedNVP_mnist_5layer_bs64": _flow(
        "nvp", "mnist", [2048, 2048], 5, "glorot_uniform"
    ),
    "FixedNVP_mnist_5layer_thin_bs64": _flow(
        "nvp", "mnist", [128, 128], 5, "glorot_uniform"
    ),
    "FixedNVP_mnist_3layer_thin_bs64": _flow(
        "nvp", "mnist", [128, 128], 3, "glorot_uniform"
    ),
    # The name says batches of 16.
    "FixedNVP_mnist_9layer_thin_bs16": _flow(
        "nvp", "mnist", [128, 128], 9, "glorot_uniform"
    ),
}

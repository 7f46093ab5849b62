"""Seconds from `gym.make(id)` to the first observation: a new process, an empty cache."""

import tempfile
from pathlib import Path
from typing import Any

import opt_gym
from benchmarks import _families, _fresh

HEAVY = (
    "FixedMAF_mnist_2layer_bs64",
    "FixedMAF_cifar10_3layer_bs64",
    "FixedNVP_mnist_5layer_bs64",
    "FixedImageConv_food10164x64_Conv_32x64x64_flatten_bs64",
    "Associative_LSTM256_BS128_Pairs40_Tokens100",
    "Copy_LSTM256_BS128_Length40_Tokens50",
    "FixedTextRNNClassification_imdb_patch128_LSTM128_embed128_bs64",
    "FixedImageConvVAE_cifar10_64x128x256x128x256x128x64_bs128",
    "FixedLM_lm1b_patch128_LSTM256_embed64_avg_bs128",
)
"""The fixed tasks that look the slowest to begin."""


def alone() -> dict[str, Any]:
    """All ids; there is no baseline."""
    return run()


def run() -> dict[str, Any]:
    """By name: seconds of make, of reset and of both; imports and data included."""
    rows = {name: measure(name) for name in names()}
    worst = max(row["to_observation"] for row in rows.values())
    return {
        **{name: _families.rounded(row) for name, row in rows.items()},
        "worst": worst,
    }


def names() -> list[str]:
    """Each family without a seed, each one's seed 0, heavy fixed tasks, most words."""
    families = list(_families.PLAIN)
    seeds = [f"{family}_family_seed0" for family in families]
    return [*families, *seeds, *HEAVY, most_words()]


def most_words() -> str:
    """The word-level language model of the seeds 0 ... 99 with the largest vocabulary."""
    family = "word_rnn_language_model_family"
    return max(
        (f"{family}_seed{seed}" for seed in range(100)),
        key=lambda name: opt_gym.task_config(name)["vocab_size"],
    )


def measure(name: str) -> dict[str, float]:
    """One row."""
    with tempfile.TemporaryDirectory() as folder:
        return _fresh.in_a_process("observe", f"OptTask-{name}-v0", Path(folder))

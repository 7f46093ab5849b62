"""The fixed recurrent and two-dimensional tasks."""

from typing import Any

from opt_gym.tasks.named.common import SONNET, Config, core


def _language_model(net: list[Any]) -> Config:
    return {
        "family": "char_rnn_language_model",
        "embed_dim": 64,
        "w_init": SONNET,
        "vocab_size": 256,
        "core": net,
        "trainable_init": True,
        "dataset": ["lm1b/bytes", {"patch_length": 128, "batch_size": 128}],
        "masked": True,
    }


def _text_classification(
    net: list[Any], length: int, bs: int, *, embed: int = 64, compute: str = "last"
) -> Config:
    # Tokens reach 8,184 only: the upper rows of the embedding are never used.
    settings = {"bs": bs, "patch_length": length, "max_token": 10000}
    return {
        "family": "rnn_text_classification",
        "embed_dim": embed,
        "w_init": SONNET,
        "dataset": ["imdb_reviews/subwords8k", settings],
        "vocab_size": 10000,
        "core": net,
        "trainable_init": True,
        "loss_compute": compute,
    }


def _sequence(kind: str, length: int, tokens: int, net: list[Any]) -> Config:
    """`length` is the number of pairs, or of tokens to copy."""
    return {
        "family": "sequence",
        "kind": kind,
        "length": length,
        "num_tokens": tokens,
        "batch_size": 128,
        "core": net,
    }


def _two_d(kind: str, settings: dict[str, Any]) -> Config:
    return {
        "family": "losg_tasks",
        "kind": kind,
        "settings": {**settings, "noise_stdev": 0.0},
        "problem_seed": 0,
    }


def _bowl(cond: float) -> Config:
    # Where TensorFlow's generator starts all replicas, as its own code showed when run; the
    # same holds for the functions below.
    start = [0.74733257, 0.39200512]
    return _two_d("bowl", {"cond": cond, "angle": 0.0, "initial": start})


def _test_function(problem: str, start: list[float]) -> Config:
    settings = {"problem": problem, "initial": start}
    return _two_d("optimization_test_problems", settings)


_ASSOCIATIVE = (
    ("lstm", 128, 5, 20),
    ("lstm", 128, 20, 50),
    ("lstm", 256, 40, 100),
    ("lstm", 128, 10, 50),
    ("gru", 128, 10, 50),
    ("vrnn", 128, 10, 50),
    ("lstm", 256, 20, 50),
    ("gru", 256, 20, 50),
    ("vrnn", 256, 20, 50),
)
_COPY = (
    ("lstm", 128, 5, 10),
    ("lstm", 128, 20, 20),
    ("lstm", 128, 50, 5),
    ("lstm", 128, 20, 10),
    ("gru", 128, 20, 10),
    ("vrnn", 128, 20, 10),
    ("lstm", 256, 40, 50),
    ("gru", 256, 40, 50),
    ("vrnn", 256, 40, 50),
)

SEQUENCES: dict[str, Config] = {
    f"Associative_{net.upper()}{units}_BS128_Pairs{length}_Tokens{tokens}": _sequence(
        "associative", length, tokens, core(net, units)
    )
    for net, units, length, tokens in _ASSOCIATIVE
} | {
    f"Copy_{net.upper()}{units}_BS128_Length{length}_Tokens{tokens}": _sequence(
        "copy", length, tokens, core(net, units)
    )
    for net, units, length, tokens in _COPY
}

TWO_D: dict[str, Config] = {
    **{f"TwoD_Bowl{cond}": _bowl(float(cond)) for cond in (1, 10, 100, 1000)},
    "TwoD_Rosenbrock": _test_function("rosenbrock", [5.506175, -2.403282]),
    "TwoD_Ackley": _test_function("ackley", [13.134182, -21.422768]),
    "TwoD_Beale": _test_function("beale", [1.8037052, -2.9419692]),
    "TwoD_StyblinskiTang": _test_function("StyblinskiTang", [2.004117, -3.2688546]),
}

LANGUAGE_MODELS: dict[str, Config] = {
    f"FixedLM_lm1b_patch128_{net.upper()}{units}_embed64_avg_bs128": _language_model(
        core(net, units)
    )
    for net, units in (
        ("gru", 64),
        ("gru", 128),
        ("gru", 256),
        ("lstm", 128),
        ("lstm", 256),
    )
}

_LSTM = core("lstm", 128)
_TEXT = {
    "patch32_LSTM128_bs128": _text_classification(_LSTM, 32, 128),
    "patch128_LSTM128_bs64": _text_classification(_LSTM, 128, 64),
    "patch32_LSTM128_E128_bs128": _text_classification(_LSTM, 32, 128, embed=128),
    "patch128_LSTM128_embed128_bs64": _text_classification(_LSTM, 128, 64, embed=128),
    "patch128_LSTM128_avg_bs64": _text_classification(_LSTM, 128, 64, compute="avg"),
    "patch32_GRU128_bs128": _text_classification(core("gru", 128), 32, 128),
    "patch32_GRU64_avg_bs128": _text_classification(
        core("gru", 64), 32, 128, compute="avg"
    ),
    "patch32_VRNN128_tanh_bs128": _text_classification(core("vrnn", 128), 32, 128),
    "patch32_VRNN64_tanh_avg_bs128": _text_classification(
        core("vrnn", 64), 32, 128, compute="avg"
    ),
    "patch32_VRNN64_relu_avg_bs128": _text_classification(
        core("vrnn", 64, "relu"), 32, 128, compute="avg"
    ),
    "patch32_IRNN64_relu_avg_bs128": _text_classification(
        core("irnn", 64, "relu"), 32, 128, compute="avg"
    ),
    "patch32_IRNN64_relu_last_bs128": _text_classification(
        core("irnn", 64, "relu"), 32, 128
    ),
}
TEXT_CLASSIFICATION: dict[str, Config] = {
    f"FixedTextRNNClassification_imdb_{name}": config for name, config in _TEXT.items()
}

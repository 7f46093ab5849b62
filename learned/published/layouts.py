"""How the θ of our architectures lie in other people's files, leaf by leaf.

A layout is a function of θ, a tree of numpy arrays, to their leaves. It only moves numbers:
transposes, splits, joins. What it does to the numbers of the places in θ is therefore how to
get back, and which shapes their leaves have; see `published_formats`.

Haiku has weights [inputs, outputs], torch and we [outputs, inputs].
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from learned.published.published_files import Leaves

FEATURE_BLOCKS = (1, 1, 1, 3, 1, 3, 1, 3, 1, 3, 3, 3, 3, 3)
"""The 30 features of VeLO and its heirs, as first layers that are split have them."""

NN_ADAM_INPUTS = (
    *("mean_m_mag", "mean_rms", "mean_p_mag", "mean_g_mag"),
    *("var_m", "var_rms", "var_p", "var_g", "mean_gabs_mag"),
    *("mean_m_sign", "mean_sign", "mean_p_sign", "mean_g_sign"),
    *("is_scalar", "is_bias", "lr", "beta1", "beta2", "epsilon"),
)
"""Their names of what NNAdam's LSTM reads, in our order: theirs is that of the alphabet."""

RNN_MLP_INPUTS = (
    *("g_norm", "norm_weight", "mean_ms_mag", "mean_rms", "mean_v_mag"),
    *("var_ms", "var_rms", "var_v", "mean_ms_sign", "mean_sign", "mean_v_sign"),
    *("is_scalar", "shape_0", "shape_1", "shape_2", "shape_3"),
    *("train_loss_feat", "valid_loss_feat"),
)
"""The same of RNNMLPLOpt's, behind its message and its feedback."""

RNN_MLP_SHARED = (*range(12), 13, 12)
"""Where what a tensor's parameters share lies in theirs: the norm is before the size."""


def haiku_linear(name: str, theta: Any) -> Leaves:
    """`hk.Linear`."""
    return {f"{name}/w": theta["w"].T, f"{name}/b": theta["b"]}


def haiku_lstm(name: str, theta: Any, inputs: Sequence[str] = ()) -> Leaves:
    """`hk.LSTM`: inputs and hidden units side by side; inputs by name where they have some."""
    of_inputs = theta["w_inputs"]
    if inputs:
        of_inputs = of_inputs[:, np.argsort(inputs, kind="stable")]
    weights = np.concatenate([of_inputs, theta["w_hidden"]], axis=1)
    return {f"{name}/linear/w": weights.T, f"{name}/linear/b": theta["b"]}


def haiku_start(theta: Any) -> Leaves:
    """`hk.LSTMState` of a batch of one."""
    return {f"lstm_init_state/{part}": theta[part][None] for part in ("hidden", "cell")}


def layers(theta: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """(weights, biases) of every layer of a `perceptron`, what is shared in the first."""
    first = [theta["w_rows"], *([theta["w_shared"]] if "w_shared" in theta else [])]
    rest = [(layer["w"], layer["b"]) for layer in theta["rest"]]
    return [(np.concatenate(first, axis=1), theta["b"]), *rest]


def haiku_mlp(name: str, theta: Any) -> Leaves:
    """`hk.nets.MLP`."""
    found: Leaves = {}
    for i, (w, b) in enumerate(layers(theta)):
        found |= {f"{name}/~/linear_{i}/w": w.T, f"{name}/~/linear_{i}/b": b}
    return found


def numbered_layers(name: str, theta: Any) -> Leaves:
    """Layers with names of their own: w0, b0, w1, b1, ..."""
    found: Leaves = {}
    for i, (w, b) in enumerate(layers(theta)):
        found |= {f"{name}/w{i}": w.T, f"{name}/b{i}": b}
    return found


def split_layers(name: str, theta: Any) -> Leaves:
    """The same, the first layer in pieces w0__0, w0__1, ...; with an axis of banks or not."""
    found: Leaves = {}
    for i, (w, b) in enumerate(zip(*_weights_and_biases(theta), strict=True)):
        w = np.swapaxes(w, -1, -2)
        pieces = {f"{name}/w{i}": w} if i else _pieces(f"{name}/w0__", w)
        found |= {**pieces, f"{name}/b{i}": b}
    return found


def _weights_and_biases(theta: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rest = theta["rest"]
    return (
        [theta["w_rows"], *(layer["w"] for layer in rest)],
        [theta["b"], *(layer["b"] for layer in rest)],
    )


def _pieces(name: str, weights: np.ndarray) -> Leaves:
    """Of weights [..., 30, outputs]."""
    edges = np.cumsum(FEATURE_BLOCKS)[:-1]
    parts = np.split(weights, edges, axis=-2)
    return {f"{name}{i}": part for i, part in enumerate(parts)}


def adafac_mlp(theta: Any) -> Leaves:
    """`AdafacMLPLOpt`."""
    decays = theta["decays"]
    return {
        "momentum_decays": decays["momentum"],
        "rms_decays": decays["second_moment"],
        "adafactor_decays": decays["factored"],
        **numbered_layers("nn/~", theta["net"]),
    }


def mlp(theta: Any) -> Leaves:
    """`MLPLOpt`."""
    return haiku_mlp("mlp", theta)


def nn_adam(theta: Any) -> Leaves:
    """`NNAdam`."""
    names = ("lr", "beta1", "beta2", "epsilon")
    scaled = theta["start"]["scaled"]
    return {
        **haiku_start(theta["start"]),
        **haiku_lstm("rnn_params/rnn", theta["lstm"], NN_ADAM_INPUTS),
        **haiku_linear("rnn_to_controls_params/rnn_to_controls", theta["out"]),
        **{f"per_layer_{name}": scaled[i] for i, name in enumerate(names)},
    }


def rnn_mlp(theta: Any) -> Leaves:
    """`RNNMLPLOpt`."""
    start, net = theta["start"], theta["mlp"]
    inputs = (
        *("from_lstm",) * len(start["message"]),
        *("from_mlp",) * len(start["feedback"]),
        *RNN_MLP_INPUTS,
    )
    shared = [*RNN_MLP_SHARED, *range(14, net["w_shared"].shape[1])]
    net = {**net, "w_shared": net["w_shared"][:, shared]}
    return {
        "initial_from_lstm": start["message"],
        "initial_from_mlp": start["feedback"],
        **haiku_start(start),
        **haiku_lstm("rnn_params/rnn", theta["lstm"], inputs),
        **haiku_linear("rnn_to_ff_params/rnn_to_ff", theta["advice"]),
        **haiku_linear("rnn_to_in_params/rnn_to_in", theta["message"]),
        **haiku_mlp("ffmod_params/mlp", net),
    }


def celo_adam(theta: Any) -> Leaves:
    """The scheduler that `HyperV2`, `Celo` and Celo-Adam have in common."""
    return {
        **haiku_start(theta["start"]),
        **haiku_linear("rnn_params/linear", theta["unused"]),
        **haiku_linear("rnn_params/linear_1", theta["messages"]),
        **haiku_linear("rnn_params/linear_2", theta["inputs"]),
        **haiku_lstm("rnn_params/rnn", theta["lstm"]),
        **haiku_linear("rnn_params/step_size", theta["multiplier"]),
    }


def velo(theta: Any) -> Leaves:
    """`HyperV2`, and `Celo`."""
    return {
        **celo_adam(theta),
        **haiku_linear("rnn_params/rnn_to_controls", theta["controls"]),
        **split_layers("ff_mod_stack/~", theta["banks"]),
    }


def celo2(theta: Any) -> Leaves:
    """`Celo2Base` and `Celo2`."""
    return split_layers("ff_mod_stack/~", theta["net"])


def torch_linear(name: str, w: np.ndarray, b: np.ndarray) -> Leaves:
    """`torch.nn.Linear`."""
    return {f"{name}.weight": w, f"{name}.bias": b}


def pylo_mlp(theta: Any) -> Leaves:
    """PyLO's `MetaMLP`."""
    first, *middle, last = layers(theta["net"])
    found = torch_linear("network.input", *first)
    for i, layer in enumerate(middle):
        found |= torch_linear(f"network.linear_{i}", *layer)
    return found | torch_linear("network.output", *last)


def pylo_velo(theta: Any) -> Leaves:
    """PyLO's `VeLORNN` and `VeLOMLP` together."""
    lstm, banks = theta["lstm"], theta["banks"]
    weights = np.concatenate([lstm["w_inputs"], lstm["w_hidden"]], axis=1)
    linears = {
        "mix_layer1": theta["unused"],
        "mix_layer2": theta["messages"],
        "final_mix_layer": theta["inputs"],
        "lstm.linear": {"w": weights, "b": lstm["b"]},
        "rnn_to_controls": theta["controls"],
        "step_size": theta["multiplier"],
    }
    found: Leaves = {}
    for name, linear in linears.items():
        found |= torch_linear(name, linear["w"], linear["b"])
    for i, part in enumerate(("hidden", "cell")):
        found[f"lstm_init_state.{i}"] = theta["start"][part][None]
    *middle, last = banks["rest"]
    found |= _pylo_bank("input_{}_", {"w": banks["w_rows"], "b": banks["b"]})
    for i, layer in enumerate(middle):
        found |= _pylo_bank(f"hidden_{{}}_.{i}", layer)
    return found | _pylo_bank("output_{}_", last)


def _pylo_bank(name: str, layer: Any) -> Leaves:
    return {name.format("weights"): layer["w"], name.format("bias"): layer["b"]}


def pylo_celo2(theta: Any) -> Leaves:
    """PyLO's `CELO2MLP`."""
    weights, biases = _weights_and_biases(theta["net"])
    found = {**_pieces("w0.", weights[0].T), "b0": biases[0]}
    for i, (w, b) in enumerate(zip(weights[1:], biases[1:], strict=True)):
        found |= {f"dense_w.{i}": w.T, f"dense_b.{i}": b}
    return found

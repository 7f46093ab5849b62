"""The four recurrent cores of TaskSet: their settings, tensors and cells.

Source: Metz et al. 2020, arXiv 2002.11887 (google-research/task_set); Sonnet 1.36
VanillaRNN, GRU and LSTM; Le et al. 2015, arXiv 1504.00941 (IRNN).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from opt_gym.tasks.building import config_checks
from opt_gym.tasks.building.activations import ACTIVATIONS
from opt_gym.tasks.building.initializers import SONNET, Initializer
from opt_gym.tasks.building.model import Tensor, bias

GLOROT: Initializer = ("glorot_uniform", None)
"""TensorFlow's default, which Sonnet's GRU leaves weights and biases to."""


class Gate(NamedTuple):
    """A nonlinearity whose derivative follows from its value.

    Attributes:
        of: what enters -> value.
        pull: (value, gradient of the value) -> gradient of what entered.
    """

    of: Callable[[Array], Array]
    pull: Callable[[Array, Array], Array]


class Cell(NamedTuple):
    """One time step but for its matmuls, with inputs x and recurrent matrices U₀ (and U₁).

    first = gates[0](x + (h U₀ + bias)); where there is an `operand`, second = gates[1](x +
    operand(first, h) U₁), each with its own columns of x. Then the new state is
    update((first, second), state).

    Attributes:
        gates: one, or two where there is an `operand`.
        update: (the gates' values, state) -> state; state[0] is the output h.
        operand: (first, h) -> [b, H], or None.
    """

    gates: tuple[Gate, ...]
    update: Callable[[tuple[Array, ...], tuple[Array, ...]], tuple[Array, ...]]
    operand: Callable[[Array, Array], Array] | None = None


SIGMOID = Gate(jax.nn.sigmoid, lambda value, d_value: d_value * value * (1.0 - value))
TANH = Gate(jnp.tanh, lambda value, d_value: d_value * (1.0 - value * value))
IDENTITY = Gate(lambda x: x, lambda value, d_value: d_value)


class Weights(NamedTuple):
    """A core's φ as a cell takes it.

    Shapes: inputs [i, g]; bias [g]; recurrent[i] [H, gᵢ]; recurrent_bias [g₀] or None.
    """

    inputs: Array
    bias: Array
    recurrent: tuple[Array, ...]
    recurrent_bias: Array | None = None


class RecurrentCore(NamedTuple):
    """A recurrent core.

    Attributes:
        units: H.
        num_states: arrays in a state: 1, or 2 (LSTM: hidden, cell).
        tensors: of φ, in creation order.
        arrange: φ's tensors -> Weights.
        cell: what happens in a step.
    """

    units: int
    num_states: int
    tensors: tuple[Tensor, ...]
    arrange: Callable[[tuple[Array, ...]], Weights]
    cell: Cell


def make_core(where: str, value: Any, fan_in: int) -> RecurrentCore:
    """The core of a config's `core`: [name, {"core_dim": H, initializers, ...}].

    "vrnn": h' = act(x Wᵢ + bᵢ + h Wₕ + bₕ). "irnn": the same, Wₕ begins as the identity.
    "gru": z, r = σ(x W + h U + b); g = tanh(x W + (r h) U + b); h' = (1 - z) h + z g.
    "lstm": i, j, f, o = [x, h] W + b; c' = σ(f + 1) c + σ(i) tanh(j); h' = tanh(c') σ(o).
    An initializer that is left out is Sonnet's default.

    Args:
        where: whose config it is, for errors.
        value: to be checked.
        fan_in: the width of an input.

    Raises:
        ValueError: anything in it that cannot be used, by name.
    """
    pair = isinstance(value, list | tuple) and len(value) == 2
    expected = '[name, {"core_dim": units, ...}]'
    config_checks.check(where, "core", value, pair, expected)
    name, settings = value
    config_checks.check_choice(where, "core", name, list(CORES))
    make, required, initializers = CORES[name]
    inside = f"{where}: core {name}"
    config_checks.check_keys(inside, settings, ("core_dim", *required), initializers)
    config_checks.check_int(inside, "core_dim", settings["core_dim"], 1)
    for key in initializers:
        if key in settings:
            config_checks.check_initializer(inside, key, settings[key])
    if "act_fn" in required:
        known = list(ACTIVATIONS)
        config_checks.check_choice(inside, "act_fn", settings["act_fn"], known)
    return make(settings, fan_in)


def _init(settings: dict[str, Any], key: str, default: Initializer) -> Initializer:
    name, scale = settings.get(key, default)
    return name, scale


def _vanilla(
    settings: dict[str, Any], fan_in: int, recurrent: Initializer = SONNET
) -> RecurrentCore:
    units, activation = settings["core_dim"], ACTIVATIONS[settings["act_fn"]]
    hidden = _init(settings, "hidden_to_hidden", recurrent)
    tensors = (
        Tensor((fan_in, units), "kernel", _init(settings, "in_to_hidden", SONNET)),
        bias(units),
        Tensor((units, units), "kernel", hidden),
        bias(units),
    )

    def arrange(params: tuple[Array, ...]) -> Weights:
        inputs, b_in, recurrent, b_hidden = params
        # The two biases could be one, but for the rounding: seed 17 of the word models has
        # a relu whose input is 3e-8.
        return Weights(inputs, b_in, (recurrent,), b_hidden)

    # Any activation, not all of which have a derivative in terms of their value.
    cell = Cell((IDENTITY,), lambda gates, state: (activation(gates[0]),))
    return RecurrentCore(units, 1, tensors, arrange, cell)


def _identity(settings: dict[str, Any], fan_in: int) -> RecurrentCore:
    return _vanilla(settings, fan_in, ("identity", None))


def _gru_operand(first: Array, h: Array) -> Array:
    return first[:, h.shape[1] :] * h


def _gru_update(
    gates: tuple[Array, ...], state: tuple[Array, ...]
) -> tuple[Array, ...]:
    (first, g), (h,) = gates, state
    return (h + first[:, : h.shape[1]] * (g - h),)


GRU = Cell((SIGMOID, TANH), _gru_update, _gru_operand)


def _gru(settings: dict[str, Any], fan_in: int) -> RecurrentCore:
    units = settings["core_dim"]
    tensors: list[Tensor] = []
    for gate in "zrh":
        inputs = _init(settings, f"w{gate}", GLOROT)
        recurrent = _init(settings, f"u{gate}", GLOROT)
        tensors += [
            Tensor((fan_in, units), "kernel", inputs),
            Tensor((units, units), "kernel", recurrent),
            Tensor((units,), "bias", GLOROT),
        ]

    def arrange(params: tuple[Array, ...]) -> Weights:
        wz, uz, bz, wr, ur, br, wh, uh, bh = params
        return Weights(
            jnp.concatenate([wz, wr, wh], axis=1),
            jnp.concatenate([bz, br, bh]),
            (jnp.concatenate([uz, ur], axis=1), uh),
        )

    return RecurrentCore(units, 1, tuple(tensors), arrange, GRU)


def _four(x: Array) -> list[Array]:
    """Input gate, candidate, forget gate, output gate."""
    return jnp.split(x, 4, axis=1)


def _lstm_gates(entering: Array) -> Array:
    i, j, f, o = _four(entering)
    gates = (SIGMOID.of(i), TANH.of(j), SIGMOID.of(f + 1.0), SIGMOID.of(o))
    return jnp.concatenate(gates, axis=1)


def _lstm_pull(value: Array, d_value: Array) -> Array:
    kinds = (SIGMOID, TANH, SIGMOID, SIGMOID)
    parts = zip(kinds, _four(value), _four(d_value), strict=True)
    return jnp.concatenate([kind.pull(v, d) for kind, v, d in parts], axis=1)


def _lstm_update(
    gates: tuple[Array, ...], state: tuple[Array, ...]
) -> tuple[Array, ...]:
    i, j, f, o = _four(gates[0])
    c = f * state[1] + i * j
    return jnp.tanh(c) * o, c


LSTM = Cell((Gate(_lstm_gates, _lstm_pull),), _lstm_update)


def _lstm(settings: dict[str, Any], fan_in: int) -> RecurrentCore:
    units = settings["core_dim"]
    deviation = 1.0 / math.sqrt(fan_in + units)
    init = _init(settings, "w_gates", SONNET)
    tensors = (
        Tensor((fan_in + units, 4 * units), "kernel", init),
        # Not zeros, and whatever the initializer of the weights.
        Tensor((4 * units,), "bias", ("truncated", deviation)),
    )

    def arrange(params: tuple[Array, ...]) -> Weights:
        weights, b = params
        return Weights(weights[:fan_in], b, (weights[fan_in:],))

    return RecurrentCore(units, 2, tensors, arrange, LSTM)


Make = Callable[[dict[str, Any], int], RecurrentCore]

_IN_AND_HIDDEN = ("in_to_hidden", "hidden_to_hidden")
CORES: dict[str, tuple[Make, tuple[str, ...], tuple[str, ...]]] = {
    "vrnn": (_vanilla, ("act_fn",), _IN_AND_HIDDEN),
    "irnn": (_identity, ("act_fn",), ("in_to_hidden",)),
    "gru": (_gru, (), ("wh", "wz", "wr", "uh", "uz", "ur")),
    "lstm": (_lstm, (), ("w_gates",)),
}
"""Name -> (how it is made, keys it needs besides core_dim, initializers it may have)."""

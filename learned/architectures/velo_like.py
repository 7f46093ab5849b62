"""Networks made of banks, mixed by an LSTM of every tensor: VeLO, and Celo as a special case.

    x_i: what is seen of tensor i and of the run (features "velo", 18 + 12 numbers)
    y_i = W x_i + b + max over tensors j of relu(W' x_j + b')           unit by unit
    (h_i, s_i) = LSTM(y_i, s_i),  s_i at first in θ
    c_i = C h_i + b_C  (one number a bank),  ρ_i = r·h_i + b_r
    N_i = 100 · mean over banks k of c_ik · bank_k                      weights of an MLP
    (d, m) = N_i(30 scaled features of a parameter)      30 -> 4 -> 4 -> 3, relu
    Δφ = −0.001 · ρ_i · √(mean φ² + 1e-9) · d · exp(0.001 · m)

Gradients are clipped to ±1000. ρ may be negative, as published. The third output is in θ and
never computed. Haiku's draws: truncated normal of standard deviation 1/√fan_in (cut at two of
them, not corrected), biases and first states of zero.

    form="celo"   x_i has the 18 numbers of the run alone, so that tensors which have seen the
                  same steps have the same ρ; ρ = 0.1·exp(r·h + b_r); N_i = mean over k of
                  softmax(c_i)_k · bank_k. It was trained with one bank (with K of them, the
                  mean makes the weights at the start K times as small)
    scaled=False  ρ = 1: the published first phase of training Celo, of the banks alone; in
                  the second these are held and all else is trained, with scaled=True

Named faults of the published code, all off by default:

    bugged_lstm_state     s_i never changes (in the published checkpoint of VeLO)
    bugged_loss_features  see features "velo" (in the same checkpoint)
    unused_layer          θ has one more layer like W', which nothing reads (in VeLO and Celo:
                          the message was meant to have two layers)

Configurations (all with unused_layer=True; else 15,872, 3,968 and 1,216 fewer):

    lstm_hidden=512, num_banks=256            2,320,385 weights: VeLO
    lstm_hidden=128, num_banks=64               162,305: the default of its code, HyperV2
    form="celo", lstm_hidden=64, num_banks=1     37,089: Celo

It needs the loss and the horizon.

differs: beyond the horizon its times stand still. A tensor without a gradient sends no
message.
"""

from typing import Any

import jax
from jaxtyping import PRNGKeyArray, PyTree

from learned.building import scheduler
from learned.building.cells import lstm_theta
from learned.building.networks import (
    direction_and_magnitude,
    perceptron,
    perceptron_theta,
)
from learned.building.scheduler import linear, linear_theta
from opt_gym import plugins
from opt_gym.checks import check_counts
from opt_gym.maths.accumulators import leaves
from opt_gym.maths.array_namespace import mean_square, namespace
from opt_gym.maths.limits import hold
from opt_gym.plugins import Spec, unknown
from opt_gym.records import LearnedOptimizer, Memory, Observation, Signal

FORMS = ("velo", "celo")
NUM_OUTPUTS = 3
MIXED = 100.0


def make(
    form: str = "velo",
    lstm_hidden: int = 64,
    num_banks: int = 16,
    hidden: int = 4,
    num_layers: int = 2,
    scaled: bool = True,
    bugged_lstm_state: bool = False,
    bugged_loss_features: bool = False,
    unused_layer: bool = False,
    step_multiplier: float = 0.001,
    exp_multiplier: float = 0.001,
) -> LearnedOptimizer:
    """The learned optimizer "velo_like".

    Args:
        form: "velo" or "celo".
        lstm_hidden: units of the LSTM and of the messages.
        num_banks: networks to mix.
        hidden, num_layers: of a bank: units of a hidden layer, hidden layers.
        scaled: multiply the steps by ρ.
        bugged_lstm_state, bugged_loss_features, unused_layer: the faults named above.
        step_multiplier, exp_multiplier: constants of the action map.

    Raises:
        ValueError: an unknown form, or a size < 1.
    """
    if form not in FORMS:
        raise ValueError(unknown("form", form, list(FORMS)))
    check_counts(
        lstm_hidden=lstm_hidden,
        num_banks=num_banks,
        hidden=hidden,
        num_layers=num_layers,
    )
    constants = {"step_multiplier": step_multiplier, "exp_multiplier": exp_multiplier}
    seen = {
        "tensor_numbers": form == "velo",
        "bugged_loss_features": bugged_loss_features,
    }
    features = plugins.build("features", "velo", seen)
    num_inputs = len(features.shared_names) + len(features.tensor_names)

    def bank(key: PRNGKeyArray) -> PyTree:
        units = (*[hidden] * num_layers, NUM_OUTPUTS)
        return perceptron_theta(key, len(features.row_names), 0, units)

    def init_theta(key: PRNGKeyArray) -> PyTree:
        keys = jax.random.split(key, 7)
        theta = {
            "inputs": linear_theta(keys[0], lstm_hidden, num_inputs),
            "messages": linear_theta(keys[1], lstm_hidden, num_inputs),
            "lstm": lstm_theta(keys[2], lstm_hidden, lstm_hidden),
            "start": scheduler.start_theta(lstm_hidden),
            "controls": linear_theta(keys[3], num_banks, lstm_hidden),
            "multiplier": linear_theta(keys[4], 1, lstm_hidden),
            "banks": jax.vmap(bank)(jax.random.split(keys[5], num_banks)),
        }
        if unused_layer:
            theta["unused"] = linear_theta(keys[6], lstm_hidden, num_inputs)
        return theta

    def init(theta: PyTree, params: PyTree, roles: tuple[str, ...]) -> Memory:
        return Memory(tuple(scheduler.begin(theta, leaf) for leaf in leaves(params)))

    def step(
        theta: PyTree, carry: Memory, signal: Signal, observation: Observation
    ) -> tuple[Memory, tuple]:
        params = leaves(signal.params)
        if not params:  # no tensor to take a maximum over
            return carry, (signal.params, signal.params)
        outputs, states = scheduler.advance(theta, carry.tensors, observation)
        nets = _mixed(theta, outputs, form)
        multipliers = _multipliers(theta, outputs, form, scaled)
        moved = [
            perceptron(
                _network(nets, i, multipliers[i] * _rms(param)),
                observation.tensors[i],
                param,
            )
            for i, param in enumerate(params)
        ]
        action = direction_and_magnitude(signal.params, moved)
        return carry if bugged_lstm_state else Memory(states), action

    return LearnedOptimizer(
        features=features,
        action_map=plugins.build("action", "direction_magnitude", constants),
        needs=features.needs,
        init_theta=init_theta,
        init=init,
        step=step,
    )


def _mixed(theta: PyTree, outputs: Any, form: str) -> PyTree:
    """The weights of the networks, with a leading axis of tensors."""
    xp = namespace(outputs)
    controls = linear(theta["controls"], outputs)
    if form == "celo":
        powers = xp.exp(controls - xp.max(controls, axis=0, keepdims=True))
        shares = powers / xp.sum(powers, axis=0, keepdims=True)
    else:
        shares = MIXED * controls
    shares = shares.T / shares.shape[0]

    def mix(bank: Any) -> Any:
        flat = xp.reshape(bank, (bank.shape[0], -1))
        return xp.reshape(shares @ flat, (-1, *bank.shape[1:]))

    return jax.tree.map(mix, theta["banks"])


def _multipliers(theta: PyTree, outputs: Any, form: str, scaled: bool) -> Any:
    """ρ of every tensor."""
    if not scaled:
        return namespace(outputs).ones_like(outputs[0])
    return scheduler.multipliers(theta, outputs, positive=form == "celo")


def _network(nets: PyTree, index: int, factor: Any) -> PyTree:
    """That of one tensor, without its third output; factor · d costs it no product."""
    xp = namespace(factor)
    net = jax.tree.map(lambda leaf: leaf[index], nets)
    *before, last = net["rest"]
    factors = xp.stack([factor, xp.ones_like(factor)])
    last = {"w": factors[:, None] * last["w"][:2], "b": factors * last["b"][:2]}
    return {**net, "rest": [*before, last]}


def _rms(param: Any) -> Any:
    return namespace(param).sqrt(mean_square(hold(param)) + 1e-9)


SPEC = Spec(
    kind="architecture",
    name="velo_like",
    make=make,
    source="Metz et al. 2022 (VeLO), arXiv:2211.09760; google/learned_optimization, "
    "research/general_lopt/hyper_v2.py; Moudgil et al. 2025 (Celo), arXiv:2501.12670",
)

"""Three levels of recurrent networks: Wichrowska et al. 2017, "scale and generalize".

A GRU(10) on every parameter, a GRU(20) on every tensor, a GRU(20) over all of them. What a
level above says is a bias in the one below; it hears the mean of the level below.

Of one parameter, for k = 1 … 4, δ and γ in (0, 1) its own decays (0 at the first step):

    δ₁ = δ,  δₖ₊₁ = √δₖ;   mₖ ← δₖ mₖ + (1 − δₖ) g
    vₖ ← γ vₖ + (1 − γ)(mₖ² + 1e-12);   sₖ = asinh(mₖ / √(vₖ + 1e-16))
    x = (s₁ … s₄,  s₁s₂, s₂s₃, s₃s₄,  log vₖ less their mean over k,  ℓ − ℓ̄)      12 inputs
        ℓ: its log learning rate, ℓ̄: the mean of them over all parameters
    h ← GRU(x; h, bias A H + a + B G + b)      H, G: the states of its tensor and of all
    d = u·h + r·s,   δ ← σ(w_δ·h + b_δ),   γ ← σ(w_γ·h + b_γ)
    ℓ' = clip(ℓ + w_ℓ·h + b_ℓ, ±33),   ℓ ← μ ℓ + (1 − μ) ℓ',   μ = σ(q)
    Δφ = −exp(ℓ' + o) · d / √(mean d² + 1e-16)       mean over the tensor; action map "update"

    H ← GRU(means over the tensor of h and x; H, bias C G + c),   all with the G of before
    G ← GRU(mean of H over the tensors; G)

The clip has the derivative 1, also where it cuts. The states h, H, G begin with values of θ.
8,349 weights; 21 numbers remembered a parameter, 20 a tensor, 20 in all.

Initialized as released: GRUs and their biases from above normal with 0.5/√fan_in, biases 0
but 2.2 for the gates; first states uniform in ±1; u, w_δ, w_γ normal with 0.5/√10, r normal
with 0.05 around 1/4; w_ℓ, b_ℓ = 0, b_δ = 2.2, b_γ = 3.2, q = 3.2, o = −1. The settings are
those of metarun.py, which has a gradient shortcut, products and problem-wide ℓ̄ where the
class itself has none; "attention" is off there, and not offered here.

differs: ℓ begins as log(initial_rate) everywhere, the middle of the range that the source
draws it from (log-uniform in 1e-6 … 1e-2, half of it shared by a tensor), for nothing is
drawn here outside of θ. G hears the mean over all tensors, as the paper's summaries and the
source's comment have it; the source's loop hands on the last tensor alone. A summary of the
paper has 30 units for tensors, the released defaults 20. That the source takes γ as 0 while
all v are 0 is left out: that is the first step, where γ is 0.

Source: the paper's released code, tensorflow/models, research/learned_optimizer/optimizer:
hierarchical_rnn.py, rnn_cells.py, utils.py, and ../metarun.py.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree

from learned.building.cells import gru_step, gru_theta
from learned.building.networks import affine
from opt_gym import plugins
from opt_gym.checks import check_counts, check_positive, check_whole
from opt_gym.maths.accumulators import leaves, like
from opt_gym.maths.array_namespace import (
    constant,
    namespace,
    over,
    rsqrt,
    sigmoid,
    stop_gradient,
    zeros_over,
)
from opt_gym.maths.pieces import elementwise_and_means
from opt_gym.plugins import Spec
from opt_gym.records import LearnedOptimizer, Memory, Observation, Signal

SCALE = 0.5
GATE_BIAS = 2.2
INPUT_DECAY_BIAS = 2.2
SCALE_DECAY_BIAS = 3.2
SMOOTHING_LOGIT = 3.2
RATE_OFFSET = -1.0
SHORTCUT_DEVIATION = 0.1
LOG_RATE_LIMIT = 33.0


class TensorState(NamedTuple):
    """What is remembered of one tensor.

    Shapes: hidden [10, *shape]; averages and mean_squares [4, *shape]; input_decay (δ),
    scale_decay (γ) and log_rate (ℓ) [*shape]; tensor (H) [20].
    """

    hidden: Any
    averages: Any
    mean_squares: Any
    input_decay: Any
    scale_decay: Any
    log_rate: Any
    tensor: Any


def make(
    parameter_units: int = 10,
    tensor_units: int = 20,
    global_units: int = 20,
    num_scales: int = 4,
    initial_rate: float = 1e-4,
) -> LearnedOptimizer:
    """The learned optimizer "hierarchical_rnn".

    Args:
        parameter_units, tensor_units, global_units: sizes of the three GRUs.
        num_scales: averages of the gradient, each over twice as many steps as the one before.
        initial_rate: exp(ℓ) before the first step.

    Raises:
        ValueError: units < 1, num_scales < 2, or initial_rate <= 0.
    """
    check_counts(
        parameter_units=parameter_units,
        tensor_units=tensor_units,
        global_units=global_units,
    )
    check_whole("num_scales", num_scales, 2)
    check_positive("initial_rate", initial_rate)
    units = (parameter_units, tensor_units, global_units)

    def init_theta(key: PRNGKeyArray) -> PyTree:
        return _theta(key, units, num_scales)

    def init(theta: PyTree, params: PyTree, roles: tuple[str, ...]) -> Memory:
        first = theta["initial"]
        tensors = [
            _start(first, leaf, num_scales, initial_rate) for leaf in leaves(params)
        ]
        return Memory(tuple(tensors), shared=first["all"])

    def step(
        theta: PyTree, carry: Memory, signal: Signal, observation: Observation
    ) -> tuple[Memory, tuple]:
        grads, before = leaves(signal.grad), carry.tensors
        if not grads:
            return carry, (signal.params,)
        mean_log_rate = _mean_over_all([state.log_rate for state in before])
        deltas, after = [], []
        for grad, state in zip(grads, before, strict=True):
            delta, stepped = _step(theta, grad, state, carry.shared, mean_log_rate)
            deltas.append(delta)
            after.append(stepped)
        xp = namespace(grads[0])
        heard = xp.mean(xp.stack([state.tensor for state in after]), axis=0)
        everything, _ = gru_step(theta["all"], heard, carry.shared)
        return Memory(tuple(after), everything), (like(signal.params, deltas),)

    return LearnedOptimizer(
        features=plugins.build("features", "none"),
        action_map=plugins.build("action", "update"),
        needs=(),
        init_theta=init_theta,
        init=init,
        step=step,
    )


def _theta(key: PRNGKeyArray, units: tuple[int, int, int], num_scales: int) -> PyTree:
    of_parameter, of_tensor, of_all = units
    num_inputs = 3 * num_scales
    k_cells, k_links, k_initial, k_out, k_skip = jax.random.split(key, 5)
    cells, links = jax.random.split(k_cells, 3), jax.random.split(k_links, 3)
    starts = jax.random.uniform(k_initial, (sum(units),), minval=-1.0, maxval=1.0)

    def cell(key: PRNGKeyArray, num_inputs: int, units: int) -> dict[str, Any]:
        return gru_theta(key, num_inputs, units, SCALE, GATE_BIAS)

    # The rows are what d, δ, γ and ℓ read of h; d has no bias, ℓ begins with nothing.
    w_out = (
        jax.random.normal(k_out, (3, of_parameter)) * SCALE / math.sqrt(of_parameter)
    )
    deviation = SHORTCUT_DEVIATION / math.sqrt(num_scales)
    return {
        "parameter": cell(cells[0], num_inputs, of_parameter),
        "tensor": cell(cells[1], of_parameter + num_inputs, of_tensor),
        "all": cell(cells[2], of_tensor, of_all),
        "tensor_to_parameter": _link_theta(links[0], of_tensor, of_parameter),
        "all_to_parameter": _link_theta(links[1], of_all, of_parameter),
        "all_to_tensor": _link_theta(links[2], of_all, of_tensor),
        "initial": {
            "parameter": starts[:of_parameter],
            "tensor": starts[of_parameter : of_parameter + of_tensor],
            "all": starts[of_parameter + of_tensor :],
        },
        "w_out": jnp.concat([w_out, jnp.zeros((1, of_parameter))]),
        "b_out": jnp.array([INPUT_DECAY_BIAS, SCALE_DECAY_BIAS, 0.0], jnp.float32),
        "shortcut": 1.0 / num_scales
        + deviation * jax.random.normal(k_skip, (num_scales,)),
        "smoothing_logit": jnp.float32(SMOOTHING_LOGIT),
        "rate_offset": jnp.float32(RATE_OFFSET),
    }


def _link_theta(key: PRNGKeyArray, speaker: int, listener: int) -> dict[str, Any]:
    w = jax.random.normal(key, (3 * listener, speaker)) * SCALE / math.sqrt(speaker)
    return {"w": w, "b": jnp.zeros(3 * listener)}


def _said(link: Any, state: Any) -> Any:
    """The bias that a state is to the gates of the level below."""
    return link["w"] @ state + link["b"]


def _start(first: Any, param: Any, num_scales: int, rate: float) -> TensorState:
    """Of one tensor. Everything has the parameter's axes in memory, by adding to zeros."""
    hidden = zeros_over(first["parameter"].shape[0], param) + over(
        first["parameter"], param
    )
    none = zeros_over(1, param)[0]
    return TensorState(
        hidden=hidden,
        averages=zeros_over(num_scales, param),
        mean_squares=zeros_over(num_scales, param),
        input_decay=none,
        scale_decay=zeros_over(1, param)[0],
        log_rate=none + constant(math.log(rate), param),
        tensor=first["tensor"],
    )


def _mean_over_all(arrays: Sequence[Any]) -> Any:
    """The mean over the elements of all arrays."""
    sizes = [math.prod(array.shape) for array in arrays]
    total = max(sum(sizes), 1)
    sums = [namespace(array).sum(array) / total for array in arrays]
    return sum(sums[1:], sums[0])


def _step(
    theta: PyTree, grad: Any, state: TensorState, everything: Any, mean_log_rate: Any
) -> tuple[Any, TensorState]:
    """(Δφ, state) of one tensor; `everything` is G."""
    xp = namespace(grad)
    bias = _said(theta["tensor_to_parameter"], state.tensor)
    bias = bias + _said(theta["all_to_parameter"], everything)

    def of_parameters(*sources: Any) -> tuple[Any, Any]:
        return _of_parameters(theta, bias, mean_log_rate, *sources)

    num_units, num_scales = state.hidden.shape[0], state.averages.shape[0]
    sources, num = (grad, *state[:-1]), num_units + 2 * num_scales + 5
    out, means = elementwise_and_means(of_parameters, sources, grad, num)
    cuts = (num_units, num_units + num_scales, num_units + 2 * num_scales)
    input_decay, scale_decay, log_rate, log_step, direction = (
        out[cuts[2] + i] for i in range(5)
    )
    heard, square = means[:-1], means[-1]
    said = _said(theta["all_to_tensor"], everything)
    tensor, _ = gru_step(theta["tensor"], heard, state.tensor, said)
    delta = -xp.exp(log_step + theta["rate_offset"]) * direction * rsqrt(square + 1e-16)
    return delta, TensorState(
        hidden=out[: cuts[0]],
        averages=out[cuts[0] : cuts[1]],
        mean_squares=out[cuts[1] : cuts[2]],
        input_decay=input_decay,
        scale_decay=scale_decay,
        log_rate=log_rate,
        tensor=tensor,
    )


def _of_parameters(
    theta: PyTree,
    bias: Any,
    mean_log_rate: Any,
    grad: Any,
    hidden: Any,
    averages: Any,
    mean_squares: Any,
    input_decay: Any,
    scale_decay: Any,
    log_rate: Any,
) -> tuple[Any, Any]:
    """(what is remembered, ℓ' and d; h, x and d², of which the tensor's means are needed).

    Shapes: [10 + 4 + 4 + 5, *shape] and [10 + 12 + 1, *shape].
    """
    xp = namespace(grad)
    decays = _decays(input_decay, averages.shape[0])
    averages = decays * averages + (1.0 - decays) * grad[None]
    squares = averages * averages + 1e-12
    mean_squares = (
        scale_decay[None] * mean_squares + (1.0 - scale_decay[None]) * squares
    )
    scaled = xp.asinh(averages * rsqrt(mean_squares + 1e-16))
    logs = xp.log(mean_squares + 1e-16)
    centred = logs - xp.mean(logs, axis=0, keepdims=True)
    relative = (log_rate - mean_log_rate)[None]
    inputs = xp.concat([scaled, scaled[:-1] * scaled[1:], centred, relative])
    hidden, _ = gru_step(theta["parameter"], inputs, hidden, bias)
    b_out = theta["b_out"]
    out = affine(theta["w_out"], hidden, xp.concat([xp.zeros_like(b_out[:1]), b_out]))
    direction = out[0] + xp.sum(over(theta["shortcut"], grad) * scaled, axis=0)
    log_step = _clip(log_rate + out[3])
    smoothing = sigmoid(theta["smoothing_logit"])
    log_rate = smoothing * log_rate + (1.0 - smoothing) * log_step
    rest = [sigmoid(out[1]), sigmoid(out[2]), log_rate, log_step, direction]
    remembered = xp.concat([hidden, averages, mean_squares, xp.stack(rest)])
    return remembered, xp.concat([hidden, inputs, (direction * direction)[None]])


def _decays(decay: Any, num: int) -> Any:
    """δ, √δ, ∜δ …: [num, *shape]. A root of 0, at the first step, has no derivative."""
    xp, decays = namespace(decay), [decay]
    known = decay > 0
    for _ in range(num - 1):
        root = xp.sqrt(xp.where(known, decays[-1], 1.0))
        decays.append(xp.where(known, root, 0.0))
    return xp.stack(decays)


def _clip(log_rate: Any) -> Any:
    """Within ±33, with the derivative of the identity."""
    xp = namespace(log_rate)
    inside = xp.clip(log_rate, -LOG_RATE_LIMIT, LOG_RATE_LIMIT)
    return log_rate + stop_gradient(inside - log_rate)


SPEC = Spec(
    kind="architecture",
    name="hierarchical_rnn",
    make=make,
    source="Wichrowska et al. 2017, arXiv:1703.04813; tensorflow/models, learned_optimizer: "
    "optimizer/hierarchical_rnn.py, rnn_cells.py, utils.py, metarun.py",
)

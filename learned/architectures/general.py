"""A learned optimizer for any task: a mixture of directions, and a rate that searches.

    Δφ = −lr · w · c · exp(clip(λ + o₀, −8, 5)) · Σ_k (μ_k + m_k + o_k) · d_k

    per tensor:    λ = lg + s + S₁ + S₂ + f;  (s, s₁, s₂, m) = U tanh(A z + a) + (B z, 0)
    per parameter: (o₀, o_1 … o_5) = V relu(W e + R y + b)
    rates:         S₁ ← clip(S₁ + 3·tanh(s₁/3)/(t + 10), ±6), and S₂, one for all tensors, by
                   the mean of their s₂
    rules:         w = min(1, (t + 1)/10);  c = .01 + .99·(½ + ½cos(π t/T))^p, 1 where T is
                   not known;  f = log min(1, 64/fan-in) for kernels, else 0

d_k, e, y and z are of features "general": directions that turn with (g, φ), numbers that do
not (so that −g and −φ give −Δφ, and no gradient gives no step), what all tensors share, and
these with a tensor's own and the rates S₁ and S₂. A rate moves by so much in each tenth more of
time, and not in each step: what is learned for short trainings then holds for long ones. Where
every weight moves by so much, an output moves by that times the fan-in: wide layers take
smaller steps (f; Yang et al. 2022, arXiv:2203.03466), so that what is learned on narrow nets
holds for wide ones.

Every output starts at zero, μ as 1 for Adam's direction and 0 for the others: an untrained θ
is Adam with a warm-up and a cosine. Neither loss nor horizon is needed; both are used where
they are told.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree

from learned import decay
from learned.building.networks import NARROW, affine, first_layer, relu
from opt_gym import plugins
from opt_gym.checks import check_counts, check_not_negative, check_whole
from opt_gym.features.general import DIRECTIONS, EVENS
from opt_gym.features.nominal import fan_ins
from opt_gym.maths.accumulators import first, leaves, like
from opt_gym.maths.array_namespace import along_first, is_eager, namespace, over, zeros
from opt_gym.maths.parts import whole_shapes
from opt_gym.maths.pieces import elementwise
from opt_gym.maths.small_tensors import together
from opt_gym.plugins import Spec
from opt_gym.records import LearnedOptimizer, Memory, Observation, Signal

LOG_STEP_LIMITS = (-8.0, 5.0)
NARROW_LAYER = 64
LARGEST_LOG_RATE = 6.0
LARGEST_SPEED = 3.0
WARM_UP, DELAY = 10.0, 10.0
LEAST_DECAY = 0.01
NUM_RATES = 2


class OfTensor(NamedTuple):
    """What is remembered of one tensor, scalars: its rate S₁, and f, which never changes."""

    rate: Any
    width: Any


def make(
    learning_rate: float = 0.003,
    hidden: int = 4,
    tensor_hidden: int = 16,
    num_directions: int = len(DIRECTIONS),
    searching: bool = True,
    time_clamp: int | None = None,
    reads_loss: bool = True,
    reads_horizon: bool = True,
) -> LearnedOptimizer:
    """The learned optimizer "general".

    Args:
        learning_rate: of the Adam that it starts as.
        hidden, tensor_hidden: hidden units of the two nets.
        num_directions: how many of the features' directions are mixed, Adam's first.
        searching: whether rates move; otherwise they stay at 1, nothing is remembered of θ's
            making, and PPO can train it.
        time_clamp: the largest t that the time features show; None for no limit.
        reads_loss, reads_horizon: whether they are used where they are told.

    Raises:
        ValueError: a setting out of its range.
    """
    check_not_negative(learning_rate=learning_rate)
    check_counts(hidden=hidden, tensor_hidden=tensor_hidden)
    check_whole("num_directions", num_directions, 1, len(DIRECTIONS))
    settings = {
        "time_clamp": time_clamp,
        "reads_loss": reads_loss,
        "reads_horizon": reads_horizon,
    }
    features = plugins.build("features", "general", settings)
    num_shared = len(features.shared_names)
    num_tensor = num_shared + len(features.tensor_names) + NUM_RATES
    num_rows = len(EVENS) + num_shared

    def init_theta(key: PRNGKeyArray) -> PyTree:
        k_parameter, k_tensor = jax.random.split(key)
        w_hidden = _hidden_weights(k_parameter, hidden, num_rows)
        return {
            "log_step": jnp.zeros(()),
            "log_power": jnp.zeros(()),
            "mixture": jnp.eye(num_directions)[0],
            "parameter": {
                "w_rows": w_hidden[:, : len(EVENS)],
                "w_shared": w_hidden[:, len(EVENS) :],
                "b_hidden": jnp.zeros(hidden),
                "w_out": jnp.zeros((1 + num_directions, hidden)),
            },
            "tensor": {
                "w_in": _hidden_weights(k_tensor, tensor_hidden, num_tensor),
                "b_hidden": jnp.zeros(tensor_hidden),
                "w_out": jnp.zeros((1 + NUM_RATES + num_directions, tensor_hidden)),
                "w_skip": jnp.zeros((1 + NUM_RATES, num_tensor)),
            },
        }

    def init(theta: PyTree, params: PyTree, roles: tuple[str, ...]) -> Memory:
        return _at_first(params, roles) if searching else Memory((), ())

    def step(
        theta: PyTree, carry: Memory, signal: Signal, observation: Observation
    ) -> tuple[Memory, tuple]:
        tensors = observation.tensors
        numbers = [tensor.numbers for tensor in tensors]
        kept = carry if searching else _at_first(signal.params)
        (rates, widths), of_all = _stacked(kept), kept.shared
        seen = observation.numbers, numbers
        outputs = _of_tensors(theta["tensor"], *seen, rates, of_all)
        if searching:
            rates, of_all = _moved(rates, of_all, outputs, signal.t)
            carry = _with_rates(carry, rates, of_all)
        rate = learning_rate * _schedule(theta, signal, reads_horizon)
        log_steps = theta["log_step"] + outputs[:, 0] + rates + of_all + widths
        mixtures = theta["mixture"][None] + outputs[:, 1 + NUM_RATES :]
        params = leaves(signal.params)
        of_each = tensors, along_first(log_steps), along_first(mixtures), params
        sources = [
            (*tensor.sources, log_step, over(mixture, param))
            for tensor, log_step, mixture, param in zip(*of_each, strict=True)
        ]
        bias = _bias(theta["parameter"], observation.numbers)
        delta = partial(_delta, theta["parameter"], bias, rate, tensors[0].rows)
        # A minibatch of PPO keeps features as one matrix, whose last axes are not the tensor's.
        is_kept = tensors[0].matrix is not None
        small = [None] * len(params) if is_kept else together(delta, sources, params)
        deltas = [
            _alone(delta, own, leaf, hidden) if done is None else done[0]
            for done, own, leaf in zip(small, sources, params, strict=True)
        ]
        return carry, (like(signal.params, deltas),)

    return LearnedOptimizer(
        features=features,
        action_map=plugins.build("action", "update"),
        needs=(),
        welcomes=features.welcomes,
        init_theta=init_theta,
        init=init,
        step=step,
        takes_parts=True,
    )


def _at_first(params: PyTree, roles: tuple[str, ...] = ()) -> Memory:
    """Rates of 0, S₁ of each tensor and S₂ of all; without roles an embedding is a kernel."""
    tensors = leaves(params)
    widths = _widths(whole_shapes(tensors), roles)
    of_each = tuple(
        OfTensor(zeros((), leaf), zeros((), leaf) + width)
        for leaf, width in zip(tensors, widths, strict=True)
    )
    return Memory(of_each, zeros((), first(params)))


def _widths(shapes: Sequence[tuple[int, ...]], roles: tuple[str, ...]) -> list[float]:
    """What f is of each tensor."""
    roles = roles or tuple("kernel" for _ in shapes)
    return [
        -math.log(max(fan_in / NARROW_LAYER, 1.0))
        if role == "kernel" and len(shape) >= 2
        else 0.0
        for shape, role, fan_in in zip(shapes, roles, fan_ins(shapes), strict=True)
    ]


def _stacked(carry: Memory) -> OfTensor:
    """Rates and widths of all tensors, [k] each."""
    xp = namespace(carry.shared)
    return OfTensor(*(xp.stack(field) for field in zip(*carry.tensors, strict=True)))


def _hidden_weights(key: PRNGKeyArray, outputs: int, fan_in: int) -> Any:
    return jax.random.normal(key, (outputs, fan_in)) / math.sqrt(fan_in)


def _of_tensors(
    theta: PyTree, shared: Any, numbers: Sequence[Any], rates: Any, of_all: Any
) -> Any:
    """(s, s₁, s₂, m) of each tensor, [k, 8], where rates are S₁, [k], and of_all S₂.

    The net sees all tensors at once: each on its own has every operation compiled anew.
    """
    xp, count = namespace(shared), len(numbers)
    both = xp.stack([rates, xp.stack([of_all] * count)], axis=1)
    of_each = xp.stack([shared] * count), xp.stack(list(numbers))
    z = xp.concat([*of_each, both / LARGEST_SPEED], axis=1)
    h = xp.tanh(z @ theta["w_in"].T + theta["b_hidden"][None])
    outputs, skip = h @ theta["w_out"].T, z @ theta["w_skip"].T
    of_rates = outputs[:, : skip.shape[1]] + skip
    return xp.concat([of_rates, outputs[:, skip.shape[1] :]], axis=1)


def _moved(rates: Any, of_all: Any, outputs: Any, t: Any) -> tuple[Any, Any]:
    """S₁ of each tensor, [k], and S₂ of all after this step's speeds."""
    xp = namespace(outputs)

    def moved(rate: Any, speed: Any) -> Any:
        speed = LARGEST_SPEED * xp.tanh(speed / LARGEST_SPEED)
        return xp.clip(rate + speed / (t + DELAY), -LARGEST_LOG_RATE, LARGEST_LOG_RATE)

    return moved(rates, outputs[:, 1]), moved(of_all, xp.mean(outputs[:, 2]))


def _with_rates(carry: Memory, rates: Any, of_all: Any) -> Memory:
    each = zip(carry.tensors, along_first(rates), strict=True)
    return Memory(tuple(tensor._replace(rate=rate) for tensor, rate in each), of_all)


def _schedule(theta: PyTree, signal: Signal, reads_horizon: bool) -> Any:
    """The product w · c."""
    xp = namespace(signal.loss)
    t = signal.t + zeros((), signal.loss)
    warm = xp.clip((t + 1.0) / WARM_UP, max=1.0)
    if not reads_horizon:
        return warm
    horizon = signal.horizon + zeros((), signal.loss)
    left = xp.clip(decay.cosine(t, xp.clip(horizon, min=1.0)), min=1e-6)
    power = xp.exp(theta["log_power"])
    falling = LEAST_DECAY + (1.0 - LEAST_DECAY) * left**power
    return warm * xp.where(horizon > 0, falling, 1.0)


def _bias(theta: PyTree, shared: Any) -> Any:
    """Of the hidden units of the net of every parameter: what all of them share."""
    return theta["w_shared"] @ shared + theta["b_hidden"]


def _delta(theta: PyTree, bias: Any, rate: Any, rows: Any, *sources: Any) -> Any:
    """Δφ, [1, *axes], of what the features' rows are made of, and of log-step and mixture."""
    *seen, log_step, mixture = sources
    directions, evens = _apart(rows(*seen), mixture.shape[0])
    h = relu(first_layer(theta["w_rows"], bias, evens))
    out = _outputs(theta["w_out"], h, log_step, mixture)
    return -(rate * _exp(out[0]) * _mixed(out[1:], directions))[None]


def _alone(delta: Any, sources: tuple, param: Any, hidden: int) -> Any:
    """Δφ of one tensor."""
    # One loop of a large tensor in XLA, see `first_layer`: nothing is stored on the way.
    if hidden <= NARROW and not is_eager(param):
        return delta(*sources)[0]
    return elementwise(delta, sources, param, 1)[0]


def _apart(blocks: tuple, count: int) -> tuple[Any, tuple]:
    """(the first `count` directions, evens): two blocks in torch, in JAX one a row."""
    if is_eager(blocks[0]):
        return blocks[0][:count], blocks[1:]
    directions = [direction[0] for direction in blocks[:count]]
    return directions, blocks[len(DIRECTIONS) :]


def _mixed(shares: Any, directions: Any) -> Any:
    if is_eager(directions):
        return (shares * directions).sum(0)
    return sum(
        share * direction for share, direction in zip(shares, directions, strict=True)
    )


def _outputs(weights: Any, h: Any, log_step: Any, mixture: Any) -> Any:
    """What the net adds to log-step and mixture, which are one or several tensors'."""
    xp = namespace(weights)
    of_tensor = xp.concat([xp.reshape(log_step, (1, *mixture.shape[1:])), mixture])
    if is_eager(weights) and of_tensor.numel() == weights.shape[0]:
        return affine(weights, h, of_tensor.reshape(-1))
    added = affine(weights, h, xp.zeros_like(weights[:, 0]))
    if is_eager(weights):  # of a stack
        return added + of_tensor
    return [added[i] + of_tensor[i] for i in range(weights.shape[0])]


def _exp(log_step: Any) -> Any:
    xp = namespace(log_step)
    return xp.exp(xp.clip(log_step, *LOG_STEP_LIMITS))


SPEC = Spec(
    kind="architecture",
    name="general",
    make=make,
    source="ours; a nominal term after Harrison et al. 2022, arXiv:2209.11208",
)

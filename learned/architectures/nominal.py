"""A learned correction around Adam: an untrained θ is exactly Adam, and a good optimizer.

    Δφ = −lr · exp(clip(lg + s + o₁, −8, 5)) · (Adam's direction + o₂)

    per parameter: (o₁, o₂) = U relu(W x + V τ + b), plus a linear skip x -> o₂
    per tensor:    s = u·tanh(A z + a), plus a linear skip z -> s
    x: the 9 rows of features "nominal"; τ: its 7 times; z: the times, the loss's progress
    and the tensor's numbers

Hidden weights are N(0, 1/fan_in), every output and skip starts at zero, so outer-training
starts from Adam at `learning_rate` and never from a diverging optimizer. Either net can be
left out. t is clamped at `time_clamp`, the horizon θ was trained for: without that the
slowest time feature leaves its trained range on longer runs.

The idea of a nominal term is Harrison et al. 2022. "star" is their optimizer: the network and
features of "adafactor_mlp" beside one of five nominal terms, untrained with a small random
step of its own. Here the nominal term is Adam alone, unbiased, and untrained there is nothing
but it; the features are in Adam's units; a second net scales the step of a whole tensor and
sees the loss.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree

from learned.building.networks import NARROW, affine, first_layer, relu
from opt_gym import plugins
from opt_gym.checks import check_counts, check_not_negative
from opt_gym.maths.accumulators import leaves, like
from opt_gym.maths.array_namespace import is_torch, namespace
from opt_gym.maths.pieces import elementwise
from opt_gym.plugins import Spec
from opt_gym.records import (
    LearnedOptimizer,
    Memory,
    Observation,
    Signal,
    TensorObservation,
)

LOG_STEP_LIMITS = (-8.0, 5.0)


def make(
    learning_rate: float = 0.024,
    per_parameter: bool = True,
    per_tensor: bool = True,
    hidden: int = 8,
    tensor_hidden: int = 16,
    time_clamp: int | None = 1000,
) -> LearnedOptimizer:
    """The learned optimizer "nominal".

    Args:
        learning_rate: of the Adam that it starts as.
        per_parameter, per_tensor: which of the two nets it has.
        hidden, tensor_hidden: their hidden units.
        time_clamp: the largest t that the time features show; None for no limit.

    Raises:
        ValueError: a setting out of its range, or neither net.
    """
    check_not_negative(learning_rate=learning_rate)
    check_counts(hidden=hidden, tensor_hidden=tensor_hidden)
    if not any((per_parameter, per_tensor)):
        raise ValueError("nominal needs per_parameter or per_tensor, both are False")
    features = plugins.build("features", "nominal", {"time_clamp": time_clamp})
    # The last row is Adam's direction itself, which no net reads.
    num_rows = len(features.row_names) - 1
    num_shared = len(features.shared_names)
    num_times = num_shared - 2
    num_tensor = num_shared + len(features.tensor_names)

    def init_theta(key: PRNGKeyArray) -> PyTree:
        k_parameter, k_tensor = jax.random.split(key)
        theta: dict[str, Any] = {"log_step": jnp.zeros(())}
        if per_parameter:
            w_in = _hidden_weights(k_parameter, hidden, num_rows + num_times)
            theta["parameter"] = {
                "w_rows": w_in[:, :num_rows],
                "w_times": w_in[:, num_rows:],
                "b_hidden": jnp.zeros(hidden),
                "w_out": jnp.zeros((2, hidden)),
                "w_skip": jnp.zeros(num_rows),
            }
        if per_tensor:
            theta["tensor"] = {
                "w_in": _hidden_weights(k_tensor, tensor_hidden, num_tensor),
                "b_hidden": jnp.zeros(tensor_hidden),
                "w_out": jnp.zeros(tensor_hidden),
                "w_skip": jnp.zeros(num_tensor),
            }
        return theta

    def init(theta: PyTree, params: PyTree, roles: tuple[str, ...]) -> Memory:
        return Memory()

    def step(
        theta: PyTree, carry: Memory, signal: Signal, observation: Observation
    ) -> tuple[Memory, tuple]:
        params, tensors = leaves(signal.params), observation.tensors
        steps = _steps(theta, tensors, observation.numbers)
        deltas = [
            learning_rate * _step(theta, tensor, leaf, observation.numbers, of_tensor)
            for leaf, tensor, of_tensor in zip(params, tensors, steps, strict=True)
        ]
        return carry, (like(signal.params, deltas),)

    return LearnedOptimizer(
        features=features,
        action_map=plugins.build("action", "update"),
        needs=features.needs,
        init_theta=init_theta,
        init=init,
        step=step,
    )


def _steps(theta: PyTree, tensors: Sequence[TensorObservation], shared: Any) -> Any:
    """What every tensor's Δφ is multiplied by: lg + s, or exp of it where it needs no o₁.

    The net sees all tensors at once: each on its own has every operation compiled anew.
    """
    if not tensors:
        return []
    xp = namespace(shared)
    steps = xp.stack([theta["log_step"]] * len(tensors))
    if "tensor" in theta:
        numbers = xp.stack([tensor.numbers for tensor in tensors])
        steps = steps + _tensor_net(theta["tensor"], numbers, shared)
    steps = steps if "parameter" in theta else _scale(steps)
    return [steps[i] for i in range(len(tensors))]


def _step(
    theta: PyTree, tensor: TensorObservation, param: Any, shared: Any, of_tensor: Any
) -> Any:
    """Δφ of one tensor in units of the learning rate."""

    def corrected(*sources: Any) -> Any:
        *seen, adam = tensor.rows(*sources)
        o1, o2 = _parameter_net(theta["parameter"], seen, shared)
        return -(_scale(of_tensor + o1) * (adam[0] + o2))[None]

    def scaled(*sources: Any) -> Any:
        return -of_tensor * tensor.rows(*sources)[-1]

    delta = corrected if "parameter" in theta else scaled
    if _is_one_loop(theta) and not is_torch(param):
        return delta(*tensor.sources)[0]
    return elementwise(delta, tensor.sources, param, 1)[0]


def _is_one_loop(theta: PyTree) -> bool:
    """Whether XLA makes one loop of a large tensor's Δφ, see `first_layer`.

    It stores nothing on its way, so to walk along the tensor in pieces would only cost:
    280,000 weights take 2.7 ms a step with 8 hidden units in one loop, 3.1 in pieces of it,
    and 4.8 in pieces with products of matrices.
    """
    # One more unit is the skip.
    return "parameter" not in theta or theta["parameter"]["w_rows"].shape[0] < NARROW


def _scale(log_step: Any) -> Any:
    xp = namespace(log_step)
    return xp.exp(xp.clip(log_step, *LOG_STEP_LIMITS))


def _hidden_weights(key: PRNGKeyArray, outputs: int, fan_in: int) -> Any:
    return jax.random.normal(key, (outputs, fan_in)) / math.sqrt(fan_in)


def _parameter_net(theta: PyTree, rows: Sequence[Any], shared: Any) -> Any:
    """The outputs o₁ and o₂.

    Shapes: rows nine times [1, *shape]; shared [9], of which it sees the 7 times;
    results [*shape].
    """
    xp = namespace(shared)
    times = shared[: theta["w_times"].shape[1]]
    bias = theta["w_times"] @ times + theta["b_hidden"]
    # The skip is one more unit of the first layer, without relu.
    weights = xp.concat([theta["w_rows"], theta["w_skip"][None]])
    h = first_layer(weights, xp.concat([bias, xp.zeros_like(bias[:1])]), rows)
    o1, o2 = affine(theta["w_out"], relu(h[:-1]), xp.zeros_like(theta["w_out"][:, 0]))
    return o1, o2 + h[-1]


def _tensor_net(theta: PyTree, numbers: Any, shared: Any) -> Any:
    """Shapes: numbers [k, 7], a row a tensor; shared [9]; result [k]."""
    xp = namespace(shared)
    z = xp.concat([xp.stack([shared] * numbers.shape[0]), numbers], axis=1)
    h = xp.tanh(z @ theta["w_in"].T + theta["b_hidden"][None])
    return h @ theta["w_out"] + z @ theta["w_skip"]


SPEC = Spec(
    kind="architecture",
    name="nominal",
    make=make,
    source="ours, after Harrison et al. 2022, arXiv:2209.11208 (a nominal term)",
)

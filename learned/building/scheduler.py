"""The LSTM that VeLO and Celo run on every tensor, and the size of a step that it says.

    y_i = W x_i + b + max over tensors j of relu(W' x_j + b')           unit by unit
    (h_i, s_i) = LSTM(y_i, s_i),  s_i at first in θ
    ρ_i = r·h_i + b_r, or 0.1·exp(r·h_i + b_r)

Its θ are the entries "inputs" (W, b), "messages" (W', b'), "lstm", "start" and "multiplier"
(r, b_r) of an architecture's.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree

from learned.building.cells import LstmState, lstm_step
from learned.building.networks import affine, truncated_normal
from opt_gym.maths.array_namespace import namespace, relu, zeros
from opt_gym.records import Observation

POSITIVE_MULTIPLIER = 0.1


def linear_theta(key: PRNGKeyArray, outputs: int, inputs: int) -> dict[str, Any]:
    """Weights [outputs, inputs] as Haiku draws them with `key`, and biases of zero."""
    return {"w": truncated_normal(key, outputs, inputs), "b": jnp.zeros(outputs)}


def linear(theta: PyTree, x: Any) -> Any:
    """What such weights, `theta`, make of x, [inputs, tensors]."""
    return affine(theta["w"], x, theta["b"])


def start_theta(units: int) -> dict[str, Any]:
    """The state that the LSTM of every tensor begins with: zeros, as many as `units`."""
    return {"hidden": jnp.zeros(units), "cell": jnp.zeros(units)}


def begin(theta: PyTree, leaf: Any) -> LstmState:
    """The state s of one tensor before the first step.

    Args:
        theta: the architecture's.
        leaf: the weights of the tensor.
    """
    # New arrays: whoever gives the carry away must not give θ with it.
    start = theta["start"]
    nothing = zeros(tuple(start["hidden"].shape), leaf)
    return LstmState(start["hidden"] + nothing, start["cell"] + nothing)


def advance(
    theta: PyTree, states: tuple[LstmState, ...], observation: Observation
) -> tuple[Any, tuple[LstmState, ...]]:
    """(h of all tensors, [units, tensors]; their states after this step).

    Args:
        theta: the architecture's.
        states: of the tensors, at least one.
        observation: of them; x are its numbers of the run, then those of the tensor.
    """
    xp = namespace(observation.numbers)
    x = xp.stack(
        [xp.concat([observation.numbers, t.numbers]) for t in observation.tensors],
        axis=1,
    )
    message = xp.max(relu(linear(theta["messages"], x)), axis=1, keepdims=True)
    state = LstmState(*(xp.stack(parts, axis=1) for parts in zip(*states, strict=True)))
    outputs, after = lstm_step(
        theta["lstm"], linear(theta["inputs"], x) + message, state
    )
    return outputs, tuple(
        LstmState(after.hidden[:, i], after.cell[:, i]) for i in range(x.shape[1])
    )


def multipliers(theta: PyTree, outputs: Any, positive: bool) -> Any:
    """ρ of every tensor, [tensors].

    Args:
        theta: the architecture's.
        outputs: h of `advance`.
        positive: the second form.
    """
    multiplier = linear(theta["multiplier"], outputs)[0]
    if not positive:
        return multiplier
    return POSITIVE_MULTIPLIER * namespace(outputs).exp(multiplier)

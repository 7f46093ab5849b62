"""Recurrent cells, for one vector, for many, or for every parameter of a tensor.

Units lie along the first axis: inputs [k, *shape], states [units, *shape], where shape is ()
for one vector, (n,) for n of them, or that of a tensor of φ. Written for jax.numpy and torch;
the outputs at one place depend on the inputs and the state at that place alone, so that a
large tensor may be gone through in pieces.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from learned.building.networks import truncated_normal
from opt_gym.maths.array_namespace import namespace, sigmoid


class LstmState(NamedTuple):
    """What an LSTM remembers: `hidden` (h) and `cell` (c), [units, *shape] each."""

    hidden: Any
    cell: Any


def lstm_theta(
    key: PRNGKeyArray, num_inputs: int, units: int, drawn_biases: bool = False
) -> dict[str, Any]:
    """The weights of an `lstm_step`, 4·units·(num_inputs + units + 1) numbers.

    Truncated normal of standard deviation 1/√(num_inputs + units), biases of zero, as Haiku
    has it. The rows are, units at a time: input gate, candidate, forget gate, output gate.

    Args:
        key: of the draw.
        num_inputs, units: sizes.
        drawn_biases: draw the biases as the weights, as the first Sonnet did.
    """
    k_weights, k_biases = jax.random.split(key)
    w = truncated_normal(k_weights, 4 * units, num_inputs + units)
    drawn = truncated_normal(k_biases, 4 * units, num_inputs + units)[:, 0]
    return {
        "w_inputs": w[:, :num_inputs],
        "w_hidden": w[:, num_inputs:],
        "b": drawn if drawn_biases else jnp.zeros(4 * units),
    }


def lstm_step(
    theta: Any, inputs: Any, state: LstmState, forget_bias: float = 1.0
) -> tuple[Any, LstmState]:
    """(outputs, state): one step of an LSTM without peepholes.

        i, g, f, o = W x + U h + b
        c ← σ(f + forget_bias) c + σ(i) tanh g,   h ← σ(o) tanh c,   outputs = h

    Shapes: inputs [k, *shape]; state and outputs [units, *shape].

    Args:
        theta: see `lstm_theta`.
        inputs, state: see above.
        forget_bias: added to the forget gate, and no part of b: 1 in Sonnet and in Haiku,
            which the learned optimizers with an LSTM were written in.

    Source: Hochreiter & Schmidhuber 1997 with forget gates; the order of the gates and the
    forget bias are Sonnet's and Haiku's (haiku/_src/recurrent.py).
    """
    xp, units = namespace(inputs), state.hidden.shape[0]
    h, c = _flat(state.hidden), _flat(state.cell)
    gates = theta["w_inputs"] @ _flat(inputs) + theta["w_hidden"] @ h
    i, g, f, o = _split(gates + theta["b"][:, None], units)
    c = sigmoid(f + forget_bias) * c + sigmoid(i) * xp.tanh(g)
    h = sigmoid(o) * xp.tanh(c)
    shape = tuple(state.hidden.shape)
    after = LstmState(xp.reshape(h, shape), xp.reshape(c, shape))
    return after.hidden, after


def gru_theta(
    key: PRNGKeyArray,
    num_inputs: int,
    units: int,
    scale: float = 1.0,
    gate_bias: float = 0.0,
) -> dict[str, Any]:
    """The weights of a `gru_step`, 3·units·(num_inputs + units + 1) numbers.

    Normal of standard deviation scale/√(num_inputs + units), biases of `gate_bias` for the
    two gates and of zero for the candidate. The rows are, units at a time: reset gate, update
    gate, candidate.

    Args:
        key: of the draw.
        num_inputs, units: sizes.
        scale, gate_bias: see above.
    """
    fan_in = num_inputs + units
    w = jax.random.normal(key, (3 * units, fan_in)) * (scale / math.sqrt(fan_in))
    gates = jnp.full(2 * units, gate_bias, jnp.float32)
    return {
        "w_inputs": w[:, :num_inputs],
        "w_hidden": w[:, num_inputs:],
        "b": jnp.concat([gates, jnp.zeros(units)]),
    }


def gru_step(theta: Any, inputs: Any, state: Any, bias: Any = None) -> tuple[Any, Any]:
    """(outputs, state), which are the same: one step of a GRU.

        r = σ(W_r x + U_r h + b_r),  u = σ(W_u x + U_u h + b_u)
        h ← u h + (1 − u) tanh(W_c x + U_c (r h) + b_c)

    There is no further bias in the gates: an update gate that opens at 1 is one that keeps.

    Shapes: inputs [k, *shape]; state and outputs [units, *shape]; bias [3·units].

    Args:
        theta: see `gru_theta`.
        inputs, state: see above.
        bias: added to b, such as what a level above has to say to all of them.

    Source: Cho et al. 2014, arXiv:1406.1078, with r inside of the product; rnn_cells.py of
    Wichrowska et al. 2017 (tensorflow/models, learned_optimizer).
    """
    xp, units = namespace(inputs), state.shape[0]
    h, w_hidden = _flat(state), theta["w_hidden"]
    b = theta["b"] if bias is None else theta["b"] + bias
    r, u, c = _split(theta["w_inputs"] @ _flat(inputs) + b[:, None], units)
    r_h, u_h = _split(w_hidden[: 2 * units] @ h, units)
    keep = sigmoid(u + u_h)
    candidate = xp.tanh(c + w_hidden[2 * units :] @ (sigmoid(r + r_h) * h))
    after = xp.reshape(keep * h + (1.0 - keep) * candidate, tuple(state.shape))
    return after, after


def _flat(x: Any) -> Any:
    """[k, *shape] as [k, n]."""
    return namespace(x).reshape(x, (x.shape[0], math.prod(x.shape[1:])))


def _split(x: Any, units: int) -> list[Any]:
    return [x[start : start + units] for start in range(0, x.shape[0], units)]

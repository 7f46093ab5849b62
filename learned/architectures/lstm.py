"""A recurrent network on every coordinate: Andrychowicz et al. 2016, "by gradient descent".

    x = preprocess(g)
    h₁, c₁ ← LSTM₁(x; h₁, c₁),  h₂, c₂ ← LSTM₂(h₁; h₂, c₂)       20 units each, from zero
    Δφ = scale · (w·h₂ + b)                                  (action map "update")

θ is shared by all coordinates, the state is each one's own: 80 numbers a parameter. The
cell is in `cells.py`, with Sonnet's forget bias of 1. Preprocessing, named:

    "code"   (max(log(|g| + ε)/p, −1), clip(eᵖ g, −1, 1))    p = 5, ε = 2⁻²³; as released
    "paper"  (log|g|/p, sign g) where |g| >= e⁻ᵖ, else (−1, eᵖ g)             p = 10
    "raw"    g

5,141 weights, 5,061 with "raw". The first two are one function but for ε and p: the clips
are what the paper writes as two cases. p = 10 is recalled from the paper, not read there.
A scale of 0.01 goes with "code" in the released experiments on images; "raw" with a scale of
1 is what they have for quadratics.

Initialized as Sonnet does it: truncated normal of standard deviation 1/√fan_in (cut at two of
them, not corrected) for all weights and for the biases of the LSTMs, zero for b.

Source: the paper; networks.py, preprocess.py and util.py of google-deepmind/learning-to-learn.
The paper calls φ what is θ here, and the other way round. Whether gradients count as constants
when outer-training differentiates through the inner steps is a setting of `opt_gym.make`.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree

from learned.building.cells import LstmState, lstm_step, lstm_theta
from learned.building.networks import affine, truncated_normal
from opt_gym import plugins
from opt_gym.checks import check_between, check_counts, check_not_negative
from opt_gym.maths.accumulators import leaves, like
from opt_gym.maths.array_namespace import namespace, zeros_over
from opt_gym.maths.pieces import elementwise
from opt_gym.plugins import Spec, unknown
from opt_gym.records import LearnedOptimizer, Memory, Observation, Signal

PREPROCESSING = {"code": 5.0, "paper": 10.0, "raw": None}
"""The forms, and the p that belongs to each."""

LARGEST_P = 80.0
"""eᵖ is a number of float32."""

EPSILON = 2.0**-23


def make(
    hidden: int = 20,
    num_layers: int = 2,
    preprocessing: str = "code",
    p: float | None = None,
    scale: float = 0.01,
) -> LearnedOptimizer:
    """The learned optimizer "lstm".

    Args:
        hidden: units of a layer.
        num_layers: LSTM layers.
        preprocessing: "code", "paper" or "raw".
        p: where gradients are told apart by their size, those above e⁻ᵖ; None for the p of
            the preprocessing.
        scale: of the update.

    Raises:
        ValueError: hidden or num_layers < 1, unknown preprocessing, a setting
            out of its range, or p with "raw".
    """
    check_counts(hidden=hidden, num_layers=num_layers)
    check_not_negative(scale=scale)
    p = _known_p(preprocessing, p)
    num_inputs = 1 if preprocessing == "raw" else 2
    see = partial(preprocess, form=preprocessing, p=p)

    def init_theta(key: PRNGKeyArray) -> PyTree:
        k_out, *keys = jax.random.split(key, num_layers + 1)
        sizes = (num_inputs, *[hidden] * (num_layers - 1))
        return {
            "layers": [
                lstm_theta(k, below, hidden, drawn_biases=True)
                for k, below in zip(keys, sizes, strict=True)
            ],
            "w_out": truncated_normal(k_out, 1, hidden),
            "b_out": jnp.zeros(1),
        }

    def init(theta: PyTree, params: PyTree, roles: tuple[str, ...]) -> Memory:
        def start(leaf: Any) -> tuple[LstmState, ...]:
            return tuple(
                LstmState(zeros_over(hidden, leaf), zeros_over(hidden, leaf))
                for _ in range(num_layers)
            )

        return Memory(tuple(start(leaf) for leaf in leaves(params)))

    def step(
        theta: PyTree, carry: Memory, signal: Signal, observation: Observation
    ) -> tuple[Memory, tuple]:
        deltas, states = [], []
        for grad, state in zip(leaves(signal.grad), carry.tensors, strict=True):
            delta, after = _step(theta, see, grad, state)
            deltas.append(scale * delta)
            states.append(after)
        return Memory(tuple(states)), (like(signal.params, deltas),)

    return LearnedOptimizer(
        features=plugins.build("features", "none"),
        action_map=plugins.build("action", "update"),
        needs=(),
        init_theta=init_theta,
        init=init,
        step=step,
    )


def preprocess(grad: Any, form: str, p: float | None) -> Any:
    """What the network sees of a gradient: [2, *shape], or [1, *shape] for "raw".

    The clip comes before the logarithm, so that a gradient of zero has one, and no slope.
    """
    if form == "raw" or p is None:
        return grad[None]
    xp = namespace(grad)
    size = xp.abs(grad) + EPSILON if form == "code" else xp.abs(grad)
    log = xp.log(xp.clip(size, min=math.exp(-p))) / p
    return xp.stack([log, xp.clip(math.exp(p) * grad, -1.0, 1.0)])


def _step(
    theta: PyTree,
    see: Callable[[Any], Any],
    grad: Any,
    state: tuple[LstmState, ...],
) -> tuple[Any, tuple[LstmState, ...]]:
    """(what the network says, its state) for one tensor."""

    def net(grad: Any, *columns: Any) -> Any:
        outputs, after = see(grad), []
        before = map(LstmState, columns[::2], columns[1::2])
        for layer, remembered in zip(theta["layers"], before, strict=True):
            outputs, remembered = lstm_step(layer, outputs, remembered)
            after.extend(remembered)
        delta = affine(theta["w_out"], outputs, theta["b_out"])
        # One array, so that a large tensor is gone through once.
        return namespace(grad).concat([delta, *after])

    units, columns = state[0].hidden.shape[0], [x for layer in state for x in layer]
    num = 1 + units * len(columns)
    out = elementwise(net, (grad, *columns), grad, num)
    parts = [out[start : start + units] for start in range(1, num, units)]
    return out[0], tuple(map(LstmState, parts[::2], parts[1::2]))


def _known_p(preprocessing: str, p: float | None) -> float | None:
    if preprocessing not in PREPROCESSING:
        raise ValueError(unknown("preprocessing", preprocessing, list(PREPROCESSING)))
    if p is None:
        return PREPROCESSING[preprocessing]
    if preprocessing == "raw":
        raise ValueError(f'p must be None with preprocessing "raw", got {p!r}')
    check_between("p", p, 0.0, LARGEST_P, closed="right")
    return float(p)


SPEC = Spec(
    kind="architecture",
    name="lstm",
    make=make,
    source="Andrychowicz et al. 2016, arXiv:1606.04474; google-deepmind/learning-to-learn, "
    "networks.py, preprocess.py, util.py",
)

"""An Adam whose hyperparameters an LSTM moves, tensor by tensor: NNAdam.

Every tensor has its own x = 0.1·log of (lr, 1 − β₁, 1 − β₂, ε), which begin as parts of θ:

    m ← β₁ m + (1−β₁) g,  v ← β₂ v + (1−β₂) g²                   g clipped to ±1000
    Δφ = −lr (1 + ε) · m/(ε + √(v + 1e-10))
    h, s ← LSTM(z, s)                     32 units; s begins as a part of θ, of zeros
    x ← x + 0.01·(C h + c)                C and c are zero at first
    x ← x − decay_strength·(x − its value in θ)

after which lr, 1 − β and ε are held within [1e-8, 1000], [e⁻¹⁰, 1] and [1e-11, 10,000]. The
new x is for the next step. With a large ε this is momentum at learning rate lr (hence the
factor 1 + ε), with a small one Adam; neither moment is unbiased. An untrained θ is exactly
that Adam, at a learning rate of 1e-4.

19 inputs z, with L(a) = ½ clip(log(1e-8 + |a|), ±5) and the new m and v: L of the means of
m, v, φ and g, of their variances and of mean |g|; the signs of the four means; is 0-d and has
one axis (1 or −1); x/5.

6,856 weights: LSTM 6,656, C and c 132, s 64, x 4. Initialized as Haiku does: truncated normal
of standard deviation 1/√fan_in (cut at two of them, not corrected), zero biases, forget
bias 1.

differs: a mean of less than 1e-5 standard deviations counts as 0, and so does its sign (see
`statistics` of features "hierarchical"); x itself is held within the limits, where the source
goes through β and back, which rounds; the source refuses to begin without a horizon, which it
does not use.
"""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree

from learned.building.cells import LstmState, lstm_step, lstm_theta
from opt_gym import plugins
from opt_gym.checks import check_between, check_counts, check_not_negative
from opt_gym.features.hierarchical import log_magnitude, statistics
from opt_gym.maths.accumulators import leaves, like
from opt_gym.maths.array_namespace import constant, namespace, sign, zeros_over
from opt_gym.plugins import Spec
from opt_gym.records import LearnedOptimizer, Memory, Observation, Signal

NUM_INPUTS = 19
GRADIENT_LIMIT = 1000.0
LOWEST = (0.1 * math.log(1e-8), -1.0, -1.0, 0.1 * math.log(1e-11))
HIGHEST = (0.1 * math.log(1e3), 0.0, 0.0, 0.1 * math.log(1e4))
"""Of x."""


class OfTensor(NamedTuple):
    """What is remembered of one tensor.

    Shapes: momentum and second_moment like the weights; scaled [4], which is x; hidden and
    cell [lstm_hidden].
    """

    momentum: Any
    second_moment: Any
    scaled: Any
    hidden: Any
    cell: Any


def make(
    learning_rate: float = 1e-4,
    b1: float = 0.9,
    b2: float = 0.999,
    epsilon: float = 1e-8,
    lstm_hidden: int = 32,
    output_scale: float = 0.01,
    decay_strength: float = 0.0,
) -> LearnedOptimizer:
    """The learned optimizer "nn_adam".

    Args:
        learning_rate, b1, b2, epsilon: what θ begins with.
        lstm_hidden: units of the LSTM.
        output_scale: how fast it moves them.
        decay_strength: how fast they go back to those of θ; 0 is never.

    Raises:
        ValueError: a setting or a hyperparameter outside of its limits.
    """
    check_counts(lstm_hidden=lstm_hidden)
    check_not_negative(output_scale=output_scale)
    check_between("decay_strength", decay_strength, 0.0, 1.0)
    start = _scaled(learning_rate, b1, b2, epsilon)

    def init_theta(key: PRNGKeyArray) -> PyTree:
        return {
            "lstm": lstm_theta(key, NUM_INPUTS, lstm_hidden),
            "out": {"w": jnp.zeros((4, lstm_hidden)), "b": jnp.zeros(4)},
            "start": {
                "scaled": jnp.asarray(start, jnp.float32),
                "hidden": jnp.zeros(lstm_hidden),
                "cell": jnp.zeros(lstm_hidden),
            },
        }

    def init(theta: PyTree, params: PyTree, roles: tuple[str, ...]) -> Memory:
        begin = theta["start"]
        return Memory(
            tuple(
                OfTensor(
                    *(zeros_over(1, leaf)[0] for _ in range(2)),
                    scaled=_held(begin["scaled"]),
                    hidden=begin["hidden"],
                    cell=begin["cell"],
                )
                for leaf in leaves(params)
            )
        )

    def step(
        theta: PyTree, carry: Memory, signal: Signal, observation: Observation
    ) -> tuple[Memory, tuple]:
        xp = namespace(signal.loss)
        params = leaves(signal.params)
        grads = [
            xp.clip(grad, -GRADIENT_LIMIT, GRADIENT_LIMIT)
            for grad in leaves(signal.grad)
        ]
        stepped = [_adam(*parts) for parts in zip(grads, carry.tensors, strict=True)]
        deltas, adams = zip(*stepped, strict=True)
        inputs = [_look(*parts) for parts in zip(params, grads, adams, strict=True)]
        state = LstmState(
            hidden=xp.stack([old.hidden for old in adams], axis=1),
            cell=xp.stack([old.cell for old in adams], axis=1),
        )
        h, state = lstm_step(theta["lstm"], xp.stack(inputs, axis=1), state)
        moves = theta["out"]["w"] @ h + theta["out"]["b"][:, None]
        tensors = []
        for i, adam in enumerate(adams):
            x = adam.scaled + output_scale * moves[:, i]
            x = _held(x - decay_strength * (x - theta["start"]["scaled"]))
            tensors.append(
                adam._replace(
                    scaled=x, hidden=state.hidden[:, i], cell=state.cell[:, i]
                )
            )
        return Memory(tuple(tensors)), (like(signal.params, deltas),)

    return LearnedOptimizer(
        features=plugins.build("features", "none"),
        action_map=plugins.build("action", "update"),
        needs=(),
        init_theta=init_theta,
        init=init,
        step=step,
    )


def _scaled(
    learning_rate: float, b1: float, b2: float, epsilon: float
) -> tuple[float, ...]:
    if min(learning_rate, 1 - b1, 1 - b2, epsilon) <= 0:
        raise ValueError(
            "learning_rate and epsilon must be > 0, b1 and b2 < 1, got "
            f"{learning_rate}, {epsilon}, {b1} and {b2}"
        )
    values = (learning_rate, 1 - b1, 1 - b2, epsilon)
    scaled = tuple(0.1 * math.log(value) for value in values)
    inside = zip(LOWEST, scaled, HIGHEST, strict=True)
    if not all(low <= x <= high for low, x, high in inside):
        raise ValueError(
            "learning_rate, 1 - b1, 1 - b2 and epsilon must be within [1e-8, 1e3], "
            "[e^-10, 1], [e^-10, 1] and [1e-11, 1e4], got "
            f"{learning_rate}, 1 - {b1}, 1 - {b2} and {epsilon}"
        )
    return scaled


def _held(x: Any) -> Any:
    xp = namespace(x)
    return xp.clip(x, constant(LOWEST, x), constant(HIGHEST, x))


def _adam(grad: Any, old: OfTensor) -> tuple[Any, OfTensor]:
    xp = namespace(grad)
    values = xp.exp(10.0 * old.scaled)
    rate, new1, new2, epsilon = (values[i] for i in range(4))
    m = (1.0 - new1) * old.momentum + new1 * grad
    v = (1.0 - new2) * old.second_moment + new2 * grad * grad
    delta = -(rate * (1.0 + epsilon)) * m / (epsilon + xp.sqrt(v + 1e-10))
    return delta, old._replace(momentum=m, second_moment=v)


def _look(param: Any, grad: Any, adam: OfTensor) -> Any:
    """The LSTM's inputs for one tensor, [19]."""
    xp = namespace(grad)
    means, variances = statistics((adam.momentum, adam.second_moment, param, grad))
    size = xp.mean(xp.abs(grad))
    logs = log_magnitude(xp.concat([means, variances, size[None]]))
    kind = tuple(1.0 if grad.ndim == rank else -1.0 for rank in (0, 1))
    known = constant(kind, grad)
    return xp.concat([0.5 * logs, sign(means), known, 0.2 * adam.scaled])


SPEC = Spec(
    kind="architecture",
    name="nn_adam",
    make=make,
    source="google/learned_optimization, learned_optimizers/nn_adam.py",
)

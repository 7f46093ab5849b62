"""Adam whose learning rate the LSTM of Celo says: "Celo-Adam".

    x    what is seen of the run: features "velo" without all that is a tensor's, 18 numbers
    ρ_i  what `learned.building.scheduler` makes of x, ρ = 0.1·exp(r·h_i + b_r)
    m ← .9 m + .1 g,  v ← .999 v + .001 g²                            g clipped to ±1000
    Δφ = −0.001 · ρ_i · m/(1 − .9ᵗ) / (√(v/(1 − .999ᵗ) + 1e-10) + 1e-8),  t = 1, 2, …

Tensors that have seen the same steps have the same ρ. With lstm_hidden=64, 36,865 weights, of
which the 1,216 of "unused" are in the published files and nothing reads them. Haiku's draws:
truncated normal of standard deviation 1/√fan_in (cut at two of them, not corrected), biases
and first states of zero.

It needs the loss and the horizon.

differs: beyond the horizon its times stand still. A tensor without a gradient sends no
message.
"""

from typing import Any, NamedTuple

import jax
from jaxtyping import PRNGKeyArray, PyTree

from learned.building import scheduler
from learned.building.cells import LstmState, lstm_theta
from learned.building.scheduler import linear_theta
from opt_gym import plugins
from opt_gym.checks import check_counts, check_not_negative
from opt_gym.features.velo import limited
from opt_gym.maths.accumulators import leaves, like
from opt_gym.maths.array_namespace import constant, namespace, zeros_over
from opt_gym.plugins import Spec
from opt_gym.records import LearnedOptimizer, Memory, Observation, Signal

ADAM_DECAYS = (0.9, 0.999)
ROOT_FLOOR, EPSILON = 1e-10, 1e-8


class OfTensor(NamedTuple):
    """What is remembered of one tensor.

    Shapes: momentum and second_moment like the weights; lstm: two of [lstm_hidden].
    """

    momentum: Any
    second_moment: Any
    lstm: LstmState


def make(lstm_hidden: int = 64, learning_rate: float = 0.001) -> LearnedOptimizer:
    """The learned optimizer "celo_adam".

    Args:
        lstm_hidden: units of the LSTM and of the messages.
        learning_rate: of Adam where ρ = 1.

    Raises:
        ValueError: a size < 1, or a learning_rate < 0.
    """
    check_counts(lstm_hidden=lstm_hidden)
    check_not_negative(learning_rate=learning_rate)
    features = plugins.build("features", "velo", {"parameter_rows": False})
    num_inputs = len(features.shared_names)

    def init_theta(key: PRNGKeyArray) -> PyTree:
        keys = jax.random.split(key, 5)
        return {
            "inputs": linear_theta(keys[0], lstm_hidden, num_inputs),
            "messages": linear_theta(keys[1], lstm_hidden, num_inputs),
            "lstm": lstm_theta(keys[2], lstm_hidden, lstm_hidden),
            "start": scheduler.start_theta(lstm_hidden),
            "multiplier": linear_theta(keys[3], 1, lstm_hidden),
            "unused": linear_theta(keys[4], lstm_hidden, num_inputs),
        }

    def init(theta: PyTree, params: PyTree, roles: tuple[str, ...]) -> Memory:
        return Memory(
            tuple(
                OfTensor(
                    *(zeros_over(1, leaf)[0] for _ in range(2)),
                    lstm=scheduler.begin(theta, leaf),
                )
                for leaf in leaves(params)
            )
        )

    def step(
        theta: PyTree, carry: Memory, signal: Signal, observation: Observation
    ) -> tuple[Memory, tuple]:
        if not carry.tensors:  # no tensor to take a maximum over
            return carry, (signal.params,)
        states = tuple(memory.lstm for memory in carry.tensors)
        outputs, states = scheduler.advance(theta, states, observation)
        rates = -learning_rate * scheduler.multipliers(theta, outputs, positive=True)
        after, deltas = [], []
        for i, (memory, grad, age) in enumerate(
            zip(carry.tensors, leaves(signal.grad), signal.ages, strict=True)
        ):
            memory, direction = _adam(memory._replace(lstm=states[i]), grad, age)
            after.append(memory)
            deltas.append(rates[i] * direction)
        return Memory(tuple(after)), (like(signal.params, deltas),)

    return LearnedOptimizer(
        features=features,
        action_map=plugins.build("action", "update"),
        needs=features.needs,
        init_theta=init_theta,
        init=init,
        step=step,
    )


def _adam(before: OfTensor, grad: Any, age: Any) -> tuple[OfTensor, Any]:
    grad = limited(grad)
    b1, b2 = (constant(decay, grad) for decay in ADAM_DECAYS)
    momentum = b1 * before.momentum + (1.0 - b1) * grad
    second_moment = b2 * before.second_moment + (1.0 - b2) * grad * grad
    unbiased = second_moment / (1.0 - b2 ** (age + 1)) + ROOT_FLOOR
    root = namespace(grad).sqrt(unbiased) + EPSILON
    direction = momentum / (1.0 - b1 ** (age + 1)) / root
    return before._replace(momentum=momentum, second_moment=second_moment), direction


SPEC = Spec(
    kind="architecture",
    name="celo_adam",
    make=make,
    source="Moudgil et al. 2025 (Celo), arXiv:2501.12670; github.com/amoudgl/celo, "
    "celo_adam.py",
)

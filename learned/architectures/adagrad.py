"""Adagrad as TensorFlow 1 has it: a ← a + g², Δφ = −lr·g/√a, from an initial a above zero.

θ = {learning_rate, initial_accumulator_value}; equal to `optax.adagrad(..., eps=0)`.
"""

from typing import Any

from jaxtyping import PyTree

from learned.building.descent import hand_designed
from opt_gym.checks import check_not_negative, check_positive
from opt_gym.maths.array_namespace import namespace, zeros_over
from opt_gym.plugins import Spec
from opt_gym.records import LearnedOptimizer, Signal


def make(
    learning_rate: float = 0.01, initial_accumulator_value: float = 0.1
) -> LearnedOptimizer:
    """The optimizer "adagrad"; θ = {learning_rate, initial_accumulator_value}.

    Raises:
        ValueError: a number out of its range.
    """
    check_not_negative(learning_rate=learning_rate)
    check_positive("initial_accumulator_value", initial_accumulator_value)

    def start(theta: PyTree, leaf: Any) -> tuple:
        return (zeros_over(1, leaf)[0] + theta["initial_accumulator_value"],)

    def rule(
        theta: PyTree, grad: Any, memories: tuple, signal: Signal
    ) -> tuple[Any, tuple]:
        a = memories[0] + grad * grad
        return -theta["learning_rate"] * grad / namespace(a).sqrt(a), (a,)

    hyperparameters = {
        "learning_rate": learning_rate,
        "initial_accumulator_value": initial_accumulator_value,
    }
    return hand_designed(hyperparameters, start, rule)


SPEC = Spec(
    kind="architecture",
    name="adagrad",
    make=make,
    source="Duchi, Hazan & Singer 2011; TensorFlow 1.15 tf.train.AdagradOptimizer",
)

"""RMSProp: v ← β v + (1−β) g², Δφ = −lr·g/√(v + ε). Equal to `optax.rmsprop(lr, β, ε)`."""

from typing import Any

from jaxtyping import PyTree

from learned.building.descent import hand_designed, zeros
from opt_gym.checks import check_between, check_not_negative
from opt_gym.maths.array_namespace import namespace
from opt_gym.plugins import Spec
from opt_gym.records import LearnedOptimizer, Signal


def make(
    learning_rate: float = 0.001, decay: float = 0.9, epsilon: float = 1e-8
) -> LearnedOptimizer:
    """The optimizer "rmsprop"; θ = {learning_rate, decay, epsilon}.

    Raises:
        ValueError: a number out of its range.
    """
    check_not_negative(learning_rate=learning_rate, epsilon=epsilon)
    check_between("decay", decay, 0.0, 1.0)

    def rule(
        theta: PyTree, grad: Any, memories: tuple, signal: Signal
    ) -> tuple[Any, tuple]:
        v = theta["decay"] * memories[0] + (1 - theta["decay"]) * grad * grad
        root = namespace(v).sqrt(v + theta["epsilon"])
        return -theta["learning_rate"] * grad / root, (v,)

    hyperparameters = {
        "learning_rate": learning_rate,
        "decay": decay,
        "epsilon": epsilon,
    }
    return hand_designed(hyperparameters, zeros(1), rule)


SPEC = Spec(
    kind="architecture",
    name="rmsprop",
    make=make,
    source="Tieleman & Hinton 2012, Lecture 6.5",
)

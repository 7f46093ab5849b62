"""Heavy-ball momentum: m ← β m + g, Δφ = −lr·m. Equal to `optax.sgd(lr, momentum=β)`."""

from typing import Any

from jaxtyping import PyTree

from learned.building.descent import hand_designed, zeros
from opt_gym.checks import check_between, check_not_negative
from opt_gym.plugins import Spec
from opt_gym.records import LearnedOptimizer, Signal


def make(learning_rate: float = 0.01, decay: float = 0.9) -> LearnedOptimizer:
    """The optimizer "momentum"; θ = {learning_rate, decay}.

    Raises:
        ValueError: a number out of its range.
    """
    check_not_negative(learning_rate=learning_rate)
    check_between("decay", decay, 0.0, 1.0)

    def rule(
        theta: PyTree, grad: Any, memories: tuple, signal: Signal
    ) -> tuple[Any, tuple]:
        m = theta["decay"] * memories[0] + grad
        return -theta["learning_rate"] * m, (m,)

    hyperparameters = {"learning_rate": learning_rate, "decay": decay}
    return hand_designed(hyperparameters, zeros(1), rule)


SPEC = Spec(
    kind="architecture",
    name="momentum",
    make=make,
    source="Polyak 1964, doi:10.1016/0041-5553(64)90137-5",
)

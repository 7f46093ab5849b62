"""Stochastic gradient descent: Δφ = −lr·g. θ = {learning_rate}; equal to `optax.sgd`."""

from typing import Any

from jaxtyping import PyTree

from learned.building.descent import hand_designed, zeros
from opt_gym.checks import check_not_negative
from opt_gym.plugins import Spec
from opt_gym.records import LearnedOptimizer, Signal


def make(learning_rate: float = 0.1) -> LearnedOptimizer:
    """The optimizer "sgd"; θ = {learning_rate}.

    Raises:
        ValueError: a number out of its range.
    """
    check_not_negative(learning_rate=learning_rate)

    def rule(
        theta: PyTree, grad: Any, memories: tuple, signal: Signal
    ) -> tuple[Any, tuple]:
        return -theta["learning_rate"] * grad, memories

    return hand_designed({"learning_rate": learning_rate}, zeros(0), rule)


SPEC = Spec(
    kind="architecture",
    name="sgd",
    make=make,
    source="Robbins & Monro 1951",
)

"""Adam, with its hyperparameters as θ, so that a search over them is one `vmap` over θ.

    m ← β₁ m + (1−β₁) g,  v ← β₂ v + (1−β₂) g²
    Δφ = −lr · m/(1−β₁ᵗ) / (√(v/(1−β₂ᵗ)) + ε),  t = 1, 2, …

θ holds 1−β₁ and 1−β₂, as TaskSet draws them: in float32, 1 − (1 − 0.001) is off by 6e-5.
Equal to `optax.adam`.
"""

from typing import Any

from jaxtyping import PyTree

from learned import decay as decays
from learned.building.descent import hand_designed, zeros
from opt_gym.checks import check_adam
from opt_gym.maths.array_namespace import namespace
from opt_gym.plugins import Spec
from opt_gym.records import LearnedOptimizer, Signal


def make(
    learning_rate: float = 0.001,
    one_minus_b1: float = 0.1,
    one_minus_b2: float = 0.001,
    epsilon: float = 1e-8,
    decay: str | None = None,
) -> LearnedOptimizer:
    """The optimizer "adam"; θ = {learning_rate, one_minus_b1, one_minus_b2, epsilon}.

    Args:
        learning_rate, one_minus_b1, one_minus_b2, epsilon: θ at the start.
        decay: how the rate falls to 0 over the horizon: "cosine", "linear" or "wsd" (see
            `learned.to_optax`).

    Raises:
        ValueError: an unknown decay, or a number out of its range.
    """
    decays.check_decay(decay)

    def rule(
        theta: PyTree, grad: Any, memories: tuple, signal: Signal
    ) -> tuple[Any, tuple]:
        count = signal.ages[0] + 1
        a1, a2 = theta["one_minus_b1"], theta["one_minus_b2"]
        m = (1 - a1) * memories[0] + a1 * grad
        v = (1 - a2) * memories[1] + a2 * grad * grad
        unbiased_m = m / (1 - (1 - a1) ** count)
        unbiased_v = v / (1 - (1 - a2) ** count)
        falling = decays.factor(decay, signal.t, signal.horizon)
        rate = theta["learning_rate"] * falling
        delta = -rate * unbiased_m
        return delta / (namespace(grad).sqrt(unbiased_v) + theta["epsilon"]), (m, v)

    hyperparameters = {
        "learning_rate": learning_rate,
        "one_minus_b1": one_minus_b1,
        "one_minus_b2": one_minus_b2,
        "epsilon": epsilon,
    }
    check_adam(hyperparameters)
    needs = () if decay is None else ("horizon",)
    return hand_designed(hyperparameters, zeros(2), rule, needs=needs)


SPEC = Spec(
    kind="architecture",
    name="adam",
    make=make,
    source="Kingma & Ba 2014, arXiv:1412.6980, algorithm 1",
)

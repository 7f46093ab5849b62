"""Adam as TensorFlow 1 has it: ε stands outside the correction of the bias.

    Δφ = −lr · √(1−β₂ᵗ)/(1−β₁ᵗ) · m/(√v + ε),  t = 1, 2, …

Kingma & Ba call this ε "ε hat". In "adam" beside this file it stands inside. TaskSet's
spaces adam1p and adam4p are this rule; `adam_moments.py` says how βᵗ is computed.
"""

from typing import Any

from jaxtyping import PyTree

from learned.building import adam_moments
from learned.building.descent import hand_designed
from opt_gym.checks import check_adam
from opt_gym.maths.array_namespace import namespace
from opt_gym.plugins import Spec
from opt_gym.records import LearnedOptimizer, Signal


def make(
    learning_rate: float = 0.001,
    one_minus_b1: float = 0.1,
    one_minus_b2: float = 0.001,
    epsilon: float = 1e-8,
) -> LearnedOptimizer:
    """The optimizer "tf_adam"; θ as that of "adam".

    Args:
        learning_rate, one_minus_b1, one_minus_b2, epsilon: θ at the start.

    Raises:
        ValueError: a number out of its range.
    """

    def rule(
        theta: PyTree, grad: Any, memories: tuple, signal: Signal
    ) -> tuple[Any, tuple]:
        (m, v, p1, p2), kept = adam_moments.follow(theta, grad, memories)
        xp = namespace(grad)
        rate = theta["learning_rate"] * xp.sqrt(1 - p2) / (1 - p1)
        return -rate * m / (xp.sqrt(v) + theta["epsilon"]), kept

    hyperparameters = {
        "learning_rate": learning_rate,
        "one_minus_b1": one_minus_b1,
        "one_minus_b2": one_minus_b2,
        "epsilon": epsilon,
    }
    check_adam(hyperparameters)
    return hand_designed(hyperparameters, adam_moments.start, rule)


SPEC = Spec(
    kind="architecture",
    name="tf_adam",
    make=make,
    source="TensorFlow 1.15 tf.train.AdamOptimizer; Kingma & Ba 2014, arXiv:1412.6980, "
    "section 2, last paragraph",
)

"""TaskSet's Adam with eight numbers: penalties on the weights and two decays of the rate.

    g ← g + 2 l₂ φ + l₁ sign φ
    u = m/(1−β₁ᵗ) / (√(v/(1−β₂ᵗ) + 1e-10) + ε)
    Δφ = −lr · max(1 − linear_decay·s, 0) · exp(−exponential_decay·s) · u

with t = 1, 2, … and s = (t − 1) · 10,000/T, T the planned number of steps: the decays are
per step of a run of 10,000, and stretched to the run at hand. `adam_moments.py` says how βᵗ is
computed. TaskSet's space adam6p is this rule without penalties.

`faithful=True` leaves the stretch out (s = t − 1), as TaskSet's code does for adam8p: the
number of steps is never handed on there.
"""

from typing import Any

from jaxtyping import PyTree

from learned.building import adam_moments
from learned.building.descent import hand_designed
from opt_gym.checks import check_adam, check_not_negative
from opt_gym.maths.array_namespace import namespace, sign
from opt_gym.plugins import Spec
from opt_gym.records import LearnedOptimizer, Signal

REFERENCE_STEPS = 10_000
"""The length of TaskSet's runs, in which the decays are counted."""

_INSIDE_ROOT = 1e-10


def make(
    learning_rate: float = 0.001,
    one_minus_b1: float = 0.1,
    one_minus_b2: float = 0.001,
    epsilon: float = 1e-8,
    l1: float = 0.0,
    l2: float = 0.0,
    linear_decay: float = 0.0,
    exponential_decay: float = 0.0,
    faithful: bool = False,
) -> LearnedOptimizer:
    """The optimizer "adam8p"; θ = the eight numbers.

    Args:
        learning_rate, one_minus_b1, one_minus_b2, epsilon: as in "adam".
        l1, l2: factors of Σ|φ| and Σφ², which are added to the loss.
        linear_decay, exponential_decay: of the rate, per step of a run of 10,000.
        faithful: count the run's own steps instead, whatever its length.

    Raises:
        ValueError: a number out of its range.
    """

    def rule(
        theta: PyTree, grad: Any, memories: tuple, signal: Signal
    ) -> tuple[Any, tuple]:
        xp = namespace(grad)
        penalty = 2 * theta["l2"] * signal.params
        penalty = penalty + theta["l1"] * sign(signal.params)
        (m, v, p1, p2), kept = adam_moments.follow(theta, grad + penalty, memories)
        root = xp.sqrt(v / (1 - p2) + _INSIDE_ROOT)
        direction = m / (1 - p1) / (root + theta["epsilon"])
        s = 1.0 * signal.t
        if not faithful:
            s = s * (REFERENCE_STEPS / (1.0 * signal.horizon))
        linear = xp.clip(1 - theta["linear_decay"] * s, min=0.0)
        rate = theta["learning_rate"] * linear
        return -rate * xp.exp(-theta["exponential_decay"] * s) * direction, kept

    hyperparameters = {
        "learning_rate": learning_rate,
        "one_minus_b1": one_minus_b1,
        "one_minus_b2": one_minus_b2,
        "epsilon": epsilon,
        "l1": l1,
        "l2": l2,
        "linear_decay": linear_decay,
        "exponential_decay": exponential_decay,
    }
    check_adam(hyperparameters)
    check_not_negative(**hyperparameters)
    return hand_designed(
        hyperparameters,
        adam_moments.start,
        rule,
        needs=() if faithful else ("horizon",),
    )


SPEC = Spec(
    kind="architecture",
    name="adam8p",
    make=make,
    source="Metz et al. 2020, arXiv 2002.11887 (google-research/task_set, "
    "optimizers/adam8p.py); its equation has slips, this is what the code does",
)

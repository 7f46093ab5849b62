"""NAdamW with a warm-up and a cosine: TaskSet's best space, and the rule of OptList.

    g ← g + l2_weight_decay·φ
    r_t = rate(t−1) · √(1−β₂ᵗ)/(1−β₁ᵗ)
    Δφ = −r_t · d/(√v + ε) − r_t · adamw_weight_decay · φ,   t = 1, 2, …

d is m, or with Nesterov's momentum β₁ m + (1−β₁) g. `use_nesterov` is a number of θ, 0 or 1,
so that a search runs both in one program. `rate` is `schedule` below; `adam_moments.py` says
how βᵗ is computed. differs from `optax.nadamw`: ε stands outside the correction of the bias
(which also scales the weight decay), and Nesterov's step has no correction of its own.

`faithful=True` keeps three faults of TaskSet's code, with which its curves were made and its
list was chosen: the sign of l2_weight_decay (a reward for large weights), `use_nesterov` is
dropped, and a warm-up ends at the earlier of warmup_fraction and constant_fraction, not at
the later.
"""

import math
from typing import Any

from jaxtyping import Array, Float, Int, PyTree

from learned.building import adam_moments
from learned.building.descent import hand_designed
from opt_gym.checks import check_adam, check_between, check_not_negative
from opt_gym.maths.array_namespace import namespace
from opt_gym.plugins import Spec
from opt_gym.records import LearnedOptimizer, Signal


def make(
    learning_rate: float = 0.001,
    one_minus_b1: float = 0.1,
    one_minus_b2: float = 0.001,
    epsilon: float = 1e-8,
    use_nesterov: float = 1.0,
    adamw_weight_decay: float = 0.0,
    l2_weight_decay: float = 0.0,
    warmup_fraction: float = 0.0,
    min_learning_rate_mult: float = 0.0,
    constant_fraction: float = 0.0,
    faithful: bool = False,
) -> LearnedOptimizer:
    """The optimizer "nadamw"; θ = the ten numbers. It needs the horizon.

    Args:
        learning_rate: the highest of the run.
        one_minus_b1, one_minus_b2, epsilon: as in "tf_adam".
        use_nesterov: 0 or 1.
        adamw_weight_decay: decoupled from the gradient, times the rate.
        l2_weight_decay: added to the gradient.
        warmup_fraction, min_learning_rate_mult, constant_fraction: see `schedule`.
        faithful: keep the faults of TaskSet's code.

    Raises:
        ValueError: a number out of its range.
    """

    def rule(
        theta: PyTree, grad: Any, memories: tuple, signal: Signal
    ) -> tuple[Any, tuple]:
        l2 = theta["l2_weight_decay"] * signal.params
        grad = grad - l2 if faithful else grad + l2
        (m, v, p1, p2), kept = adam_moments.follow(theta, grad, memories)
        direction = m
        if not faithful:
            # β₁ m + (1−β₁) g, where use_nesterov is 1.
            ahead = theta["one_minus_b1"] * (grad - m)
            direction = m + theta["use_nesterov"] * ahead
        rate = schedule(theta, signal.t, signal.horizon, faithful=faithful)
        xp = namespace(grad)
        rate = rate * xp.sqrt(1 - p2) / (1 - p1)
        step = direction / (xp.sqrt(v) + theta["epsilon"])
        return -rate * (step + theta["adamw_weight_decay"] * signal.params), kept

    hyperparameters = {
        "learning_rate": learning_rate,
        "one_minus_b1": one_minus_b1,
        "one_minus_b2": one_minus_b2,
        "epsilon": epsilon,
        "use_nesterov": use_nesterov,
        "adamw_weight_decay": adamw_weight_decay,
        "l2_weight_decay": l2_weight_decay,
        "warmup_fraction": warmup_fraction,
        "constant_fraction": constant_fraction,
        "min_learning_rate_mult": min_learning_rate_mult,
    }
    check_adam(hyperparameters)
    check_not_negative(**hyperparameters)
    for key in ("warmup_fraction", "constant_fraction", "use_nesterov"):
        check_between(key, hyperparameters[key], 0.0, 1.0)
    return hand_designed(
        hyperparameters,
        adam_moments.start,
        rule,
        needs=("horizon",),
    )


def schedule(
    theta: PyTree,
    t: Int[Array, ""] | int,
    horizon: Int[Array, ""] | int,
    *,
    faithful: bool = False,
) -> Float[Array, ""]:
    """The learning rate of the step after t updates.

    With c = constant_fraction·T and w = max(warmup_fraction, constant_fraction)·T (faithful:
    min): lr until c, then half a cosine down to min_learning_rate_mult·lr at T, where it
    stays; but lr·t/w before w, if warmup_fraction > 0.

    Args:
        theta: its learning_rate and the three numbers of the schedule.
        t: updates done, 0 at the first.
        horizon: T, the planned number of steps.
        faithful: see above.

    Source: google-research/opt_list, JAX version; TaskSet's optimizers/nadamw.py has min.
    """
    rate, fraction = theta["learning_rate"], theta["constant_fraction"]
    warmup = theta["warmup_fraction"]
    xp = namespace(rate)
    total = 1.0 * horizon
    done = xp.where(t < horizon, 1.0 * t, total)
    constant = fraction * total
    # A run without a cosine has 0/0 here.
    length = xp.clip(total - constant, min=1e-6)
    part = xp.clip(done - constant, min=0.0) / length
    cosine = xp.cos(math.pi * part)
    lowest = theta["min_learning_rate_mult"] * rate
    base = (rate - lowest) * (0.5 * cosine + 0.5) + lowest
    either = xp.minimum if faithful else xp.maximum
    until = total * either(warmup, fraction)
    rising = rate * done / xp.clip(until, min=1e-6)
    return xp.where((warmup > 0) & (done < until), rising, base)


SPEC = Spec(
    kind="architecture",
    name="nadamw",
    make=make,
    source="Metz et al. 2020, arXiv 2002.11887 (google-research/task_set, "
    "optimizers/nadamw.py, and google-research/opt_list)",
)

"""What both ways out are told beside θ, checked: horizons, factors and roles."""

import math
import warnings
from collections.abc import Sequence
from typing import Any

from jax.core import Tracer

from opt_gym.checks import check_whole
from opt_gym.plugins import unknown
from opt_gym.records import LearnedOptimizer

ROLES = ("kernel", "bias", "embedding", "norm")


def planned_horizon(
    learned_optimizer: LearnedOptimizer, horizon: Any, decay: str | None
) -> Any:
    """The user's, else the one θ was trained for: an int, or what is traced.

    None where it is not known, and where the architecture only welcomes it and the user says
    nothing: what θ was trained for would then be taken for the truth.

    Raises:
        ValueError: no whole number from 1 to 2³¹ − 1, or none where the architecture or the
            decay needs it.
    """
    if horizon is None:
        trained = learned_optimizer.trained_horizon
        horizon = assumed_horizon(learned_optimizer) if decay is None else trained
    if horizon is None and "horizon" in learned_optimizer.needs:
        raise ValueError(
            f"{learned_optimizer.name!r} needs horizon=, the number of steps"
        )
    if horizon is None and decay is not None:
        raise ValueError(f"decay={decay!r} needs horizon=, the number of steps")
    return None if horizon is None else whole_horizon(horizon, 1)


def assumed_horizon(learned_optimizer: LearnedOptimizer) -> int | None:
    """Where nobody says one and nothing decays by it; see `planned_horizon`."""
    is_only_welcome = "horizon" in learned_optimizer.welcomes
    return None if is_only_welcome else learned_optimizer.trained_horizon


def whole_horizon(horizon: Any, least: int) -> Any:
    """The horizon as an int, or what is traced.

    Raises:
        ValueError: no whole number from `least` to 2³¹ − 1.
    """
    if isinstance(horizon, Tracer):
        return horizon
    number = known_number("horizon", horizon)
    if number is not None and number.is_integer():
        horizon = int(number)
    check_whole("horizon", horizon, least)
    return horizon


def known_number(name: str, value: Any) -> float | None:
    """A number as a float; None for None, and for one that is traced.

    Raises:
        ValueError: it is no number.
    """
    if value is None or isinstance(value, Tracer):
        return None
    try:
        if isinstance(value, str):  # "7" would be one
            raise TypeError
        return float(value.detach() if hasattr(value, "detach") else value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        raise ValueError(f"{name} must be a number, got {value!r}") from None


def check_factor(name: str, value: Any) -> None:
    """Raises ValueError for what is known, and is not a finite number >= 0."""
    number = None if callable(value) else known_number(name, value)
    if number is not None and not 0.0 <= number < math.inf:
        raise ValueError(f"{name} must be >= 0 and finite, got {value!r}")


def check_roles(roles: Sequence[str], count: int) -> None:
    """Raises ValueError unless there is a role for each of `count` tensors."""
    if isinstance(roles, str) or len(roles) != count:
        raise ValueError(f"roles must name {count} tensors, got {roles!r}")
    for role in roles:
        if role not in ROLES:
            raise ValueError(unknown("role", str(role), list(ROLES)))


_REMEDY = "; decay='cosine' with the true horizon helps"

FAR = 10
"""How many times the trained horizon is far, for what is told the true one and decays by it;
and how many times the size of the largest task."""


LARGE_DECAY = 1e-3
"""Of a weight, in a step: from here on `general` trains worse on every kind of task."""


def farthest(learned_optimizer: LearnedOptimizer) -> int | None:
    """The longest training that nothing is said of; None where nobody knows one."""
    trained = learned_optimizer.trained_horizon
    if trained is None:
        return None
    return trained * (FAR if "horizon" in learned_optimizer.welcomes else 1)


def warn_of_horizon(
    learned_optimizer: LearnedOptimizer, horizon: Any, decay: str | None
) -> None:
    """Warns where more steps are planned than θ was trained for, and no decay over them.

    A horizon that is traced, as `optax.inject_hyperparams` has it, is not looked at.
    """
    most = farthest(learned_optimizer)
    if most is None or not isinstance(horizon, int) or decay is not None:
        return
    if horizon > most:
        warnings.warn(going_beyond(learned_optimizer), stacklevel=3)


def warn_of_size(
    learned_optimizer: LearnedOptimizer, count: int, stacklevel: int = 4
) -> None:
    """Warns where a model of `count` weights is far beyond those θ was trained on."""
    trained = learned_optimizer.trained_size
    if trained is not None and count > FAR * trained:
        warnings.warn(
            f"{learned_optimizer.name!r} was trained on models of up to {trained:,} weights, "
            f"and this one has {count:,}: what it does there was not seen",
            stacklevel=stacklevel,
        )


def warn_of_weight_decay(
    learned_optimizer: LearnedOptimizer,
    weight_decay: Any,
    learning_rate: Any,
    stacklevel: int = 3,
) -> None:
    """Warns where weights shrink by a thousandth a step or more, which a learned θ never saw.

    AdamW's weight decay is multiplied by a learning rate of perhaps 3e-3, ours by one of 1: who
    takes his own along trains something else (results/what_to_tune.md). Schedules and what is
    traced are not looked at.
    """
    if learned_optimizer.trained_horizon is None or callable(learning_rate):
        return
    decay = known_number("weight_decay", weight_decay)
    rate = known_number("learning_rate", learning_rate)
    if decay is None or rate is None or decay * rate < LARGE_DECAY:
        return
    warnings.warn(
        f"weight_decay={weight_decay} with a learning rate of {learning_rate} takes "
        f"{decay * rate:.2g} of every weight in every step: AdamW's decay is multiplied by a "
        "small rate, that of a learned optimizer is not; 1e-5 to 1e-4 is usual here",
        stacklevel=stacklevel,
    )


def going_beyond(learned_optimizer: LearnedOptimizer) -> str:
    """What is said where a training goes beyond the trained horizon."""
    name, trained = learned_optimizer.name, learned_optimizer.trained_horizon
    remedy = "" if "horizon" in learned_optimizer.welcomes else _REMEDY
    return (
        f"{name!r} was trained for {trained} steps, and this training goes beyond: what "
        f"follows then was not seen{remedy}"
    )

"""Outer optimizers: usual ones with warm-up, a cosine, and clipping."""

from collections.abc import Callable
from typing import Any

import optax

from opt_gym.checks import check_positive
from opt_gym.plugins import unknown

USUAL: dict[str, Callable[..., optax.GradientTransformation]] = {
    "adam": lambda rate: optax.adam(rate, b1=0.9, b2=0.99),
    "adamw": lambda rate: optax.adamw(rate, b1=0.9, b2=0.99),
    "rmsprop": lambda rate: optax.rmsprop(rate, decay=0.99),
    "sgd": lambda rate: optax.sgd(rate),
}
"""By name, each a function of its learning rate or schedule."""


def outer_optimizer(
    name: str,
    learning_rate: float,
    outer_steps: int,
    *,
    warm_up: int = 20,
    end: float = 0.05,
) -> optax.GradientTransformation:
    """One of `USUAL` with warm-up, then a cosine to `end` times the rate.

    Args:
        name: one of `USUAL`.
        learning_rate: after the warm-up.
        outer_steps: where the cosine ends.
        warm_up: outer steps, at most half of them all.
        end: share of the rate that is left at the end; 1 for a constant rate.

    Raises:
        ValueError: an unknown name, a rate that is not above 0.
    """
    if name not in USUAL:
        raise ValueError(unknown("outer optimizer", name, list(USUAL)))
    check_positive("learning_rate", learning_rate)
    warm_up = min(warm_up, outer_steps // 2)
    rate: Any = optax.warmup_cosine_decay_schedule(
        0.0,
        learning_rate,
        warm_up,
        max(outer_steps, warm_up + 1),
        learning_rate * end,
    )
    return USUAL[name](rate)


def clipped(
    optimizer: optax.GradientTransformation,
    *,
    norm: float = 0.0,
    coordinate: float = 0.0,
) -> optax.GradientTransformationExtraArgs:
    """An optimizer behind clipping of gradients.

    Args:
        optimizer: any.
        norm: the largest global norm; 0 for any.
        coordinate: the largest |coordinate| (Metz 2019: 0.1; VeLO: 3); 0 for any.

    Raises:
        ValueError: a bound below 0.
    """
    if norm < 0 or coordinate < 0:
        raise ValueError(f"clipping must be >= 0, got {norm} and {coordinate}")
    steps = [optax.clip(coordinate)] if coordinate else []
    steps += [optax.clip_by_global_norm(norm)] if norm else []
    return optax.chain(*steps, optimizer)

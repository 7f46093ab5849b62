"""How a factor moves over the horizon; the same for both frameworks."""

import math
from typing import Any

from opt_gym.maths.array_namespace import namespace
from opt_gym.plugins import unknown

DECAYS = (None, "cosine", "linear", "wsd")

WARM_UP, COOL_DOWN = 0.01, 0.2
"""Shares of the horizon in which "wsd" rises and falls."""


def check_decay(decay: str | None) -> None:
    """Raises ValueError for a decay that is none of `DECAYS`."""
    if decay not in DECAYS:
        raise ValueError(unknown("decay", str(decay), [str(known) for known in DECAYS]))


def factor(decay: str | None, t: Any, horizon: Any) -> Any:
    """What the step at t is multiplied by; at the horizon and beyond it is 0. 1 for None."""
    if decay is None:
        return 1.0
    if decay == "cosine":
        return cosine(t, horizon)
    return linear(t, horizon) if decay == "linear" else wsd(t, horizon)


def cosine(t: Any, horizon: Any) -> Any:
    """From 1 at t = 0 to 0 at the horizon, where it stays: half a cosine."""
    xp = namespace(t)
    return 0.5 * (1.0 + xp.cos(math.pi * xp.clip(t / horizon, 0.0, 1.0)))


def linear(t: Any, horizon: Any) -> Any:
    """From 1 at t = 0 to 0 at the horizon: a straight line."""
    return namespace(t).clip(1.0 - t / horizon, 0.0, 1.0)


def wsd(t: Any, horizon: Any) -> Any:
    """Warm-up, stable, decay: a hundredth of the horizon up, 1, the last fifth down to 0.

    Source: Hu et al. 2024, arXiv 2404.06395, section 4 (MiniCPM); the straight line down and
    its length: Hägele et al. 2024, arXiv 2405.18392.
    """
    xp = namespace(t)
    up = xp.clip((t + 1.0) / (WARM_UP * horizon), 0.0, 1.0)
    return up * xp.clip((1.0 - t / horizon) / COOL_DOWN, 0.0, 1.0)

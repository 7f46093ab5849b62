"""How a factor falls over the horizon; the same for both frameworks."""

import math
from typing import Any

from opt_gym.maths.array_namespace import namespace
from opt_gym.plugins import unknown

DECAYS = (None, "cosine")


def check_decay(decay: str | None) -> None:
    """Raises ValueError for a decay that is none of `DECAYS`."""
    if decay not in DECAYS:
        raise ValueError(unknown("decay", str(decay), [str(known) for known in DECAYS]))


def cosine(t: Any, horizon: Any) -> Any:
    """From 1 at t = 0 to 0 at the horizon, where it stays: half a cosine."""
    xp = namespace(t)
    return 0.5 * (1.0 + xp.cos(math.pi * xp.clip(t / horizon, 0.0, 1.0)))

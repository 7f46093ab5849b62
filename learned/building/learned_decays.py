"""Decays of averages as a part of θ: β = 1 − exp(10·(log(1 − β₀)/10 + δ)), δ zero at first.

Source: google/learned_optimization, learned_optimizers/adafac_mlp_lopt.py.
"""

from typing import Any

import jax.numpy as jnp

from opt_gym.features import adafactor
from opt_gym.maths.array_namespace import namespace


def offsets() -> dict[str, Any]:
    """δ of the seven averages of features "adafactor", for θ."""
    starts = adafactor.constants(jnp.zeros(()))._asdict()
    return {name: jnp.zeros_like(decays) for name, decays in starts.items()}


def decays(offsets: Any, like: Any) -> adafactor.Decays:
    """β of these averages from their δ, `offsets`; arrays of the kind that `like` is."""
    xp = namespace(like)

    def decay(start: Any, offset: Any) -> Any:
        return 1.0 - xp.exp(10.0 * (xp.log(1.0 - start) / 10.0 + offset))

    starts = adafactor.constants(like)._asdict()
    return adafactor.Decays(
        **{name: decay(start, offsets[name]) for name, start in starts.items()}
    )

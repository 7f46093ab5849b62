"""What the fixed tasks' configs are made of."""

from typing import Any

Config = dict[str, Any]
"""As `opt_gym.records.Config`, which would import JAX."""

SONNET = ["sonnet", None]
"""The default initializer of the fixed tasks' layers."""

CONTRIB = ["contrib_variance_scaling", 2.6]
"""TensorFlow's contrib variance scaling, factor 1.3 times He's 2."""


def images(name: str, bs: int, num_valid: int = 3000) -> list[Any]:
    """A config's `dataset`; slices for validation are smaller than the families'."""
    valid = {"coil100_32x32": 800, "colorectal_histology_32x32": 700}
    return [name, {"bs": bs, "num_valid": valid.get(name, num_valid)}, None]


def core(name: str, units: int, act_fn: str = "tanh") -> list[Any]:
    """A recurrent core with Sonnet's default initializers."""
    settings: dict[str, Any] = {"core_dim": units}
    if name in ("vrnn", "irnn"):
        settings["act_fn"] = act_fn
    return [name, settings]

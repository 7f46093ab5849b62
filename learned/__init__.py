"""Learned-optimizer architectures, their θ files, and the way out into optax."""

from typing import Any

from learned.exporting import export
from learned.guarded_optax import guarded
from learned.hub import push_to_hub
from learned.on_your_model import compare_on
from learned.optax_state import beyond, skipped, state_sharding
from learned.optax_transformation import scale_by_learned, to_optax
from learned.published import load_published
from learned.published_list import opt_list
from learned.theta_file import load, save
from opt_gym import plugins
from opt_gym.records import LearnedOptimizer

__all__ = [
    "beyond",
    "compare_on",
    "export",
    "guarded",
    "load",
    "load_published",
    "make",
    "names",
    "opt_list",
    "push_to_hub",
    "save",
    "scale_by_learned",
    "skipped",
    "state_sharding",
    "to_optax",
]


def names() -> list[str]:
    """Every architecture, hand-designed ones included."""
    return plugins.names("architecture")


def make(name: str, **config: Any) -> LearnedOptimizer:
    """The learned optimizer of an architecture.

    Args:
        name: one of `names()`.
        config: the architecture's own settings; unknown ones are an error.

    Raises:
        ValueError: unknown name or setting (near matches are named), or a bad value.
    """
    return plugins.build("architecture", name, config)

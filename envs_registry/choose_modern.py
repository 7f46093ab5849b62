"""How the lists of `modern-*-v1` were chosen: `python -m envs_registry.choose_modern DIR`.

Families of our own that TaskSet lacks, from seeds in order: tiny twins, and the tasks
themselves, each with a step that costs little. What a step costs is counted, not timed, so
that every machine chooses the same.
"""

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from envs_registry.choosing import Part, teaches_nothing, write_lists
from opt_gym import plugins
from opt_gym.records import Config
from opt_gym.tasks.named import TINY_SUFFIX

FAMILIES = (
    "transformer_lm",
    "mixer",
    "resnet",
    "mobilenet",
    "outer_training",
    "fine_tuning",
    "rl_policy",
)
HELD_OUT_FAMILIES = ("vit", "physics")
TINY, SMALL = "modern-tiny-v1", "modern-small-v1"

LEAST_GAIN = 0.05
"""Of the initial loss: so much of it the best of Adam's rates must take away."""


def num_operations(config: Config) -> float:
    """Of a loss and its gradient, floating-point; the body of a loop over time counts once."""
    task = plugins.spec("task", config["family"]).make(config)

    def gradient(key: Any, data: Any) -> Any:
        params, instance = task.init(key, data)
        batch = task.sample_batch(key, data, instance, "train")
        return jax.grad(lambda p: task.loss(key, p, instance, batch)[0])(params)

    lowered = jax.jit(gradient).lower(jax.random.key(0), task.load_data("embedded"))
    return (lowered.cost_analysis() or {}).get("flops", math.inf)


def costs_more_than(most: float) -> Callable[[Config], str]:
    """An objection to configs whose step takes more operations than that."""

    def objection(config: Config) -> str:
        count = num_operations(config)
        return f"{count:.2g} operations, above {most:.2g}" if count > most else ""

    return objection


_TINY: dict[str, Any] = {"suffix": TINY_SUFFIX, "objection": costs_more_than(6e7)}
_SMALL: dict[str, Any] = {"objection": costs_more_than(1.5e8)}
PARTS = (
    Part(f"{TINY}/train", 36, FAMILIES, 0, **_TINY),
    Part(f"{TINY}/held_out", 12, FAMILIES, 1000, **_TINY),
    Part(f"{TINY}/held_out_families", 12, HELD_OUT_FAMILIES, 2000, **_TINY),
    Part(f"{SMALL}/train", 18, FAMILIES, 3000, **_SMALL),
    Part(f"{SMALL}/held_out", 8, FAMILIES, 4000, **_SMALL),
    Part(f"{SMALL}/held_out_families", 8, HELD_OUT_FAMILIES, 5000, **_SMALL),
)


def weakness(row: dict[str, str]) -> str:
    """What speaks against a task that could be measured."""
    initial, best = float(row["initial"]), float(row["best"])
    if initial - best < LEAST_GAIN * abs(initial):
        return f"no rate of Adam's lowers {initial:.4g} by {LEAST_GAIN:.0%}"
    return teaches_nothing(row)


if __name__ == "__main__":
    write_lists(
        Path(sys.argv[1]), PARTS, lambda title: not title.startswith("modern"), weakness
    )

"""Which numbers an option may have: every command's are checked before it does anything."""

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from opt_gym.checks import MOST


class Range(NamedTuple):
    """The numbers from `low` to `high`; `open`: without `low` itself."""

    low: float
    high: float = MOST
    open: bool = False

    def has(self, value: float) -> bool:
        """Whether it may be."""
        above = value > self.low if self.open else value >= self.low
        return math.isfinite(value) and above and value <= self.high

    def __str__(self) -> str:
        relation = ">" if self.open else ">="
        return f"a number {relation} {_plain(self.low)} and <= {_plain(self.high)}"


def _plain(value: float) -> str:
    return f"{value:.0f}" if value == int(value) < 1e15 else f"{value:g}"


LARGEST_RATE = 1e9
COUNT, INDEX = Range(1), Range(0)
RANGES: dict[str, Range] = {
    "clip_coordinate": Range(0, 1e30),
    "clip_norm": Range(0, 1e30),
    "evaluate_every": COUNT,
    "evaluate_seeds": COUNT,
    "hide_horizon": Range(0, 1),
    "hide_loss": Range(0, 1),
    "horizon": Range(1, 2**24),
    "horizons": Range(1, 1000),
    "hours": Range(0, 1e5, open=True),
    "inner_steps": COUNT,
    "learning_rate": Range(0, LARGEST_RATE, open=True),
    "learning_rates": Range(0, LARGEST_RATE, open=True),
    "limit": Range(0, 1e9, open=True),
    "max_params": INDEX,
    "max_programs": INDEX,
    "max_seconds": Range(0, 1e9, open=True),
    "memory": Range(0, 1e6, open=True),
    "min_params": INDEX,
    "num_seeds": Range(1, 10_000),
    "outer_steps": COUNT,
    "points": Range(1, 100_000),
    "grow_by": Range(0, 1_000_000),
    "ray_workers": Range(0, 10_000),
    "refresh_every": COUNT,
    "seed": INDEX,
    "seeds": Range(1, 10_000),
    "sigma": Range(0, 1e9, open=True),
    "task_weights": Range(0, 1e30, open=True),
    "tasks_per_step": COUNT,
    "trained_horizon": Range(1, 2**24),
    "trunc_length": COUNT,
    "workers": Range(0, 10_000),
}
"""By name, which means one thing in every command."""


def check(arguments: dict[str, Any]) -> None:
    """Raises ValueError for a number outside of its range, naming option and value."""
    for name, value in arguments.items():
        many = value if isinstance(value, Sequence) else (value,)
        for number in many:
            is_number = isinstance(number, int | float) and not isinstance(number, bool)
            if is_number and not RANGES[name].has(number):
                option = f"--{name.replace('_', '-')}"
                raise ValueError(f"{option} must be {RANGES[name]}, got {number!r}")


def checked(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command, whose numbers are checked first."""

    @functools.wraps(command)
    def run(*args: Any, **keywords: Any) -> Any:
        bound = inspect.signature(command).bind(*args, **keywords)
        bound.apply_defaults()
        check(bound.arguments)
        return command(*args, **keywords)

    return run

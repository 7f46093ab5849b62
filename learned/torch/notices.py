"""What a training is told once, without waiting for an accelerator."""

import warnings
from typing import Any

import torch

from learned.arguments import warn_of_size, warn_of_weight_decay
from learned.torch.tensors import total_size
from opt_gym.maths.array_namespace import is_readable
from opt_gym.records import LearnedOptimizer

MANY = 50


def warn_at_first(
    learned_optimizer: LearnedOptimizer, groups: list[dict[str, Any]]
) -> None:
    """What is worth saying of a model and its groups' settings before the first step."""
    params = (param for group in groups for param in group["params"])
    warn_of_size(learned_optimizer, total_size(params), stacklevel=5)
    for group in groups:
        settings = group["weight_decay"], group["lr"]
        warn_of_weight_decay(learned_optimizer, *settings, stacklevel=4)


class SkippedInARow:
    """Counts steps in a row that changed nothing, and warns where there are many."""

    def __init__(self, name: str) -> None:
        """Of an optimizer of that name."""
        self._name = name
        self._told = False
        self._count: Any = None
        self._arriving: Any = None
        self._calls = 0

    def saw(self, usable: torch.Tensor) -> None:
        """One step, and whether its gradient was `usable`: a flag on its device."""
        if self._count is None:
            self._count = torch.zeros_like(usable, dtype=torch.int64)
        self._count = torch.where(usable, 0, self._count.to(usable.device) + 1)
        self._calls += 1
        known = self._count if is_readable(usable) else self._arrived()
        if not self._told and known is not None and int(known) >= MANY:
            self._told = True
            self._warn()

    def _arrived(self) -> Any:
        """What a copy said that was begun `MANY` calls ago, and has long been here."""
        if self._calls % MANY:
            return None
        known, self._arriving = (
            self._arriving,
            self._count.to("cpu", non_blocking=True),
        )
        return known

    def _warn(self) -> None:
        warnings.warn(
            f"{self._name!r}: {MANY} gradients or losses in a row were not finite, and "
            "none of them changed a weight (`optimizer.skipped` counts them)",
            stacklevel=6,
        )

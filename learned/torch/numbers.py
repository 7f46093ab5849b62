"""Single numbers that a step is told, and choices on the device."""

import math
from typing import Any

import jax
import torch
from jaxtyping import PyTree

from opt_gym.maths import limits
from opt_gym.records import Signal

_GREATEST = torch.finfo(torch.float32).max


def float32(tensor: torch.Tensor) -> torch.Tensor:
    """In float32; what is finite and beyond its range is its greatest number."""
    if tensor.dtype == torch.float64:
        within = tensor.clamp(-_GREATEST, _GREATEST)
        tensor = torch.where(tensor.isinf(), tensor, within)
    return tensor.float()


def scalar(name: str, value: Any, device: torch.device) -> torch.Tensor:
    """One number as a tensor of its own.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, float) and math.isfinite(value):
        value = min(max(value, -_GREATEST), _GREATEST)
    try:
        number = torch.as_tensor(value, device=device).detach()
        return float32(number).reshape(())
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} must be one number, got {value!r}") from error


def detached(value: Any) -> Any:
    """A loss without what it was computed from, so that it can be copied."""
    return value.detach() if isinstance(value, torch.Tensor) else value


def usable(signal: Signal, with_loss: bool) -> torch.Tensor:
    """Whether gradients, and the loss, are finite."""
    # Their least and greatest numbers: a sum could overflow.
    known = [end for grad in signal.grad for end in limits.ends(grad)]
    known = [*known, signal.loss] if with_loss else known
    device = known[0].device
    return torch.isfinite(torch.stack([end.to(device) for end in known])).all()


def where(condition: torch.Tensor, after: PyTree, before: PyTree) -> PyTree:
    """One tree or the other."""
    if limits.is_readable(condition):  # where looking costs nothing
        return after if bool(condition) else before
    return jax.tree.map(lambda a, b: torch.where(condition, a, b), after, before)

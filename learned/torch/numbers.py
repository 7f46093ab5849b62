"""Single numbers that a step is told, and choices on the device."""

import math
from typing import Any

import jax
import torch
from jaxtyping import PyTree

from opt_gym.maths import limits
from opt_gym.maths.array_namespace import is_readable
from opt_gym.records import LearnedOptimizer, Signal

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


def of_closure(closure: Any) -> tuple[Any, Any]:
    """(the loss that it tells, what it returned): it may set one for the step, too.

    Args:
        closure: evaluates the model, calls backward and returns the loss; or the loss itself,
            as `GradScaler.step(optimizer, loss)` hands it on; or None.
    """
    if not callable(closure):
        return closure, None
    with torch.enable_grad():
        returned = closure()
    return returned, returned


def first_of(*losses: Any) -> Any:
    """The first loss that is there; None where none is."""
    return next((loss for loss in losses if loss is not None), None)


def told(
    name: str, value: Any, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """(a number, whether it was told): 0 for None, and for what is not finite.

    Raises:
        ValueError: it is no number.
    """
    number = scalar(name, torch.nan if value is None else value, device)
    is_told = torch.isfinite(number)
    return torch.where(is_told, number, torch.zeros_like(number)), is_told


def check_needs(
    learned_optimizer: LearnedOptimizer, loss: Any, valid_loss: Any
) -> None:
    """Raises ValueError where a loss is needed and not given."""
    needs, name = learned_optimizer.needs, learned_optimizer.name
    if "loss" in needs and loss is None:
        raise ValueError(
            f"{name!r} needs the loss: step(closure), step(loss=loss), or "
            "set_loss(loss) before step()"
        )
    if "valid_loss" in needs and valid_loss is None:
        raise ValueError(f"{name!r} needs step(valid_loss=loss on held-out data)")


def usable(signal: Signal, with_loss: bool) -> torch.Tensor:
    """Whether gradients are finite, and the loss was told."""
    has_loss: Any = signal.has_loss
    some = [grad for grad in signal.grad if grad.numel()]
    if not some or limits.are_held(some):
        finite = torch.ones_like(has_loss)
    else:  # their least and greatest numbers: a sum could overflow
        known: list[Any] = [end for grad in some for end in limits.ends(grad)]
        device = known[0].device
        finite = torch.isfinite(torch.stack([end.to(device) for end in known])).all()
    return finite & has_loss if with_loss else finite


def where(condition: torch.Tensor, after: PyTree, before: PyTree) -> PyTree:
    """One tree or the other."""
    if is_readable(condition):  # where looking costs nothing
        return after if bool(condition) else before
    return jax.tree.map(lambda a, b: torch.where(condition, a, b), after, before)

"""What θ is shown of a step: weights, gradients, losses and time."""

from typing import Any

from learned.torch import numbers
from learned.torch.memory import BEGUN, STEP, T
from learned.torch.tensors import View
from opt_gym import policy
from opt_gym.records import LearnedOptimizer, Signal


def signal_of(
    learned_optimizer: LearnedOptimizer,
    views: list[View],
    states: list[dict[str, Any]],
    loss: Any,
    valid_loss: Any,
    horizon: int | None,
) -> Signal:
    """That of one step.

    Args:
        learned_optimizer: who is shown it.
        views, states: of the parameters that step.
        loss, valid_loss: numbers, or None.
        horizon: the planned steps, where they are known.

    Raises:
        ValueError: a loss that is no single number.
    """
    device, begun = views[0].param.device, states[0][BEGUN]
    reads_loss = "loss" in policy.read_by(learned_optimizer)
    loss, has_loss = numbers.told("loss", loss if reads_loss else None, device)
    valid_loss, has_valid = numbers.told("valid_loss", valid_loss, device)
    planned = numbers.scalar("horizon", horizon or 0, device)
    scalars: dict[str, Any] = {  # typed as arrays of JAX
        "loss": loss,
        "has_loss": has_loss,
        "valid_loss": valid_loss,
        "has_valid": has_valid,
        # A power of an integer has torch's default kind.
        "t": (states[0][T] - begun).float(),
        "horizon": (planned - begun).clip(min=1.0) if horizon else planned,
        "ages": tuple(state[STEP].float() for state in states),
    }
    return Signal(
        params=[view.value for view in views],
        grad=[view.gradient() for view in views],
        **scalars,
    )

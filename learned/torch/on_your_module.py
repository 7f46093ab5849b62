"""`compare_on` for torch: does a learned optimizer pay on your own model?"""

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import torch

from learned import contest, theta_file
from learned.torch.learned_optim import LearnedOptim
from learned.torch.tensors import param_groups


def compare_on(
    model: torch.nn.Module,
    loss: Callable[[torch.nn.Module, Any], torch.Tensor],
    batches: Any,
    *,
    optimizers: dict[str, Any] | None = None,
    budget_s: float = 120.0,
) -> contest.Contest:
    """Trains copies of a model with several optimizers, and says how they fared.

        contest = compare_on(model, lambda model, batch: ..., batches)
        print(contest.table()); contest.plot("contest.png")

    Args:
        model: where all of them begin; not changed.
        loss: (model, batch) -> loss.
        batches: a function of the step, a sequence, or an iterable (its first 1,000).
        optimizers: by name a function parameters -> optimizer, a bundled name or path of a θ
            file, or (learned optimizer, θ); by default the bundled "general" and AdamW
            with its usual learning rates. A learned one that has more steps than it was
            trained for gets a cosine decay over them, but for one that knows the horizon and
            decays itself.
        budget_s: seconds for everything.

    Raises:
        ValueError: no optimizers, no batches, or too short a budget.
    """
    batch_at = contest.kept(batches)
    chosen = _usual() if optimizers is None else optimizers
    return contest.run(
        {
            name: partial(_contestant, optimizer, model, loss, batch_at)
            for name, optimizer in chosen.items()
        },
        budget_s,
    )


def _usual() -> dict[str, Any]:
    rates = {
        f"adamw {rate:g}": partial(torch.optim.AdamW, lr=rate)
        for rate in contest.USUAL_RATES
    }
    return {contest.LEARNED: contest.LEARNED, **rates}


def _contestant(
    optimizer: Any,
    model: torch.nn.Module,
    loss: Callable[[torch.nn.Module, Any], torch.Tensor],
    batch_at: Callable[[int], Any],
    num_steps: int,
) -> contest.OptimizerContestant:
    model = copy.deepcopy(model)
    if callable(optimizer):
        chosen: Any = optimizer(model.parameters())
    else:
        lopt, theta = (
            theta_file.load(optimizer)
            if isinstance(optimizer, str | Path)
            else optimizer
        )
        chosen = LearnedOptim(
            param_groups(model),
            (lopt, theta),
            horizon=num_steps,
            decay=contest.decay_for(lopt, num_steps),
            warn=False,
        )

    def step(number: int) -> float:
        def closure() -> torch.Tensor:
            chosen.zero_grad()
            value = loss(model, batch_at(number))
            value.backward()
            return value

        return float(chosen.step(closure).detach())

    def state_bytes() -> int:
        tensors = [
            leaf
            for leaf in jax.tree.leaves(chosen.state_dict())
            if isinstance(leaf, torch.Tensor)
        ]
        return sum(tensor.nbytes for tensor in tensors)

    return contest.OptimizerContestant(
        step, state_bytes, isinstance(chosen, LearnedOptim)
    )

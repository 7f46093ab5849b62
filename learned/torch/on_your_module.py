"""`compare_on` for torch: does a learned optimizer pay on your own model?"""

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import torch

from learned import contest, theta_file
from learned.how_they_fared import Remembered
from learned.torch.guarded_optim import GuardedOptim
from learned.torch.learned_optim import LearnedOptim
from learned.torch.tensors import param_groups


def compare_on(
    model: torch.nn.Module,
    loss: Callable[[torch.nn.Module, Any], torch.Tensor],
    batches: Any,
    *,
    valid_batches: Any = None,
    optimizers: dict[str, Any] | None = None,
    num_seeds: int = 3,
    budget_s: float = 120.0,
) -> contest.Contest:
    """Trains copies of a model with several optimizers, and says how they fared.

        contest = compare_on(model, lambda model, batch: ..., batches)
        print(contest.table()); contest.plot("contest.png")

    Args:
        model: where all of them begin; not changed.
        loss: (model, batch) -> loss.
        batches: a function of the step, a sequence, or an iterable (its first 1,000).
        valid_batches: what the verdict is about, in `eval` mode; the same kinds, of which the
            first 20 are kept.
        optimizers: by name a function parameters -> optimizer, or (optimizer, scheduler); a
            bundled name or path of a θ file, or (learned optimizer, θ); by default the bundled
            "general" and AdamW, constant and with a cosine. A learned one that has more steps
            than it was trained for gets a cosine decay over them, but for one that knows the
            horizon and decays itself.
        num_seeds: runs of each, from the same weights, each with batches in another order.
        budget_s: seconds for everything.

    Raises:
        ValueError: no optimizers, no batches, or too short a budget.
    """
    usual = contest.with_usual({contest.LEARNED: contest.LEARNED})
    chosen = usual if optimizers is None else optimizers
    make = {
        name: partial(_contestant, optimizer, model, loss)
        for name, optimizer in chosen.items()
    }
    valid = contest.kept_for_validation(valid_batches)
    return contest.run(make, contest.kept(batches), budget_s, num_seeds, valid)


def _contestant(
    optimizer: Any,
    model: torch.nn.Module,
    loss: Callable[[torch.nn.Module, Any], torch.Tensor],
    num_steps: int,
) -> contest.OptimizerContestant:
    held: list[Any] = []

    def begin() -> None:
        own = copy.deepcopy(model)
        held[:] = own, *_optimizer(optimizer, own, num_steps)

    def step(batch: Any) -> float:
        own, chosen, scheduler = held

        def closure() -> torch.Tensor:
            chosen.zero_grad()
            value = loss(own, batch)
            value.backward()
            return value

        value = float(chosen.step(closure).detach())
        if scheduler is not None:
            scheduler.step()
        return value

    def loss_on(batch: Any) -> float:
        own, was_training = held[0], held[0].training
        own.eval()
        with torch.no_grad():
            value = float(loss(own, batch))
        own.train(was_training)
        return value

    def remembered() -> Remembered:
        return _remembered(held[1])

    return contest.OptimizerContestant(begin, step, loss_on, remembered)


def _remembered(optimizer: torch.optim.Optimizer) -> Remembered:
    kept = jax.tree.leaves(optimizer.state_dict())
    return Remembered(
        sum(leaf.nbytes for leaf in kept if isinstance(leaf, torch.Tensor)),
        isinstance(optimizer, LearnedOptim | GuardedOptim),
        optimizer.guard if isinstance(optimizer, GuardedOptim) else None,
    )


def _optimizer(
    optimizer: Any, model: torch.nn.Module, num_steps: int
) -> tuple[Any, Any]:
    """(optimizer, scheduler or None) of a model."""
    if isinstance(optimizer, contest.Usual):
        told = {"lr": optimizer.rate, **optimizer.options}
        adamw = torch.optim.AdamW(model.parameters(), **told)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR
        return adamw, cosine(adamw, num_steps) if optimizer.decays else None
    if callable(optimizer):
        made: Any = optimizer(model.parameters())
        return made if isinstance(made, tuple) else (made, None)
    is_name = isinstance(optimizer, str | Path)
    lopt, theta = theta_file.load(optimizer) if is_name else optimizer
    decay = contest.decay_for(lopt, num_steps)
    learned = LearnedOptim(
        param_groups(model), (lopt, theta), horizon=num_steps, decay=decay, warn=False
    )
    return learned, None

"""`compare_on`: does a learned optimizer pay on your own model? In two minutes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from learned import contest, theta_file
from learned.guarded_optax import GuardedState
from learned.how_they_fared import Remembered
from learned.optax_state import LearnedState, nodes_of
from learned.optax_transformation import to_optax


def compare_on(
    model_or_loss: Any,
    params: PyTree,
    batches: Any,
    *,
    valid_batches: Any = None,
    loss: Callable[[Any, Any], Any] | None = None,
    optimizers: dict[str, Any] | None = None,
    num_seeds: int = 3,
    budget_s: float = 120.0,
) -> contest.Contest:
    """Trains copies of a model with several optimizers, and says how they fared.

        contest = learned.compare_on(loss, params, batches)
        print(contest.table()); contest.plot("contest.png")

    Args:
        model_or_loss: (params, batch) -> loss, or a Flax linen module with `params` and
            batches of (inputs, targets).
        params: where all of them begin; not changed.
        batches: a function of the step, a sequence, or an iterable (its first 1,000).
        valid_batches: what the verdict is about; the same kinds, the first 20 are kept.
        loss: (outputs, targets) -> loss, for a module; by default the cross entropy where
            targets are integers, else the mean square.
        optimizers: by name an optax transformation, a function of the number of steps that
            gives one, a bundled name or path of a θ file, or (learned optimizer, θ); by
            default the bundled "general", AdamW constant and with a cosine, and two that need
            no tuning. A learned one that has more steps than it was trained for gets a cosine
            decay over them, but for one that knows the horizon and decays itself.
        num_seeds: runs of each, from the same weights, each with batches in another order.
        budget_s: seconds for everything, compilation included.

    Raises:
        ValueError: no optimizers, no batches, or too short a budget.
    """
    objective = _objective(model_or_loss, loss)
    chosen = _usual() if optimizers is None else optimizers
    make = {
        name: _maker(optimizer, objective, params) for name, optimizer in chosen.items()
    }
    valid = contest.kept_for_validation(valid_batches)
    return contest.run(make, contest.kept(batches), budget_s, num_seeds, valid)


def _usual() -> dict[str, Any]:
    untuned = {"prodigy cosine": _prodigy, "cocob": optax.contrib.cocob()}
    return contest.with_usual({contest.LEARNED: contest.LEARNED}) | untuned


def _adamw(usual: contest.Usual, num_steps: int) -> optax.GradientTransformation:
    falling = optax.cosine_decay_schedule(usual.rate, num_steps)
    return optax.adamw(falling if usual.decays else usual.rate, **usual.options)


def _prodigy(num_steps: int) -> optax.GradientTransformation:
    return optax.contrib.prodigy(optax.cosine_decay_schedule(1.0, num_steps))


def _objective(model_or_loss: Any, loss: Any) -> Callable[[PyTree, Any], Any]:
    if not hasattr(model_or_loss, "apply"):
        if not callable(model_or_loss):
            raise ValueError(
                "model_or_loss must be a function (params, batch) -> loss or a Flax module, "
                f"got {type(model_or_loss).__name__}"
            )
        return model_or_loss
    of_outputs = loss or _default_loss

    def objective(params: PyTree, batch: Any) -> Any:
        inputs, targets = batch
        return of_outputs(model_or_loss.apply({"params": params}, inputs), targets)

    return objective


def _default_loss(outputs: Any, targets: Any) -> Any:
    if jnp.issubdtype(targets.dtype, jnp.integer):
        cross_entropy = optax.softmax_cross_entropy_with_integer_labels
        return jnp.mean(cross_entropy(outputs, targets))
    return jnp.mean((outputs - targets) ** 2)


def _maker(
    optimizer: Any, objective: Callable[[PyTree, Any], Any], params: PyTree
) -> Callable[[int], contest.OptimizerContestant]:
    def make(num_steps: int) -> contest.OptimizerContestant:
        tx = optax.with_extra_args_support(_transformation(optimizer, num_steps))
        held: list[Any] = []
        value_of = jax.jit(objective)

        @jax.jit
        def step(params: PyTree, state: Any, batch: Any) -> tuple[PyTree, Any, Any]:
            value, grads = jax.value_and_grad(objective)(params, batch)
            updates, state = tx.update(grads, state, params, value=value)
            return optax.apply_updates(params, updates), state, value

        def begin() -> None:
            begun = jax.tree.map(jnp.array, params)
            held[:] = begun, tx.init(begun)

        def step_on(batch: Any) -> float:
            held[0], held[1], value = step(held[0], held[1], batch)
            return float(value)

        def loss_on(batch: Any) -> float:
            return float(value_of(held[0], batch))

        def remembered() -> Remembered:
            return _remembered(held[1])

        return contest.OptimizerContestant(begin, step_on, loss_on, remembered)

    return make


def _remembered(state: Any) -> Remembered:
    guarded = nodes_of(state, GuardedState)
    return Remembered(
        sum(leaf.nbytes for leaf in jax.tree.leaves(state)),
        bool(nodes_of(state, LearnedState)),
        guarded[0].guard if guarded else None,
    )


def _transformation(optimizer: Any, num_steps: int) -> Any:
    if isinstance(optimizer, optax.GradientTransformation):
        return optimizer
    if isinstance(optimizer, contest.Usual):
        return _adamw(optimizer, num_steps)
    if callable(optimizer):
        return optimizer(num_steps)
    if isinstance(optimizer, str | Path):
        lopt, theta = theta_file.load(optimizer)
    else:
        lopt, theta = optimizer
    decay = contest.decay_for(lopt, num_steps)
    return to_optax(lopt, theta, horizon=num_steps, decay=decay, warn=False)

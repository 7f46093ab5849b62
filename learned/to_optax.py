"""The way out: (architecture, θ) as an optax transformation, used like Adam.

The same pure functions as in the environment, in the same order: signal, features' update,
observe, step, action map. `value=` is the loss, as optax names it.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PyTree

from opt_gym.records import LearnedOptimizer, Signal


class LearnedState(NamedTuple):
    """t: updates done; skipped: gradients that were not finite; f, carry, action: memory."""

    t: Int[Array, ""]
    skipped: Int[Array, ""]
    features: PyTree
    carry: PyTree
    action: PyTree


def to_optax(
    learned_optimizer: LearnedOptimizer, theta: PyTree, *, horizon: int | None = None
) -> optax.GradientTransformationExtraArgs:
    """The optax transformation of a learned optimizer.

    `update(updates, state, params, value=loss)` returns what is to be added to params, in
    their dtype; memory and arithmetic are float32. `value` is required only where the
    architecture reads the loss; extra keywords are ignored. A gradient (or a needed loss)
    that is not finite gives a zero update and changes nothing but the count `skipped`.

    Args:
        learned_optimizer: the architecture.
        theta: its weights.
        horizon: the planned number of steps; by default the one θ was trained for.

    Raises:
        ValueError: a need that is not met: no horizon (here), no params or loss (when
            `update` is traced); validation losses cannot be given yet.
    """
    needs = learned_optimizer.needs
    horizon = learned_optimizer.trained_horizon if horizon is None else horizon
    if "horizon" in needs and horizon is None:
        raise ValueError(
            f"{learned_optimizer.name!r} needs horizon=, the number of steps"
        )
    if horizon is not None and horizon < 1:
        raise ValueError(f"horizon must be >= 1, got {horizon}")

    def init(params: PyTree) -> LearnedState:
        params = _float32(params)
        return LearnedState(
            t=jnp.zeros((), jnp.int32),
            skipped=jnp.zeros((), jnp.int32),
            features=learned_optimizer.features.init(params),
            carry=learned_optimizer.init(theta, params),
            action=learned_optimizer.action_map.init(params),
        )

    def update(
        updates: PyTree,
        state: Any,  # a LearnedState
        params: PyTree | None = None,
        *,
        value: Any = None,
        **extra_args: Any,
    ) -> tuple[PyTree, LearnedState]:
        del extra_args  # other transformations of a chain may want them
        if params is None:
            raise ValueError(
                "a learned optimizer needs params: update(grads, state, params)"
            )
        if "loss" in needs and value is None:
            raise ValueError(
                f"{learned_optimizer.name!r} needs the loss: update(..., value=loss)"
            )
        loss = jnp.asarray(0.0 if value is None else value, jnp.float32)
        signal = Signal(
            params=_float32(params),
            grad=_float32(updates),
            loss=loss,
            valid_loss=jnp.zeros(()),
            has_valid=jnp.zeros((), bool),
            t=state.t,
            horizon=jnp.asarray(horizon or 0, jnp.int32),
        )
        usable = _all_finite((signal.grad, loss if "loss" in needs else 0.0))
        stepped, deltas = _step(learned_optimizer, theta, state, signal)
        kept = state._replace(skipped=state.skipped + 1)
        state = jax.tree.map(lambda a, b: jnp.where(usable, a, b), stepped, kept)
        deltas = jax.tree.map(
            lambda d, p: jnp.where(usable, d, 0.0).astype(p.dtype), deltas, params
        )
        return deltas, state

    return optax.GradientTransformationExtraArgs(init, update)


def _step(
    learned_optimizer: LearnedOptimizer,
    theta: PyTree,
    state: LearnedState,
    signal: Signal,
) -> tuple[LearnedState, PyTree]:
    f = learned_optimizer.features.update(state.features, signal)
    observation = learned_optimizer.features.observe(f, signal)
    carry, action = learned_optimizer.step(theta, state.carry, signal, observation)
    memory, deltas = learned_optimizer.action_map.apply(state.action, signal, action)
    stepped = LearnedState(state.t + 1, state.skipped, f, carry, memory)
    return stepped, deltas


def _float32(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), tree)


def _all_finite(tree: PyTree) -> Any:
    return jnp.stack(
        [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]
    ).all()

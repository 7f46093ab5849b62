"""The way out: (architecture, θ) as an optax transformation, used like Adam.

`to_optax` is a whole optimizer, `scale_by_learned` the part of a chain that replaces
`optax.scale_by_adam`. `value=` is the loss, as optax names it, `value_valid=` a loss on data
held out.
"""

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PyTree

from learned.decay import check_decay, cosine
from learned.optax_state import LearnedState, pack, unpack
from opt_gym import policy
from opt_gym.maths.limits import all_finite
from opt_gym.numerics import fixed_numerics, own_buffers
from opt_gym.records import LearnedOptimizer, Signal


def to_optax(
    learned_optimizer: LearnedOptimizer,
    theta: PyTree,
    *,
    horizon: int | None = None,
    learning_rate: float | Callable[[Any], Any] = 1.0,
    weight_decay: float = 0.0,
    decay: str | None = None,
    roles: tuple[str, ...] | None = None,
    warn: bool = True,
) -> optax.GradientTransformationExtraArgs:
    """The optax transformation of a learned optimizer.

    `update(updates, state, params, value=loss)` returns what is to be added to params,

        r · (Δφ − weight_decay · φ),  r = learning_rate · decay(t)

    in their dtype; memory and arithmetic are float32. `value` is required only where the
    architecture reads the loss; `value_valid`, a loss on held-out data or NaN, is welcome
    where it can be used; extra keywords are ignored. A gradient (or a needed loss) that is
    not finite gives a zero update and changes nothing but the count `skipped`.

    Args:
        learned_optimizer: the architecture.
        theta: its weights.
        horizon: the planned number of steps; by default the one θ was trained for.
        learning_rate: a factor of the learned step, or a schedule of it.
        weight_decay: decoupled, times the learning rate.
        decay: "cosine": the factor falls to 0 over the horizon, as half a cosine.
        roles: of the tensors, in leaf order: "kernel", "bias", "embedding" or "norm"; by
            default by their names (as Flax's) and ranks.
        warn: here, where the horizon is beyond the one θ was trained for and nothing decays.
            Nothing is said later: `learned.beyond(state)` tells.

    Raises:
        ValueError: an unknown decay; a θ that does not fit the architecture; a need that is
            not met: no horizon (here), no params or loss (when `update` is traced); complex
            parameters.
    """
    check_decay(decay)
    horizon = planned_horizon(learned_optimizer, horizon, decay)
    if warn:
        warn_of_horizon(learned_optimizer, horizon, decay)
    transform: Any = _direction(learned_optimizer, theta, horizon, roles)

    def rate(t: Int[Array, ""]) -> Any:
        factor = learning_rate(t) if callable(learning_rate) else learning_rate
        return factor if decay is None else factor * cosine(t, horizon)

    def update(
        updates: PyTree, state: Any, params: PyTree | None = None, **extra_args: Any
    ) -> tuple[PyTree, LearnedState]:
        deltas, new = transform.update(updates, state, params, **extra_args)
        factor = jnp.where(new.t > state.t, rate(state.t), 0.0)
        deltas = jax.tree.map(
            lambda d, p: _as(p, factor * (d - weight_decay * jnp.asarray(p, d.dtype))),
            deltas,
            params,
        )
        return deltas, new

    return optax.GradientTransformationExtraArgs(transform.init, update)


def scale_by_learned(
    learned_optimizer: LearnedOptimizer,
    theta: PyTree,
    *,
    horizon: int | None = None,
    roles: tuple[str, ...] | None = None,
    warn: bool = True,
) -> optax.GradientTransformationExtraArgs:
    """−Δφ, for a chain, where `optax.scale_by_adam` would stand.

        optax.chain(
            optax.clip_by_global_norm(1.0),
            learned.scale_by_learned(*learned.load("nominal_small")),
            optax.add_decayed_weights(1e-4),
            optax.scale_by_learning_rate(optax.cosine_decay_schedule(1.0, 1000)),
        )

    Arguments and errors as those of `to_optax`.
    """
    horizon = planned_horizon(learned_optimizer, horizon, None)
    if warn:
        warn_of_horizon(learned_optimizer, horizon, None)
    transform: Any = _direction(learned_optimizer, theta, horizon, roles)

    def update(
        updates: PyTree, state: Any, params: PyTree | None = None, **extra_args: Any
    ) -> tuple[PyTree, LearnedState]:
        deltas, new = transform.update(updates, state, params, **extra_args)
        deltas = jax.tree.map(lambda d, p: _as(p, -d), deltas, params)
        return deltas, new

    return optax.GradientTransformationExtraArgs(transform.init, update)


def planned_horizon(
    learned_optimizer: LearnedOptimizer, horizon: int | None, decay: str | None
) -> int | None:
    """The user's, else the one θ was trained for.

    Raises:
        ValueError: below 1, or missing where the architecture or the decay needs it.
    """
    horizon = learned_optimizer.trained_horizon if horizon is None else horizon
    if horizon is None and "horizon" in learned_optimizer.needs:
        raise ValueError(
            f"{learned_optimizer.name!r} needs horizon=, the number of steps"
        )
    if horizon is None and decay is not None:
        raise ValueError(f"decay={decay!r} needs horizon=, the number of steps")
    if isinstance(horizon, int) and horizon < 1:
        raise ValueError(f"horizon must be >= 1, got {horizon}")
    return horizon


def warn_of_horizon(
    learned_optimizer: LearnedOptimizer, horizon: Any, decay: str | None
) -> None:
    """Warns where more steps are planned than θ was trained for, and no decay over them.

    A horizon that is traced, as `optax.inject_hyperparams` has it, is not looked at.
    """
    trained = learned_optimizer.trained_horizon
    if trained is None or not isinstance(horizon, int) or decay is not None:
        return
    if horizon > trained:
        warnings.warn(going_beyond(learned_optimizer.name, trained), stacklevel=3)


def going_beyond(name: str, trained: int) -> str:
    """What is said where a training goes beyond the trained horizon."""
    return (
        f"{name!r} was trained for {trained} steps, and this training goes beyond: what "
        "follows then was not seen; decay='cosine' with the true horizon helps"
    )


def _direction(
    learned_optimizer: LearnedOptimizer,
    theta: PyTree,
    horizon: Any,
    roles: tuple[str, ...] | None,
) -> optax.GradientTransformationExtraArgs:
    """Δφ in float32; `t` stands still where a gradient was not finite."""
    policy.check_theta(learned_optimizer, theta)
    needs, trained = learned_optimizer.needs, learned_optimizer.trained_horizon
    with fixed_numerics():
        of_tensor = policy.memory_structure(learned_optimizer).of_tensor

    def init(params: PyTree) -> LearnedState:
        _refuse_complex(params)
        known = policy.roles_of(params) if roles is None else roles
        if len(known) != len(jax.tree.leaves(params)):
            raise ValueError(
                f"roles must name {len(jax.tree.leaves(params))} tensors, got {known}"
            )
        params = _float32(params)
        with fixed_numerics():
            memories = policy.begin(learned_optimizer, theta, params, known)
            state = LearnedState(
                jnp.zeros((), jnp.int32),
                jnp.zeros((), jnp.int32),
                jnp.asarray(trained or 0, jnp.int32),
                *pack(params, memories, of_tensor),
            )
            return own_buffers(state)

    # Compiled here, for who calls `update` uncompiled; inside of a program it dissolves.
    @jax.jit
    def advance(
        theta: PyTree, signal: Signal, state: LearnedState
    ) -> tuple[PyTree, LearnedState]:
        usable = all_finite((signal.grad, signal.loss if "loss" in needs else 0.0))

        def step() -> tuple[PyTree, LearnedState]:
            memories = unpack(signal.params, state, of_tensor)
            memories, deltas = policy.advance(
                learned_optimizer, theta, memories, signal
            )
            tensors, shared = pack(signal.params, memories, of_tensor)
            after = state._replace(t=state.t + 1, tensors=tensors, shared=shared)
            return deltas, after

        def keep() -> tuple[PyTree, LearnedState]:
            deltas = jax.tree.map(jnp.zeros_like, signal.params)
            return deltas, state._replace(skipped=state.skipped + 1)

        # A branch, for a choice number by number would need both memories at once.
        return jax.lax.cond(usable, step, keep)

    def update(
        updates: PyTree,
        state: Any,  # a LearnedState
        params: PyTree | None = None,
        *,
        value: Any = None,
        value_valid: Any = None,
        **extra_args: Any,
    ) -> tuple[PyTree, LearnedState]:
        del extra_args  # other transformations of a chain may want them
        if params is None:
            raise ValueError(
                "a learned optimizer needs params: update(grads, state, params)"
            )
        _refuse_complex(params)
        _check_needs(learned_optimizer, value, value_valid)
        valid = jnp.asarray(jnp.nan if value_valid is None else value_valid)
        has_valid = jnp.isfinite(valid)
        signal = Signal(
            params=_float32(params),
            grad=_float32(updates),
            loss=jnp.asarray(0.0 if value is None else value, jnp.float32),
            valid_loss=jnp.where(has_valid, valid, 0.0).astype(jnp.float32),
            has_valid=has_valid,
            t=state.t,
            horizon=jnp.asarray(0 if horizon is None else horizon, jnp.int32),
            ages=(state.t,) * len(jax.tree.leaves(params)),
        )
        with fixed_numerics():
            return advance(theta, signal, state)

    return optax.GradientTransformationExtraArgs(init, update)


def _check_needs(
    learned_optimizer: LearnedOptimizer, value: Any, value_valid: Any
) -> None:
    for need, given, how in (
        ("loss", value, "value=loss"),
        ("valid_loss", value_valid, "value_valid=loss on held-out data"),
    ):
        if need in learned_optimizer.needs and given is None:
            what = need.replace("_", " ")
            raise ValueError(
                f"{learned_optimizer.name!r} needs the {what}: update(..., {how})"
            )


def _refuse_complex(params: PyTree) -> None:
    for name, leaf in policy.named_leaves(params):
        if jnp.issubdtype(jnp.result_type(leaf), jnp.complexfloating):
            raise ValueError(
                f"the complex parameter {name!r} of shape {list(jnp.shape(leaf))} is not "
                "supported"
            )


def _as(param: Any, delta: Any) -> Any:
    return jnp.asarray(delta, jnp.result_type(param))


def _float32(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), tree)

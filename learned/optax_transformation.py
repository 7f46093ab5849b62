"""The way out: (architecture, θ) as an optax transformation, used like Adam.

`to_optax` is a whole optimizer, `scale_by_learned` the part of a chain that replaces
`optax.scale_by_adam`. `value=` is the loss, as optax names it, `value_valid=` a loss on data
held out.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PyTree

from learned.decay import check_decay, cosine
from opt_gym import policy
from opt_gym.records import LearnedOptimizer, Signal


class LearnedState(NamedTuple):
    """What `update` remembers.

    Attributes:
        t: updates done.
        skipped: gradients that were not finite.
        tensors: φ with what is remembered of a tensor in place of the tensor, so that
            `optax.tree.map_params` finds it.
        shared: what belongs to all of them.
    """

    t: Int[Array, ""]
    skipped: Int[Array, ""]
    tensors: PyTree
    shared: PyTree


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
        warn: once, at the first step beyond the horizon θ was trained for. The message comes
            through a callback, with which JAX does not keep compiled programs on disk.

    Raises:
        ValueError: an unknown decay; a θ that does not fit the architecture; a need that is
            not met: no horizon (here), no params or loss (when `update` is traced).
    """
    check_decay(decay)
    horizon = planned_horizon(learned_optimizer, horizon, decay)
    transform: Any = _direction(learned_optimizer, theta, horizon, roles, warn)

    def rate(t: Int[Array, ""]) -> Any:
        factor = learning_rate(t) if callable(learning_rate) else learning_rate
        return factor if decay is None else factor * cosine(t, horizon)

    def update(
        updates: PyTree, state: Any, params: PyTree | None = None, **extra_args: Any
    ) -> tuple[PyTree, LearnedState]:
        deltas, new = transform.update(updates, state, params, **extra_args)
        factor = jnp.where(new.t > state.t, rate(state.t), 0.0)
        deltas = jax.tree.map(
            lambda d, p: (factor * (d - weight_decay * p.astype(d.dtype))).astype(
                p.dtype
            ),
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
    transform: Any = _direction(learned_optimizer, theta, horizon, roles, warn)

    def update(
        updates: PyTree, state: Any, params: PyTree | None = None, **extra_args: Any
    ) -> tuple[PyTree, LearnedState]:
        deltas, new = transform.update(updates, state, params, **extra_args)
        deltas = jax.tree.map(lambda d, p: (-d).astype(p.dtype), deltas, params)
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


def _direction(
    learned_optimizer: LearnedOptimizer,
    theta: PyTree,
    horizon: int | None,
    roles: tuple[str, ...] | None,
    warn: bool,
) -> optax.GradientTransformationExtraArgs:
    """Δφ in float32; `t` stands still where a gradient was not finite."""
    policy.check_theta(learned_optimizer, theta)
    needs, trained = learned_optimizer.needs, learned_optimizer.trained_horizon

    def init(params: PyTree) -> LearnedState:
        known = policy.roles_of(params) if roles is None else roles
        if len(known) != len(jax.tree.leaves(params)):
            raise ValueError(
                f"roles must name {len(jax.tree.leaves(params))} tensors, got {known}"
            )
        memories = policy.begin(learned_optimizer, theta, _float32(params), known)
        zero = jnp.zeros((), jnp.int32)
        return LearnedState(zero, zero, *_pack(params, memories))

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
        for need, given, how in (
            ("loss", value, "value=loss"),
            ("valid_loss", value_valid, "value_valid=loss on held-out data"),
        ):
            if need in needs and given is None:
                what = need.replace("_", " ")
                raise ValueError(
                    f"{learned_optimizer.name!r} needs the {what}: update(..., {how})"
                )
        valid = jnp.asarray(jnp.nan if value_valid is None else value_valid)
        has_valid = jnp.isfinite(valid)
        signal = Signal(
            params=_float32(params),
            grad=_float32(updates),
            loss=jnp.asarray(0.0 if value is None else value, jnp.float32),
            valid_loss=jnp.where(has_valid, valid, 0.0).astype(jnp.float32),
            has_valid=has_valid,
            t=state.t,
            horizon=jnp.asarray(horizon or 0, jnp.int32),
            ages=(state.t,) * len(jax.tree.leaves(params)),
        )
        if warn and trained is not None:
            _warn_beyond(learned_optimizer.name, state.t, trained)
        usable = _all_finite((signal.grad, signal.loss if "loss" in needs else 0.0))

        def step() -> tuple[PyTree, LearnedState]:
            memories = _unpack(params, state)
            memories, deltas = policy.advance(
                learned_optimizer, theta, memories, signal
            )
            packed = _pack(params, memories)
            return deltas, LearnedState(state.t + 1, state.skipped, *packed)

        def keep() -> tuple[PyTree, LearnedState]:
            deltas = jax.tree.map(jnp.zeros_like, signal.params)
            return deltas, state._replace(skipped=state.skipped + 1)

        # A branch, for a choice number by number would need both memories at once.
        return jax.lax.cond(usable, step, keep)

    return optax.GradientTransformationExtraArgs(init, update)


def _pack(params: PyTree, memories: policy.Memories) -> tuple[PyTree, PyTree]:
    """`tensors` and `shared` of a state."""
    structure = jax.tree.structure(params)
    tensors, shared = policy.split(memories, structure.num_leaves)
    return jax.tree.unflatten(structure, tensors), shared


def _unpack(params: PyTree, state: LearnedState) -> policy.Memories:
    tensors = jax.tree.structure(params).flatten_up_to(state.tensors)
    return policy.join(tensors, state.shared)


def _warn_beyond(name: str, t: Int[Array, ""], trained: int) -> None:
    def say(t: Any) -> None:
        if int(t) == trained:
            warnings.warn(beyond(name, trained), stacklevel=2)

    jax.lax.cond(t == trained, lambda: jax.debug.callback(say, t), lambda: None)


def beyond(name: str, trained: int) -> str:
    """What is said at the first step beyond the trained horizon."""
    return (
        f"{name!r} was trained for {trained} steps and now goes beyond: what follows was "
        "not seen in training; decay='cosine' with the true horizon helps"
    )


def _float32(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), tree)


def _all_finite(tree: PyTree) -> Any:
    return jnp.stack(
        [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]
    ).all()

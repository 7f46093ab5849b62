"""`guarded`: a learned optimizer with a fallback beside it, in optax."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from learned import guard as rules
from learned.arguments import whole_horizon
from learned.branches import cond_on_devices
from learned.optax_numbers import scalar
from learned.optax_state import LearnedState
from opt_gym.adapters.foreign import check_transformation
from opt_gym.checks import check_positive
from opt_gym.maths.limits import all_finite
from opt_gym.numerics import own_buffers

FALLBACK_RATE = 3e-3
"""Of AdamW: one rate for all tasks; see the one-trial baseline of the judge."""


class GuardedState(NamedTuple):
    """guard: of `learned.guard`; learned, fallback: both states; snapshot: weights like φ."""

    guard: rules.Guard
    learned: Any
    fallback: Any
    snapshot: PyTree


def guarded(
    optimizer: optax.GradientTransformation,
    fallback: optax.GradientTransformation | None = None,
    *,
    horizon: int = 0,
    cap: float = 10.0,
) -> optax.GradientTransformationExtraArgs:
    """The learned optimizer while it pays, else the fallback; after an explosion back.

        bare = learned.to_optax(*learned.load("nominal_medium"))
        tx = learned.guarded(bare, optax.adamw(1e-3), horizon=1000)
        updates, state = tx.update(grads, state, params, value=loss)

    Both see every gradient, one of them steps. `learned.guard` says by which rules; the state
    says what happened (`state.guard`: who steps, how often that changed, how often weights
    went back after an explosion, and when last). A learned step is never longer than `cap`
    times the fallback's, tensor by tensor. Whose step is not finite has not made it: the
    weights and what it remembers stay. The snapshot takes a float a weight beside both states.

    Args:
        optimizer: such as `to_optax` gives.
        fallback: by default `optax.adamw(3e-3)`.
        horizon: the planned number of steps, where it is known: then nothing is tried towards
            the end.
        cap: in norms of the fallback's step.

    Raises:
        ValueError: no optax transformation, a cap that is not above 0, a horizon that is no
            whole number; without params or `value`, or where that is no single number (when
            `update` is traced).
    """
    check_positive("cap", cap)
    horizon = whole_horizon(horizon, 0)
    usual = optax.adamw(FALLBACK_RATE) if fallback is None else fallback
    for transformation in (optimizer, usual):
        check_transformation(transformation)
    learned = optax.with_extra_args_support(optimizer)
    plain = optax.with_extra_args_support(usual)

    def init(params: PyTree) -> GuardedState:
        begun, arrays = rules.begin(jnp.zeros(())), jax.tree.map(jnp.asarray, params)
        states = learned.init(params), plain.init(params)
        return own_buffers(GuardedState(begun, *states, arrays))

    def update(
        updates: PyTree,
        state: Any,
        params: PyTree | None = None,
        *,
        value: Any = None,
        **extra_args: Any,
    ) -> tuple[PyTree, GuardedState]:
        if params is None or value is None:
            raise ValueError(
                "guarded needs params and value: update(..., params, value=loss)"
            )
        more = {"value": value, **extra_args}
        one, of_learned = _taken(learned, updates, state.learned, params, more)
        other, of_fallback = _taken(plain, updates, state.fallback, params, more)
        loss = scalar("value", value)
        guard, told = rules.judge(state.guard, loss, jnp.float32(horizon))

        def delta(one: Any, other: Any, snapshot: Any, param: Any) -> Any:
            step = jnp.where(told.learned, _capped(one, other, cap), other)
            step = jnp.where(told.stays, jnp.zeros_like(step), step)
            return jnp.where(told.back, snapshot - param, step).astype(param.dtype)

        deltas = jax.tree.map(delta, one, other, state.snapshot, params)
        snapshot = jax.tree.map(
            lambda now, before: jnp.where(told.keep, now, before),
            params,
            state.snapshot,
        )
        states: Any = (of_learned, of_fallback)

        def anew() -> tuple[Any, Any]:
            return _renewed((learned.init(params), plain.init(params)), states)

        # A branch: what begins anew is made where it is wanted, hardly ever.
        inputs = params, told, states
        one, other = cond_on_devices(told.anew, anew, lambda: states, inputs)
        return deltas, GuardedState(guard, one, other, snapshot)

    return optax.GradientTransformationExtraArgs(init, update)


def _taken(
    optimizer: optax.GradientTransformationExtraArgs,
    updates: PyTree,
    state: PyTree,
    params: PyTree,
    more: dict[str, Any],
) -> tuple[PyTree, PyTree]:
    """Its step and state; no step, and the state of before, where that is not finite."""
    deltas, new = optimizer.update(updates, state, params, **more)
    usable = all_finite((deltas, 0.0))  # a number, were there no tensor
    deltas = jax.tree.map(lambda d: jnp.where(usable, d, jnp.zeros_like(d)), deltas)
    return deltas, jax.tree.map(lambda a, b: jnp.where(usable, a, b), new, state)


def _capped(one: Any, other: Any, cap: float) -> Any:
    """A step no longer than `cap` times the other; 0 where its square is not finite."""
    # In float32: squares of small steps are none in float16.
    wide = (x.astype(jnp.float32) for x in (one, other))
    length, most = (jnp.sqrt(jnp.sum(jnp.square(x))) for x in wide)
    least = jnp.finfo(jnp.float32).tiny
    factor = jnp.minimum(1.0, cap * most / jnp.maximum(length, least))
    step = (factor * one).astype(one.dtype)
    return jnp.where(jnp.isfinite(length), step, jnp.zeros_like(one))


def _renewed(fresh: PyTree, state: PyTree) -> PyTree:
    """The fresh state, but for what schedules and clocks count.

    Moments that begin anew want their own count to do so, too: they are corrected by it.
    """

    def is_scheduled(node: Any) -> bool:
        kinds = optax.ScaleByScheduleState, LearnedState
        return isinstance(node, kinds) or hasattr(node, "hyperparams")

    def renewed(new: Any, old: Any) -> Any:
        if hasattr(new, "hyperparams"):  # of optax.inject_hyperparams
            inner = _renewed(new.inner_state, old.inner_state)
            return old._replace(inner_state=inner)
        if isinstance(new, LearnedState):
            return new._replace(t=old.t, skipped=old.skipped, begun=old.t)
        return old if is_scheduled(new) else new

    return jax.tree.map(renewed, fresh, state, is_leaf=is_scheduled)

"""The way out: (architecture, θ) as an optax transformation, used like Adam.

`to_optax` is a whole optimizer, `scale_by_learned` the part of a chain that replaces
`optax.scale_by_adam`. `value=` is the loss, as optax names it, `value_valid=` a loss on data
held out.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PyTree

from learned import decay as decays
from learned import theta_file
from learned.arguments import (
    check_factor,
    check_roles,
    planned_horizon,
    warn_of_horizon,
    warn_of_size,
    warn_of_weight_decay,
)
from learned.branches import cond_on_devices
from learned.optax_numbers import float32, told
from learned.optax_state import LearnedState, in_form, pack, unpack
from opt_gym import policy
from opt_gym.checks import MOST
from opt_gym.maths.limits import all_finite
from opt_gym.maths.parts import of_shapes
from opt_gym.numerics import fixed_numerics, own_buffers
from opt_gym.records import LearnedOptimizer, Signal


def to_optax(
    learned_optimizer: LearnedOptimizer | None = None,
    theta: PyTree = None,
    *,
    horizon: int | None = None,
    learning_rate: float | Callable[[Any], Any] = 1.0,
    weight_decay: float = 0.0,
    decay: str | None = None,
    roles: tuple[str, ...] | None = None,
    warn: bool = True,
) -> optax.GradientTransformationExtraArgs:
    """The optax transformation of a learned optimizer.

        tx = learned.to_optax(horizon=10_000)    # the bundled "general"; "general_free" without
        tx = learned.to_optax(*learned.load("mine.safetensors"))

    `update(updates, state, params, value=loss)` returns what is to be added to params,

        r · (Δφ − weight_decay · φ),  r = learning_rate · decay(t)

    in their dtype; memory and arithmetic are float32. `value` is required only where the
    architecture needs the loss; where that is only welcome NaN is as good as none, and so it
    is with `value_valid`, a loss on held-out data; extra keywords are ignored. A gradient (or
    a needed loss) that is not finite gives a zero update and changes nothing but the count
    `skipped`.

    Args:
        learned_optimizer, theta: the architecture and its weights; by default the bundled
            "general" where a horizon is given, else "general_free".
        horizon: the planned number of steps; by default the one θ was trained for, or not
            known where it is only welcome.
        learning_rate: a factor of the learned step, or a schedule of it.
        weight_decay: decoupled, times the learning rate.
        decay: how the factor falls to 0 over the horizon: "cosine", half a cosine; "linear",
            a straight line; "wsd", up in the first hundredth, then 1, then down to 0 in the
            last fifth.
        roles: of the tensors, in leaf order: "kernel", "bias", "embedding" or "norm"; by
            default by their names (as Flax's) and ranks.
        warn: here, where the horizon is beyond the one θ was trained for and nothing decays,
            or where weights would decay by a thousandth a step; in `init`, where the model is
            more than ten times as large as those θ was trained on. Nothing is said later:
            `learned.beyond(state)` tells.

    Raises:
        ValueError: an unknown decay; a θ that does not fit the architecture; a horizon, a
            learning rate or a weight decay that cannot be; a need that is not met: no horizon
            (here), no params or loss (when `update` is traced); complex parameters; then
            also gradients, a loss or a state that do not fit.
    """
    decays.check_decay(decay)
    check_factor("learning_rate", learning_rate)
    check_factor("weight_decay", weight_decay)
    learned_optimizer, theta = _or_default(learned_optimizer, theta, horizon)
    horizon = planned_horizon(learned_optimizer, horizon, decay)
    if warn:
        warn_of_horizon(learned_optimizer, horizon, decay)
        warn_of_weight_decay(learned_optimizer, weight_decay, learning_rate)
    transform: Any = _direction(learned_optimizer, theta, horizon, roles, warn)

    def rate(t: Int[Array, ""]) -> Any:
        factor = learning_rate(t) if callable(learning_rate) else learning_rate
        return factor * decays.factor(decay, t, horizon)

    def update(
        updates: PyTree, state: Any, params: PyTree | None = None, **extra_args: Any
    ) -> tuple[PyTree, LearnedState]:
        deltas, new = transform.update(updates, state, params, **extra_args)
        # Not by t, which stands still at the greatest number that it can be.
        factor = jnp.where(new.skipped == state.skipped, rate(state.t), 0.0)
        deltas = jax.tree.map(
            lambda d, p: _as(p, factor * (d - weight_decay * float32(p))),
            deltas,
            params,
        )
        return deltas, new

    return optax.GradientTransformationExtraArgs(transform.init, update)


def scale_by_learned(
    learned_optimizer: LearnedOptimizer | None = None,
    theta: PyTree = None,
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

    Args:
        learned_optimizer, theta, horizon, roles, warn: as those of `to_optax`.

    Raises:
        ValueError: as `to_optax`.
    """
    learned_optimizer, theta = _or_default(learned_optimizer, theta, horizon)
    horizon = planned_horizon(learned_optimizer, horizon, None)
    if warn:
        warn_of_horizon(learned_optimizer, horizon, None)
    transform: Any = _direction(learned_optimizer, theta, horizon, roles, warn)

    def update(
        updates: PyTree, state: Any, params: PyTree | None = None, **extra_args: Any
    ) -> tuple[PyTree, LearnedState]:
        deltas, new = transform.update(updates, state, params, **extra_args)
        deltas = jax.tree.map(lambda d, p: _as(p, -d), deltas, params)
        return deltas, new

    return optax.GradientTransformationExtraArgs(transform.init, update)


def _or_default(
    learned_optimizer: LearnedOptimizer | None, theta: PyTree, horizon: Any
) -> tuple[LearnedOptimizer, PyTree]:
    if learned_optimizer is not None:
        return learned_optimizer, theta
    if theta is not None:
        raise ValueError("theta was given without the learned optimizer that it is of")
    return theta_file.load_default(horizon)


def _direction(
    learned_optimizer: LearnedOptimizer,
    theta: PyTree,
    horizon: Any,
    roles: tuple[str, ...] | None,
    warn: bool,
) -> optax.GradientTransformationExtraArgs:
    """Δφ in float32; `t` stands still where a gradient was not finite."""
    policy.check_theta(learned_optimizer, theta)
    needs, trained = learned_optimizer.needs, learned_optimizer.trained_horizon
    reads_loss = "loss" in policy.read_by(learned_optimizer)
    with fixed_numerics():
        of_tensor = policy.memory_structure(learned_optimizer).of_tensor

    def begin(theta: PyTree, params: PyTree) -> policy.Memories:
        known = policy.roles_of(params) if roles is None else roles
        check_roles(known, len(jax.tree.leaves(params)))
        with of_shapes(policy.shown_shapes(params)):
            return policy.begin(learned_optimizer, theta, params, tuple(known))

    def init(params: PyTree) -> LearnedState:
        _refuse_complex(params)
        params = float32(params)
        if warn:
            count = sum(leaf.size for leaf in jax.tree.leaves(params))
            warn_of_size(learned_optimizer, count)
        with fixed_numerics():
            memories = begin(theta, params)
            state = LearnedState(
                jnp.zeros((), jnp.int32),
                jnp.zeros((), jnp.int32),
                jnp.asarray(trained or 0, jnp.int32),
                jnp.zeros((), jnp.int32),
                *pack(params, memories, of_tensor),
            )
            return own_buffers(state)

    # Compiled here, for who calls `update` uncompiled; inside of a program it dissolves.
    @jax.jit
    def advance(
        theta: PyTree, signal: Signal, state: LearnedState
    ) -> tuple[PyTree, LearnedState]:
        usable = all_finite(
            (signal.grad, signal.loss)
        )  # a number, were there no gradient
        usable = usable & signal.has_loss if "loss" in needs else usable
        like = jax.eval_shape(begin, theta, signal.params)
        state = in_form(signal.params, state, like, of_tensor)

        def step() -> tuple[PyTree, LearnedState]:
            memories = unpack(signal.params, state, like, of_tensor)
            with of_shapes(policy.shown_shapes(signal.params)):
                memories, deltas = policy.advance(
                    learned_optimizer, theta, memories, signal
                )
            tensors, shared = pack(signal.params, memories, of_tensor)
            t = optax.safe_increment(state.t)
            return deltas, state._replace(t=t, tensors=tensors, shared=shared)

        def keep() -> tuple[PyTree, LearnedState]:
            deltas = jax.tree.map(jnp.zeros_like, signal.params)
            return deltas, state._replace(skipped=optax.safe_increment(state.skipped))

        # A branch, for a choice number by number would need both memories at once.
        return cond_on_devices(usable, step, keep, (signal, state))

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
        if not isinstance(state, LearnedState):
            raise ValueError(
                f"this state is of another optimizer: a {type(state).__name__}, no LearnedState"
            )
        _refuse_complex(params)
        _refuse_complex(updates, "gradient")
        _check_needs(learned_optimizer, value, value_valid)
        _check_gradients(params, updates)
        loss, has_loss = told("value", value if reads_loss else None)
        valid, has_valid = told("value_valid", value_valid)
        t = jnp.minimum(state.t, MOST - 8) - state.begun  # clocks look at the next ones
        signal = Signal(
            params=float32(params),
            grad=float32(updates),
            loss=loss,
            has_loss=has_loss,
            valid_loss=valid,
            has_valid=has_valid,
            t=t,
            horizon=jnp.asarray(_left(horizon, state.begun), jnp.int32),
            ages=(t,) * len(jax.tree.leaves(params)),
        )
        with fixed_numerics():
            return advance(theta, signal, state)

    return optax.GradientTransformationExtraArgs(init, update)


def _left(horizon: Any, begun: Any) -> Any:
    """Of the planned steps those that memories have seen, and will see; 0 where not known."""
    return 0 if horizon is None else jnp.maximum(horizon - begun, 1)


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


def _refuse_complex(tree: PyTree, what: str = "parameter") -> None:
    def is_complex(leaf: Any) -> bool:
        return jnp.issubdtype(jnp.result_type(leaf), jnp.complexfloating)

    if not any(map(is_complex, jax.tree.leaves(tree))):  # names are for the message
        return
    for name, leaf in policy.named_leaves(tree):
        if is_complex(leaf):
            raise ValueError(
                f"the complex {what} {name!r} of shape {list(jnp.shape(leaf))} is not "
                "supported"
            )


def _check_gradients(params: PyTree, updates: PyTree) -> None:
    given, expected = (
        [jnp.shape(leaf) for leaf in jax.tree.leaves(tree)]
        for tree in (updates, params)
    )
    if given != expected:  # names are for the message: this is the quick way
        differs = policy.shape_differences(
            policy.shapes_of(params), policy.shapes_of(updates)
        )
        raise ValueError(f"the gradients do not fit the parameters: {differs}")


def _as(param: Any, delta: Any) -> Any:
    return jnp.asarray(delta, jnp.result_type(param))

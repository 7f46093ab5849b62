"""Training as a decision process: `build` makes the pure functions of one environment.

`reset` evaluates (ℓ₀, g₀) on batch 0. `step` applies Δφ, then evaluates (ℓ, g) on the next
batch: that one evaluation is this step's reward and the next observation. All randomness of
an episode comes from its reset key, so the halves of an antithetic pair share tasks, initial
weights, batches and noise.
"""

import copyreg
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from opt_gym import objectives
from opt_gym.checks import check_between, is_number
from opt_gym.data.corruptions import check_corruption
from opt_gym.maths.limits import all_finite, held, hold
from opt_gym.numerics import (
    own_buffers,
    record_with_fixed_numerics,
    with_fixed_numerics,
)
from opt_gym.objectives import StreamKeys
from opt_gym.records import (
    ActionMap,
    Config,
    Data,
    Env,
    EnvSettings,
    EnvState,
    Features,
    Normalizer,
    Observation,
    Signal,
    StepOut,
    Task,
)

COST_LIMIT = 2.0
"""|ℓ̃| never exceeds this; a diverged episode pays it at every step to its horizon."""


class Halves(NamedTuple):
    """What reset and step of an environment are made of.

    reset is `begin`, then `evaluate`; step is `apply`, then `evaluate`. A loop that evaluates
    at the top of its body and applies at the end has the gradient in its program once, where
    `reset` before a loop of `step`s has it twice; see `evaluation/program.py`.

    begin: (key, data, horizon) -> EnvState before its first evaluation, t = 0.
    apply: (state, action) -> EnvState with the new φ and t.
    evaluate: (data, state) -> (EnvState, StepOut); reads no gradient of the state's. At t = 0
        there is no update that the StepOut could tell of.
    """

    begin: Callable[[PRNGKeyArray, Data, Int[Array, ""]], EnvState]
    apply: Callable[[EnvState, tuple], EnvState]
    evaluate: Callable[[Data, EnvState], tuple[EnvState, StepOut]]


def split_reset_key(key: PRNGKeyArray) -> tuple[PRNGKeyArray, PRNGKeyArray]:
    """(k_init, k_stream) of an episode."""
    k_init, k_stream = jax.random.split(key)
    return k_init, k_stream


def stream_keys(k_stream: PRNGKeyArray, t: Int[Array, ""] | int) -> StreamKeys:
    """The keys of inner step t."""
    return StreamKeys(*jax.random.split(jax.random.fold_in(k_stream, t), 4))


def normalized(normalizer: Normalizer, loss: Float[Array, ""]) -> Float[Array, ""]:
    """ℓ̃ = clip((loss − best) / (initial − best), −2, 2); 2 where the loss is not finite."""
    span = normalizer.initial - normalizer.best
    cost = jnp.clip((loss - normalizer.best) / span, -COST_LIMIT, COST_LIMIT)
    return jnp.where(jnp.isfinite(loss), cost, COST_LIMIT)


def num_weights(task: Task, data: Data) -> int:
    """How many numbers φ has.

    Args:
        task: any.
        data: on the host or the device; TaskSet's families need none, {}.
    """
    shapes, _ = jax.eval_shape(lambda key: task.init(key, data), jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def build(
    task: Task,
    features: Features,
    action_map: ActionMap,
    normalizer: Normalizer,
    settings: EnvSettings = EnvSettings(),  # noqa: B008 — a NamedTuple cannot change
) -> Env:
    """The environment of one task, made of its parts.

    Raises:
        ValueError: unknown objective, "noisy" for a task without images, a normalizer
            whose initial loss does not exceed its best, what features need is hidden; at the
            first reset, a tensor of φ that is no float or has no elements.
    """
    _check(task, normalizer, settings)
    check_told(f"the features {features.name!r}", features.needs, settings)
    begin, apply, evaluate = _halves(task, features, action_map, normalizer, settings)

    def reset(key: PRNGKeyArray, data: Data, horizon: Int[Array, ""]) -> EnvState:
        return own_buffers(evaluate(data, begin(key, data, horizon))[0])

    def observe(state: EnvState) -> tuple[Signal, Observation]:
        signal = _signal(state, settings)
        return signal, features.observe(state.features, signal)

    def step(data: Data, state: EnvState, action: tuple) -> tuple[EnvState, StepOut]:
        return evaluate(data, apply(state, action))

    return Env(
        config=_config(task, features, action_map, normalizer, settings),
        task=task,
        features=features,
        action_map=action_map,
        normalizer=normalizer,
        settings=settings,
        reset=with_fixed_numerics(reset),
        observe=with_fixed_numerics(observe),
        step=with_fixed_numerics(step),
    )


def halves(env: Env) -> Halves:
    """The parts of an environment's reset and step."""
    return record_with_fixed_numerics(
        _halves(env.task, env.features, env.action_map, env.normalizer, env.settings)
    )


def _halves(
    task: Task,
    features: Features,
    action_map: ActionMap,
    normalizer: Normalizer,
    settings: EnvSettings,
) -> Halves:
    objective_loss = objectives.objective_loss(task, settings)
    valid_loss = objectives.valid_loss(task, settings.valid_every)

    def begin(key: PRNGKeyArray, data: Data, horizon: Int[Array, ""]) -> EnvState:
        k_init, k_stream = split_reset_key(key)
        params, instance = task.init(k_init, data)
        _check_params(params)
        return EnvState(
            key=k_stream,
            t=jnp.zeros((), jnp.int32),
            horizon=jnp.asarray(horizon, jnp.int32),
            params=params,
            instance=instance,
            features=features.init(params),
            action=action_map.init(params),
            loss=jnp.zeros(()),
            grad=jax.tree.map(jnp.zeros_like, params),
            valid_loss=jnp.zeros(()),
            has_valid=jnp.zeros((), bool),
            dead=jnp.zeros((), bool),
        )

    def apply(state: EnvState, action: tuple) -> EnvState:
        signal = _signal(state, settings)
        memory, delta = action_map.apply(state.action, signal, action)
        params = task.constrain(jax.tree.map(jnp.add, state.params, delta))
        return state._replace(t=state.t + 1, params=params, action=memory)

    def evaluate(data: Data, state: EnvState) -> tuple[EnvState, StepOut]:
        t, params, instance = state.t, state.params, state.instance
        keys = stream_keys(state.key, t)
        batch = task.sample_batch(keys.batch, data, instance, "train")

        def loss_fn(params: PyTree) -> tuple[Float[Array, ""], dict[str, Any]]:
            return task.loss(keys.loss, params, instance, batch)

        (loss, aux), grad = jax.value_and_grad(loss_fn, has_aux=True)(params)
        counted = objective_loss(keys, data, params, instance, batch, loss)
        valid, has_valid = valid_loss(keys.valid, data, params, instance, t)
        # What counts is the loss after an update: at t = 0 nobody dies of it.
        counts = jnp.where(t > 0, counted, 0.0) if counted is not loss else loss
        dead = state.dead | ~all_finite((loss, counts, grad))
        cost = jnp.where(dead, COST_LIMIT, normalized(normalizer, counted))
        out = StepOut(
            loss=counted,
            cost=cost,
            reward=-cost / state.horizon,
            terminated=dead,
            truncated=t >= state.horizon,
            aux=aux,
        )
        state = state._replace(
            loss=loss,
            grad=held(grad),
            valid_loss=jnp.where(has_valid, valid, state.valid_loss),
            has_valid=has_valid,
            dead=dead,
        )
        memory = features.update(state.features, _signal(state, settings))
        return state._replace(features=memory), out

    return Halves(begin, apply, evaluate)


def _signal(state: EnvState, settings: EnvSettings) -> Signal:
    # The one place where second derivatives are cut: what is fed back, never the
    # accumulators, so that momenta still carry gradients of θ through time.
    whole = settings.second_derivatives
    cut = (lambda x: x) if whole else jax.lax.stop_gradient
    has_loss, has_horizon = _told(state.key, settings)
    return Signal(
        params=state.params,
        grad=cut(state.grad),
        loss=_where(has_loss, hold(cut(state.loss)), 0.0),
        has_loss=jnp.asarray(has_loss),
        valid_loss=hold(cut(state.valid_loss)),
        has_valid=state.has_valid,
        t=state.t,
        horizon=_where(has_horizon, state.horizon, 0),
        ages=(state.t,) * len(jax.tree.leaves(state.params)),
    )


def _told(k_stream: PRNGKeyArray, settings: EnvSettings) -> tuple[Any, ...]:
    """Whether an episode's optimizer is told (the loss, the horizon).

    The two words of the key are drawn numbers that stay for the episode: nothing is computed
    at a step, nor kept. True, and not an array, where all episodes are told.
    """
    shares = settings.hide_loss, settings.hide_horizon
    words = jax.random.key_data(k_stream)
    return tuple(
        words[i] >= np.uint32(share * (2**32 - 1)) if share else True
        for i, share in enumerate(shares)
    )


def _where(condition: Any, x: Any, otherwise: Any) -> Any:
    return x if condition is True else jnp.where(condition, x, otherwise)


def _reduced(env: Env) -> tuple[Any, tuple]:
    """How pickle makes an environment again: from its parts."""
    parts = (env.task, env.features, env.action_map, env.normalizer, env.settings)
    return build, parts


copyreg.pickle(Env, _reduced)  # pyright: ignore[reportArgumentType]


def with_action_map(env: Env, action_map: ActionMap) -> Env:
    """The same environment, whose actions another map makes weight updates of."""
    return build(env.task, env.features, action_map, env.normalizer, env.settings)


def _config(
    task: Task,
    features: Features,
    action_map: ActionMap,
    normalizer: Normalizer,
    settings: EnvSettings,
) -> Config:
    """`Env.config`: checkpoints and cached runs know an environment by it."""
    config: Config = {
        "task": task.config,
        "features": [features.name, features.config],
        "action": [action_map.name, action_map.config],
        "normalizer": [normalizer.initial, normalizer.best],
        **settings._asdict(),
    }
    if settings.objective != "noisy":
        del config["corruption"]
    for hidden in ("hide_loss", "hide_horizon"):  # as before there were such episodes
        if not config[hidden]:
            del config[hidden]
    return config


def _check(task: Task, normalizer: Normalizer, settings: EnvSettings) -> None:
    objectives.check_objective(task, settings.objective)
    if not isinstance(normalizer, Normalizer):
        raise ValueError(f"normalizer must be a Normalizer, got {normalizer!r}")
    bounds = normalizer.initial, normalizer.best
    if (
        not all(is_number(x) and np.isfinite(x) for x in bounds)
        or bounds[0] <= bounds[1]
    ):
        raise ValueError(f"a normalizer needs initial > best, got {normalizer}")
    check_corruption(settings.corruption)
    if settings.valid_every < 0:
        raise ValueError(f"valid_every must be >= 0, got {settings.valid_every}")


def check_told(who: str, needs: Sequence[str], settings: EnvSettings) -> None:
    """Raises ValueError where an environment hides what somebody needs."""
    for name in ("loss", "horizon"):
        share = getattr(settings, f"hide_{name}")
        check_between(f"hide_{name}", share, 0.0, 1.0)
        if share and name in needs:
            raise ValueError(f"hide_{name} is {share}, but {who} cannot do without it")


def _check_params(params: PyTree) -> None:
    # A mean over no elements is NaN, and would reach every tensor by what they tell each
    # other; whoever writes a task can leave such a tensor out.
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        if not jnp.issubdtype(leaf.dtype, jnp.floating) or leaf.size == 0:
            raise ValueError(
                f"the task's tensor {jax.tree_util.keystr(path)} is {leaf.dtype} of shape "
                f"{list(leaf.shape)}: what is trained are floats, at least one a tensor"
            )

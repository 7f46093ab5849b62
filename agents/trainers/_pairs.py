"""N antithetic pairs of unrolls: how ES and PES run a window of K inner steps.

A particle is one inner problem with two halves, θ+σz and θ−σz, that share keys, tasks,
initial weights, batches and noise. Two programs serve every estimator: `reset` (new episodes
for the slots that are done; a reset inside the window would be computed at every step) and
`window` (K steps of every half).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from opt_gym import strategy
from opt_gym.episode import check_compatible, unroll
from opt_gym.records import Data, Env, Estimate, LearnedOptimizer, UnrollState

Horizon = int | tuple[int, int]


class Pairs(NamedTuple):
    """The slots of one environment.

    Shapes: halves [N, 2, ...], pos before neg, without ψ; instance [N, ...] is ψ, once.
    """

    halves: UnrollState
    instance: PyTree


class WindowOut(NamedTuple):
    """What a window gave. All [N], but score [N, d].

    score: z, with ε = σz; difference: mean ℓ̃ of pos minus that of neg; cost: their mean;
    dead: a half has diverged; done: the horizon is reached; horizon: of the episode.
    """

    score: Float[Array, "n d"]
    difference: Float[Array, " n"]
    cost: Float[Array, " n"]
    dead: Bool[Array, " n"]
    done: Bool[Array, " n"]
    horizon: Int[Array, " n"]


class PairPrograms(NamedTuple):
    """empty: (θ, data) -> Pairs of zeros.

    reset: (key, data, pairs, done [N], stagger) -> Pairs, lengths drawn anew.
    window: (key, θ, data, pairs) -> (Pairs, WindowOut).
    """

    empty: Callable[[PyTree, Data], Pairs]
    reset: Callable[..., Pairs]
    window: Callable[..., tuple[Pairs, WindowOut]]


def programs(
    env: Env,
    learned_optimizer: LearnedOptimizer,
    *,
    num_pairs: int,
    trunc_length: int,
    sigma: float,
    horizon: Horizon,
    common_length: bool,
) -> PairPrograms:
    """The two programs of one environment. They compile at their first call.

    Args:
        env, learned_optimizer, num_pairs, trunc_length, sigma, horizon: as the trainers'.
        common_length: whether all slots of a reset draw one length, or each its own.
    """
    check_compatible(env, learned_optimizer)
    # On the host: the mapped arguments of `window` are donated, these would go with them.
    indices = np.arange(num_pairs, dtype=np.uint32)
    signs = jnp.array([1.0, -1.0])

    def fresh(key: PRNGKeyArray, data: Data, length: Any, theta: PyTree) -> UnrollState:
        state = env.reset(key, data, length)
        carry = learned_optimizer.init(theta, state.params, env.task.roles)
        return UnrollState(state, carry)

    def empty(theta: PyTree, data: Data) -> Pairs:
        shapes = jax.eval_shape(fresh, jax.random.key(0), data, jnp.int32(0), theta)
        instance = _zeros(shapes.env.instance, (num_pairs,))
        return Pairs(_zeros(_without_instance(shapes), (num_pairs, 2)), instance)

    def reset_one(one: tuple, shared: tuple) -> Pairs:
        index, pair, done = one
        key, data, stagger = shared
        k_length, k_reset = jax.random.split(jax.random.fold_in(key, index))
        k_length = key if common_length else k_length
        length = draw_length(k_length, horizon, trunc_length)
        length = jnp.where(
            stagger, _staggered(length, index, num_pairs, trunc_length), length
        )
        state = env.reset(k_reset, data, length)
        # The carry is made at the window's start, where the perturbed θ is known.
        new = UnrollState(state._replace(instance=None), pair.halves.carry)
        halves = jax.tree.map(lambda a, b: jnp.where(done, a, b), new, pair.halves)
        instance = jax.tree.map(
            lambda a, b: jnp.where(done, a, b), state.instance, pair.instance
        )
        return Pairs(halves, instance)

    def window_one(one: tuple, shared: tuple) -> tuple[Pairs, WindowOut]:
        index, pair = one
        key, theta, data = shared
        flat, unravel = ravel_pytree(theta)
        score = jax.random.normal(jax.random.fold_in(key, index), flat.shape)

        def half(one_half: tuple) -> tuple[UnrollState, Any, Any]:
            sign, state = one_half
            perturbed = unravel(flat + sign * sigma * score)
            state = UnrollState(state.env._replace(instance=pair.instance), state.carry)
            state = _with_initial_carry(
                learned_optimizer, perturbed, env.task.roles, state
            )
            state, out = unroll(
                env, learned_optimizer, perturbed, data, state, trunc_length
            )
            return _without_instance(state), jnp.mean(out.cost), out.terminated[-1]

        halves, costs, dead = strategy.on_one_device(half)((signs, pair.halves))
        length = halves.env.horizon[0]
        out = WindowOut(
            score=score,
            difference=costs[0] - costs[1],
            cost=jnp.mean(costs),
            dead=jnp.any(dead),
            done=halves.env.t[0] >= length,
            horizon=length,
        )
        return Pairs(halves, pair.instance), out

    reset = strategy.map_unrolls(reset_one, num_pairs)
    window = strategy.map_unrolls(window_one, num_pairs, donate=True)
    return PairPrograms(
        empty=empty,
        reset=lambda key, data, pairs, done, stagger: reset(
            (indices, pairs, done), (key, data, stagger)
        ),
        window=lambda key, theta, data, pairs: window(
            (indices, pairs), (key, theta, data)
        ),
    )


def check_settings(
    num_pairs: int, trunc_length: int, sigma: float, horizon: Horizon
) -> None:
    """Raises ValueError for a setting no estimator can run with."""
    if num_pairs < 1:
        raise ValueError(f"num_pairs must be >= 1, got {num_pairs}")
    if trunc_length < 1:
        raise ValueError(f"trunc_length must be >= 1, got {trunc_length}")
    if not sigma > 0:
        raise ValueError(f"sigma must be > 0, got {sigma}")
    low, high = _bounds(horizon)
    if not 1 <= low <= high:
        raise ValueError(f"horizon must be >= 1, or 1 <= low <= high, got {horizon}")


def draw_length(
    key: PRNGKeyArray, horizon: Horizon, trunc_length: int
) -> Int[Array, ""]:
    """A length: constant, or log-uniform in [low, high], rounded up to a multiple of K."""
    low, high = _bounds(horizon)
    log_length = jax.random.uniform(key, minval=math.log(low), maxval=math.log(high))
    length = jnp.float32(low) if low == high else jnp.exp(log_length)
    # The small slack keeps exp(log(100)) = 100.00001 from becoming 150.
    windows = jnp.ceil(length / trunc_length - 1e-4).astype(jnp.int32)
    return trunc_length * jnp.maximum(windows, 1)


def mean_length(horizon: Horizon, trunc_length: int) -> float:
    """The mean of `draw_length`, exactly."""
    low, high = _bounds(horizon)
    if low == high:
        return float(trunc_length * math.ceil(low / trunc_length))
    first, last = math.ceil(low / trunc_length), math.ceil(high / trunc_length)
    total = 0.0
    for windows in range(first, last + 1):
        upper = min(windows * trunc_length, high)
        lower = max((windows - 1) * trunc_length, low)
        total += windows * trunc_length * math.log(upper / lower)
    return total / math.log(high / low)


class Combined(NamedTuple):
    """A gradient estimate from N particles, still flat. Shapes: grad [d]; the rest []."""

    grad: Float[Array, " d"]
    outer_loss: Float[Array, ""]
    variance: Float[Array, ""]
    dropped: Int[Array, ""]


def combine(
    scores: Float[Array, "n d"],
    coefficients: Float[Array, " n"],
    cost: Float[Array, " n"],
    dead: Bool[Array, " n"],
) -> Combined:
    """Mean and variance over particles of coefficient_i · score_i.

    A coefficient that is not finite counts as 0: `where` on the scalar, never NaN·0.
    """
    coefficients = jnp.where(jnp.isfinite(coefficients), coefficients, 0.0)
    grads = coefficients[:, None] * scores
    count = scores.shape[0]
    centred = grads - jnp.mean(grads, 0, keepdims=True)
    spread = jnp.sum(jnp.square(centred), 0) / max(count - 1, 1)
    return Combined(
        grad=jnp.mean(grads, 0),
        outer_loss=jnp.mean(cost),
        variance=jnp.mean(spread),
        dropped=jnp.sum(dead),
    )


def estimate(combined: Combined, theta: PyTree, inner_steps: int) -> Estimate:
    """The estimate with its gradient shaped like θ. Traceable."""
    _, unravel = ravel_pytree(theta)
    return Estimate(
        grad=unravel(combined.grad),
        outer_loss=combined.outer_loss,
        variance=combined.variance,
        dropped=combined.dropped,
        inner_steps=jnp.asarray(inner_steps, jnp.int32),
    )


def _bounds(horizon: Horizon) -> tuple[int, int]:
    return (horizon, horizon) if isinstance(horizon, int) else (horizon[0], horizon[1])


def _staggered(length: Any, index: Any, num_pairs: int, trunc_length: int) -> Any:
    """First episodes are really short, so that slots do not reset all at once."""
    windows = length // trunc_length
    count = (index.astype(jnp.int32) + 1) * windows
    return trunc_length * ((count + num_pairs - 1) // num_pairs)


def _with_initial_carry(
    learned_optimizer: LearnedOptimizer,
    theta: PyTree,
    roles: tuple[str, ...],
    state: UnrollState,
) -> UnrollState:
    first = state.env.t == 0
    initial = learned_optimizer.init(theta, state.env.params, roles)
    carry = jax.tree.map(lambda a, b: jnp.where(first, a, b), initial, state.carry)
    return state._replace(carry=carry)


def _without_instance(state: UnrollState) -> UnrollState:
    return state._replace(env=state.env._replace(instance=None))


def _zeros(shapes: PyTree, leading: tuple[int, ...]) -> PyTree:
    def zero(leaf: Any) -> Any:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = jax.eval_shape(jax.random.key_data, leaf)
            return jax.random.wrap_key_data(jnp.zeros(leading + data.shape, data.dtype))
        return jnp.zeros(leading + leaf.shape, leaf.dtype)

    return jax.tree.map(zero, shapes)

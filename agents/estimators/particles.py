"""N particles: how every gradient estimator runs a window of K inner steps.

A particle is one inner problem. With perturbations it has two halves, θ+σz and θ−σz, that
share keys, tasks, initial weights, batches and noise; without, it is one unroll of θ. Two
programs serve every estimator: `reset` (new episodes for the slots that are done; a reset
inside the window would be computed at every step) and `window` (K steps of every half, and
where it is asked for the gradient through them).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from agents.records import Lengths
from opt_gym.episode import check_compatible, unroll
from opt_gym.records import Data, Env, LearnedOptimizer, UnrollState
from opt_gym.runtime import strategy
from opt_gym.runtime.key_arrays import zeros


class Particles(NamedTuple):
    """The slots of one environment.

    Shapes: halves [N, H, ...], H = 2 (pos before neg) or 1, without ψ; instance [N, ...] is
    ψ, once.
    """

    halves: UnrollState
    instance: PyTree


class WindowOut(NamedTuple):
    """What a window gave. All [N], but score and slope [N, d].

    score: z, with ε = σz (zeros without perturbations); difference: mean ℓ̃ of pos minus that
    of neg; cost: their mean; slope: the gradient through the window, the mean of the halves',
    or () where it was not asked for; dead: a half has diverged; done: the horizon is reached;
    horizon: of the episode.
    """

    score: Float[Array, "n d"]
    difference: Float[Array, " n"]
    cost: Float[Array, " n"]
    slope: Any
    dead: Bool[Array, " n"]
    done: Bool[Array, " n"]
    horizon: Int[Array, " n"]


class ParticlePrograms(NamedTuple):
    """empty: (θ, data) -> Particles of zeros.

    keys: key -> [N] keys, one a particle.
    reset: (key, data, particles, done [N], upper, stagger) -> Particles, lengths drawn anew.
    window: (noise keys [N], θ, data, particles) -> (Particles, WindowOut).
    """

    empty: Callable[[PyTree, Data], Particles]
    keys: Callable[[PRNGKeyArray], PRNGKeyArray]
    reset: Callable[..., Particles]
    window: Callable[..., tuple[Particles, WindowOut]]


def programs(
    env: Env,
    learned_optimizer: LearnedOptimizer,
    *,
    num: int,
    lengths: Lengths,
    sigma: float = 0.0,
    common_length: bool = False,
    merge: bool = False,
    slopes: bool = False,
) -> ParticlePrograms:
    """The programs of one environment. They compile at their first call.

    Args:
        env, learned_optimizer: which unrolls.
        num: N.
        lengths: of episodes and of a window.
        sigma: of the perturbations; 0 for one unperturbed unroll a particle.
        common_length: whether all slots of a reset draw one length, or each its own.
        merge: after a window the negative half goes on from where the positive one is.
        slopes: backprop through the window.
    """
    check_compatible(env, learned_optimizer)
    # On the host: the mapped arguments of `window` are donated, these would go with them.
    indices = np.arange(num, dtype=np.uint32)
    signs = jnp.array([1.0, -1.0] if sigma else [0.0])
    trunc_length = lengths.trunc_length
    span = env.normalizer.initial - env.normalizer.best

    def carry_of(theta: PyTree, params: PyTree) -> Any:
        return learned_optimizer.init(theta, params, env.task.roles)

    def empty(theta: PyTree, data: Data) -> Particles:
        def begun(key: PRNGKeyArray, data: Data, theta: PyTree) -> UnrollState:
            state = env.reset(key, data, jnp.int32(0))
            return UnrollState(state, carry_of(theta, state.params))

        shapes = jax.eval_shape(begun, jax.random.key(0), data, theta)
        instance = zeros(shapes.env.instance, (num,))
        return Particles(zeros(_without_instance(shapes), (num, len(signs))), instance)

    def reset_slot(slot: tuple, shared: tuple) -> Particles:
        index, particle, done = slot
        key, data, upper, stagger = shared
        k_length, k_reset = jax.random.split(jax.random.fold_in(key, index))
        length = lengths.draw(key if common_length else k_length, upper)
        short = lengths.staggered(length, index, num)
        state = env.reset(k_reset, data, jnp.where(stagger, short, length))
        # The carry is made at the window's start, where the perturbed θ is known.
        new = UnrollState(state._replace(instance=None), particle.halves.carry)
        return Particles(
            _where(done, new, particle.halves),
            _where(done, state.instance, particle.instance),
        )

    def window_of_slot(slot: tuple, shared: tuple) -> tuple[Particles, WindowOut]:
        key, particle = slot
        theta, data = shared
        flat, unravel = ravel_pytree(theta)
        score = jax.random.normal(key, flat.shape) if sigma else jnp.zeros_like(flat)

        def half(signed: tuple) -> tuple[UnrollState, Any, Any, Any]:
            sign, state = signed
            state = state._replace(env=state.env._replace(instance=particle.instance))

            def unrolled(flat: Array) -> tuple[Array, tuple]:
                theta = unravel(flat)
                initial, fresh = carry_of(theta, state.env.params), state.env.t == 0
                begun = state._replace(carry=_where(fresh, initial, state.carry))
                end, out = unroll(
                    *(env, learned_optimizer, theta, data, begun, trunc_length),
                    remat=slopes,
                )
                # Without the clip, whose gradient is zero exactly where training diverges.
                loss = (jnp.mean(out.loss) - env.normalizer.best) / span
                return loss, (end, jnp.mean(out.cost), out.terminated[-1])

            at = flat + sign * sigma * score
            slope, (end, cost, dead) = (
                slope_through(unrolled, at) if slopes else ((), unrolled(at)[1])
            )
            return _without_instance(end), cost, dead, slope

        both_halves = strategy.on_one_device(half)
        halves, costs, dead, slope = both_halves((signs, particle.halves))
        out = WindowOut(
            score=score,
            difference=costs[0] - costs[-1],
            cost=jnp.mean(costs),
            slope=jnp.mean(slope, 0) if slopes else (),
            dead=jnp.any(dead),
            done=halves.env.t[0] >= halves.env.horizon[0],
            horizon=halves.env.horizon[0],
        )
        if merge:
            halves = jax.tree.map(lambda x: jnp.stack([x[0]] * len(signs)), halves)
        return Particles(halves, particle.instance), out

    reset = strategy.map_unrolls(reset_slot, num)
    window = strategy.map_unrolls(window_of_slot, num, donate=True)
    return ParticlePrograms(
        empty=empty,
        keys=jax.jit(lambda key: jax.vmap(jax.random.fold_in, (None, 0))(key, indices)),
        reset=lambda key, data, particles, done, upper, stagger: reset(
            (indices, particles, done), (key, data, upper, stagger)
        ),
        window=lambda keys, theta, data, particles: window(
            (keys, particles), (theta, data)
        ),
    )


def slope_through(
    unrolled: Callable[[Array], tuple[Array, tuple]], at: Float[Array, " d"]
) -> tuple[Float[Array, " d"], tuple]:
    """(gradient of a window's mean loss at flat θ, (state, mean ℓ̃, dead)).

    All NaN where some of it or the loss is not finite: an unroll that diverged says nothing
    of use.
    """
    (value, rest), slope = jax.value_and_grad(unrolled, has_aux=True)(at)
    finite = jnp.all(jnp.isfinite(slope)) & jnp.isfinite(value)
    return jnp.where(finite, slope, jnp.nan), jax.lax.stop_gradient(rest)


def _where(condition: Bool[Array, ""], new: PyTree, old: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


def _without_instance(state: UnrollState) -> UnrollState:
    return state._replace(env=state.env._replace(instance=None))

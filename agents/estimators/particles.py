"""N particles: how every gradient estimator runs a window of K inner steps.

A particle is one inner problem. With perturbations it has two halves, θ+σz and θ−σz, that
share keys, tasks, initial weights, batches and noise; without, it is one unroll of θ. One
program serves every estimator: K steps of every half, before which slots that are done begin
anew, and the gradient through them where it is asked for. (With resets as a program of their
own, which cuts all of the state into slices once more, a task took 14 core-seconds to compile,
not 10: `nominal` on four layers. On CPU a slot that goes on pays nothing for it.)
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from agents.records import Counted, Lengths
from opt_gym.episode import check_compatible, start, unroll
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

    score: z, with ε = σz (zeros without perturbations); difference: what pos counts minus what
    neg does; cost: the mean of their ℓ̃; slope: the gradient through the window, their mean,
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


class Renewal(NamedTuple):
    """Which slots begin a new episode at a window's start, and how.

    key: of all of them; done: [N]; upper: of the lengths; stagger: whether they are short.
    """

    key: PRNGKeyArray
    done: Bool[Array, " n"]
    upper: Array | float
    stagger: Any


class ParticlePrograms(NamedTuple):
    """empty: (θ, data) -> Particles of zeros.

    keys: key -> [N] keys, one a particle.
    window: (noise keys [N], θ, data, particles, renewal) -> (Particles, WindowOut).
    """

    empty: Callable[[PyTree, Data], Particles]
    keys: Callable[[PRNGKeyArray], PRNGKeyArray]
    window: Callable[..., tuple[Particles, WindowOut]]


def programs(
    env: Env,
    learned_optimizer: LearnedOptimizer,
    *,
    num: int,
    lengths: Lengths,
    sigma: float = 0.0,
    counted: Counted = Counted(),  # noqa: B008 — a NamedTuple cannot change
    common_length: bool = False,
    merge: bool = False,
    slopes: bool = False,
) -> ParticlePrograms:
    """The programs of one environment. They compile at their first call.

    Args:
        env, learned_optimizer, num: which unrolls, N of them.
        lengths: of episodes and of a window.
        sigma: of perturbations, 0 for none; an argument, so that all have one program.
        counted: what an inner step counts.
        common_length: whether all slots of a renewal draw one length, or each its own.
        merge: after a window the negative half goes on from where the positive one is.
        slopes: backprop through the window.
    """
    check_compatible(env, learned_optimizer)
    signs = np.array([1.0, -1.0] if sigma else [0.0], np.float32)
    num_halves, trunc_length = len(signs), lengths.trunc_length
    span = env.normalizer.initial - env.normalizer.best

    def empty(theta: PyTree, data: Data) -> Particles:
        shapes = jax.eval_shape(
            lambda key: start(key, env, learned_optimizer, theta, data, 0),
            jax.random.key(0),
        )
        instance = zeros(shapes.env.instance, (num,))
        return Particles(zeros(_without_instance(shapes), (num, num_halves)), instance)

    def begin(renewal: Renewal, index: Array, theta: PyTree, data: Data) -> UnrollState:
        k_length, k_reset = jax.random.split(jax.random.fold_in(renewal.key, index))
        k_length = renewal.key if common_length else k_length
        length = lengths.draw(k_length, renewal.upper)
        short = lengths.staggered(length, index, num)
        horizon = jnp.where(renewal.stagger, short, length)
        return start(k_reset, env, learned_optimizer, theta, data, horizon)

    def window_of_half(element: tuple, shared: tuple) -> tuple[UnrollState, tuple]:
        index, sign, state = element
        keys, theta, data, renewal, spread = shared
        flat, unravel = ravel_pytree(theta)
        shape = flat.shape
        score = jax.random.normal(keys[index], shape) if sigma else jnp.zeros(shape)

        def unrolled(flat: Array) -> tuple[Array, tuple]:
            theta = unravel(flat)
            begun = partial(begin, renewal, index, theta, data)
            first = jax.lax.cond(renewal.done[index], begun, lambda: state)
            inner = (env, learned_optimizer, theta, data, first)
            end, out = unroll(*inner, trunc_length, remat=slopes)
            # Without the clip, whose gradient is zero exactly where training diverges.
            loss = (jnp.mean(out.loss) - env.normalizer.best) / span
            t = first.env.t + 1 + jnp.arange(trunc_length)
            counts = counted.mean(out.cost, t, end.env.horizon)
            return loss, (end, counts, jnp.mean(out.cost), out.terminated[-1])

        at = flat + sign * spread * score
        slope, (end, *costs) = (
            slope_through(unrolled, at) if slopes else ((), unrolled(at)[1])
        )
        return end, (score, *costs, slope)

    def window_of_slots(mapped: tuple, shared: tuple) -> tuple[Particles, WindowOut]:
        # One loop over slots and halves: each loop cuts all of the state into slices.
        indices, instance = jax.tree.map(
            lambda x: jnp.repeat(x, num_halves, axis=0), (mapped[0], mapped[1].instance)
        )
        states = jax.tree.map(lambda x: jax.lax.collapse(x, 0, 2), mapped[1].halves)
        states = states._replace(env=states.env._replace(instance=instance))
        run = strategy.on_one_device(lambda element: window_of_half(element, shared))
        each = run((indices, jnp.tile(signs, len(mapped[0])), states))
        shape = len(mapped[0]), num_halves  # not −1: a memory may be empty
        found = jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), each)
        ends, (score, counts, cost, dead, slope) = found
        out = WindowOut(
            score=score[:, 0],
            difference=counts[:, 0] - counts[:, -1],
            cost=jnp.mean(cost, 1),
            slope=jnp.mean(slope, 1) if slopes else (),
            dead=jnp.any(dead, 1),
            done=ends.env.t[:, 0] >= ends.env.horizon[:, 0],
            horizon=ends.env.horizon[:, 0],
        )
        instance = jax.tree.map(lambda x: x[:, 0], ends.env.instance)
        ends = _without_instance(ends)
        if merge:
            ends = jax.tree.map(lambda x: jnp.stack([x[:, 0]] * num_halves, 1), ends)
        return Particles(ends, instance), out

    # On the host: the mapped arguments of `window` are donated, these would go with them.
    indices = np.arange(num, dtype=np.uint32)
    window = strategy.map_parts(window_of_slots, num, donate=True)
    return ParticlePrograms(
        empty=empty,
        keys=jax.jit(lambda key: jax.vmap(jax.random.fold_in, (None, 0))(key, indices)),
        window=lambda keys, theta, data, particles, renewal: window(
            (indices, particles), (keys, theta, data, renewal, np.float32(sigma))
        ),
    )


def slope_through(
    unrolled: Callable[[Array], tuple[Array, tuple]], at: Float[Array, " d"]
) -> tuple[Float[Array, " d"], tuple]:
    """(gradient of a window's mean loss at flat θ, the rest of what `unrolled` gives).

    All NaN where some of it or the loss is not finite: a diverged unroll says nothing.
    """
    (value, rest), slope = jax.value_and_grad(unrolled, has_aux=True)(at)
    finite = jnp.all(jnp.isfinite(slope)) & jnp.isfinite(value)
    return jnp.where(finite, slope, jnp.nan), jax.lax.stop_gradient(rest)


def _without_instance(state: UnrollState) -> UnrollState:
    return state._replace(env=state.env._replace(instance=None))

"""The programs that PPO runs on one task: the reset of its environments, and a window.

A window is the rollouts and all updates. Every device plays its own environments and learns
from their samples; only gradients (one vector a minibatch) and a few means are shared.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, PRNGKeyArray, PyTree

from agents.estimators.slots import moments
from agents.records import Lengths, Report
from agents.rl import ppo_rollout, ppo_update, seen_observations
from agents.rl.ppo_rollout import Credit, Rollout
from agents.rl.ppo_update import Learner, Update
from opt_gym.records import Data, Env, EnvState, LearnedOptimizer
from opt_gym.runtime import strategy
from opt_gym.runtime.key_arrays import zeros

TINY = 50
"""Environments of so many weights go through a step side by side (`vmap`), larger ones one
after the other on every core, as unrolls do. Outer steps of PPO on quadratics, CPU ms, vmap
against map: 10 weights 177 and 203, 100 weights 403 and 367, 1000 weights 639 and 270."""


class EnvSlots(NamedTuple):
    """The environments of one task. Shapes: env [N, ...]; done, begun [N]."""

    env: EnvState
    done: Bool[Array, " n"]
    begun: Bool[Array, " n"]


class RolloutSettings(NamedTuple):
    """Of the rollouts; see `ppo.make`."""

    num_envs: int
    num_steps: int
    horizon: int
    action_scale: float
    max_buffer_gb: float


class PpoPrograms(NamedTuple):
    """One task's programs.

    Attributes:
        check: data -> raises ValueError for a buffer too large.
        empty: data -> the slots before their first reset.
        reset: (key, data, slots) -> slots, done ones begun anew, the first time with short
            first episodes.
        window: (key, data, slots, learner) -> (slots, learner, Report). Donates the slots.
    """

    check: Callable[[Data], None]
    empty: Callable[[Data], EnvSlots]
    reset: Callable[[PRNGKeyArray, Data, EnvSlots], EnvSlots]
    window: Callable[
        [PRNGKeyArray, Data, EnvSlots, Learner], tuple[EnvSlots, Learner, Report]
    ]


def programs(
    env: Env,
    learned_optimizer: LearnedOptimizer,
    outer_optimizer: optax.GradientTransformationExtraArgs,
    settings: RolloutSettings,
    credit: Credit,
    update: Update,
) -> PpoPrograms:
    """The programs of one task; arguments as those of `ppo.make`.

    Raises:
        ValueError: see `ppo_rollout.update_env`.
    """
    num_envs = settings.num_envs
    env = ppo_rollout.update_env(env, learned_optimizer)
    indices = np.arange(num_envs, dtype=np.uint32)  # mapped arguments may be donated
    fresh = _fresh(env, settings)
    run_reset = strategy.map_and_share(_reset(fresh), num_envs)
    window = _window(env, learned_optimizer, outer_optimizer, settings, credit, update)
    run_window = strategy.map_and_share(window, num_envs, donate=1)

    def shapes(data: Data) -> EnvState:
        index, key = jnp.uint32(0), jax.random.key(0)
        return jax.eval_shape(fresh, index, key, data, jnp.bool_(False))

    def check(data: Data) -> None:
        check_buffer(env, shapes(data), settings)

    def empty(data: Data) -> EnvSlots:
        everyone = jnp.ones(num_envs, bool)
        return EnvSlots(
            zeros(shapes(data), (num_envs,)), done=everyone, begun=~everyone
        )

    def reset(key: PRNGKeyArray, data: Data, slots: EnvSlots) -> EnvSlots:
        shared = (key, data, ~np.asarray(slots.begun)[0])
        return run_reset((indices, slots), shared)[0]

    def call_window(
        key: PRNGKeyArray, data: Data, slots: EnvSlots, learner: Learner
    ) -> tuple[EnvSlots, Learner, Report]:
        shared = (key, learner, data)
        slots, (learner, report) = run_window((indices, slots.env), shared)
        return slots, learner, report

    return PpoPrograms(check, empty, reset, call_window)


def _fresh(env: Env, settings: RolloutSettings) -> Callable[..., EnvState]:
    lengths = Lengths(settings.horizon, settings.horizon, settings.num_steps)

    def fresh(index: Array, key: PRNGKeyArray, data: Data, stagger: Array) -> EnvState:
        length = jnp.int32(settings.horizon)
        short = lengths.staggered(length, index, settings.num_envs)
        length = jnp.where(stagger, short, length)
        return env.reset(jax.random.fold_in(key, index), data, length)

    return fresh


def _reset(fresh: Callable[..., EnvState]) -> Callable[..., tuple[EnvSlots, tuple]]:
    def reset(mapped: tuple, shared: tuple) -> tuple[EnvSlots, tuple]:
        index, slots = mapped

        def restart(pair: tuple) -> EnvState:
            index, (old, done) = pair
            new = fresh(index, *shared)
            return jax.tree.map(lambda a, b: jnp.where(done, a, b), new, old)

        state = _batched(slots.env)(restart)((index, (slots.env, slots.done)))
        return EnvSlots(state, jnp.zeros_like(slots.done), slots.begun), ()

    return reset


def _window(
    env: Env,
    learned_optimizer: LearnedOptimizer,
    outer_optimizer: optax.GradientTransformationExtraArgs,
    settings: RolloutSettings,
    credit: Credit,
    update: Update,
) -> Callable[..., tuple[EnvSlots, tuple[Learner, Report]]]:
    num_envs, num_steps = settings.num_envs, settings.num_steps
    scale = settings.action_scale
    mean = ppo_rollout.policy_mean(learned_optimizer, env.task.roles, scale)

    def window(mapped: tuple, shared: tuple) -> tuple[EnvSlots, tuple[Learner, Report]]:
        key, learner, data = shared
        k_noise, k_shuffle = jax.random.split(key)

        def play(pair: tuple) -> tuple[EnvState, Rollout]:
            index, state = pair
            shape = (num_steps, _count(state))
            noise = jax.random.normal(jax.random.fold_in(k_noise, index), shape)
            actor = learner.actor
            return ppo_rollout.play(env, mean, actor, data, state, noise, scale, credit)

        batched = _batched(mapped[1])
        states, rollouts = batched(play)(mapped)
        samples = jax.tree.map(
            lambda leaf: jax.lax.collapse(leaf, 0, 2), rollouts.samples
        )
        sizes = tuple(leaf[0].size for leaf in jax.tree.leaves(states.params))
        step = ppo_update.minibatch_step(mean, sizes, outer_optimizer, update, num_envs)
        # Every device shuffles its own: minibatches differ with the number of devices.
        k_shuffle = jax.random.fold_in(k_shuffle, strategy.device_number(num_envs))
        learner, grads = ppo_update.improve(
            k_shuffle, learner, samples, step, update, num_envs
        )
        begun = jnp.ones_like(rollouts.done)
        slots = EnvSlots(states, rollouts.done, begun)
        return slots, (learner, report(rollouts, grads))

    def report(rollouts: Rollout, grads: Array) -> Report:
        counts = rollouts.counts.astype(jnp.float32)
        means = (
            jnp.mean(counts * rollouts.cost),
            jnp.mean(counts),
            jnp.mean(rollouts.dead.astype(jnp.float32)),
        )
        cost, share, dead = strategy.mean_over_devices(means, num_envs)
        norms = jnp.linalg.norm(grads, axis=1)
        usable = moments(grads)
        return Report(
            outer_loss=cost / share,  # NaN where no episode has ended
            grad_norm=jnp.mean(norms, where=jnp.isfinite(norms)),
            variance=jnp.mean(usable.variance),
            dropped=jnp.round(dead * num_envs).astype(jnp.int32),
            inner_steps=jnp.int32(num_envs * num_steps),
            skipped=len(grads) - usable.count,
        )

    return window


def _batched(states: EnvState) -> Callable[..., Any]:
    """`vmap` where a state's weights are few, else what `strategy` has for unrolls."""
    count = _count(jax.tree.map(lambda leaf: leaf[0], states))
    return jax.vmap if count <= TINY else strategy.on_one_device


def _count(state: EnvState) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(state.params))


def check_buffer(env: Env, state: PyTree, settings: RolloutSettings) -> None:
    """Raises ValueError where a window's samples would not fit, with the arithmetic.

    Args:
        env: of the task.
        state: shapes of one state.
        settings: how many environments and steps, and the limit.
    """
    signal, observation = jax.eval_shape(env.observe, state)
    seen = jax.eval_shape(seen_observations.of_observation, observation)
    kept = (signal, seen, state.params, state.params)  # beside it: u and its log-prob
    size = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(kept))
    total = 4 * size * settings.num_envs * settings.num_steps / 1e9
    if total > settings.max_buffer_gb:
        raise ValueError(
            f"the rollout buffer would hold {settings.num_envs} envs x "
            f"{settings.num_steps} steps x {size:,} numbers x 4 bytes = {total:.3g} GB, "
            f"more than max_buffer_gb={settings.max_buffer_gb}: fewer envs or steps, a "
            "larger limit, or 'pes', which needs no buffer"
        )

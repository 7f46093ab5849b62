"""An outer-trainer: a step along a random direction, by the difference of two episodes.

θ ← θ − lr · z · (L(θ+σz) − L(θ−σz)) / (2σ), L the mean cost of an episode of T steps.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp

import opt_gym
from agents.records import OuterTrainer, Report
from agents.task_mixes import TaskMix
from opt_gym.checks import check_positive, check_whole
from opt_gym.plugins import Spec
from opt_gym.records import LearnedOptimizer


class TwoPointState(NamedTuple):
    """turn: outer steps done, which says whose turn it is."""

    theta: Any
    turn: Any


def make(
    *,
    mix: TaskMix,
    learned_optimizer: LearnedOptimizer,
    learning_rate: float = 0.01,
    sigma: float = 0.1,
    horizon: int = 50,
) -> OuterTrainer:
    """The outer-trainer "two_point"; an outer step takes one task."""
    check_positive("sigma", sigma)
    check_whole("horizon", horizon, 1)

    @partial(jax.jit, static_argnums=0)
    def improve(task: int, key: Any, data: Any, theta: Any) -> tuple[Any, Report]:
        k_noise, k_episode = jax.random.split(key)
        flat, unflatten = jax.flatten_util.ravel_pytree(theta)
        noise = jax.random.normal(k_noise, flat.shape)

        def episode(theta: Any) -> tuple[Any, Any]:
            driven = (mix.envs[task], learned_optimizer, theta, data)
            state = opt_gym.start(k_episode, *driven, horizon)
            _, out = opt_gym.unroll(*driven, state, horizon)
            return jnp.mean(out.cost), out.terminated[-1]

        both = jnp.stack([flat + sigma * noise, flat - sigma * noise])
        (plus, minus), dead = jax.lax.map(lambda x: episode(unflatten(x)), both)
        grad = noise * (plus - minus) / (2 * sigma)
        skipped = ~jnp.all(jnp.isfinite(grad))
        moved = jnp.where(skipped, flat, flat - learning_rate * grad)
        outer_loss, norm = (plus + minus) / 2, jnp.linalg.norm(grad)
        counts = (jnp.any(dead), 2 * horizon, skipped)
        return unflatten(moved), Report(outer_loss, norm, jnp.nan, *counts)

    def init(key: Any, data: Any, theta: Any, outer_step: int = 0) -> TwoPointState:
        return TwoPointState(theta, jnp.int32(outer_step))

    def step(key: Any, data: Any, state: Any) -> tuple[TwoPointState, Report]:
        task = mix.pick(int(state.turn))[0]
        theta, report = improve(task, key, data[task], state.theta)
        return TwoPointState(theta, state.turn + 1), report

    settings = {"learning_rate": learning_rate, "sigma": sigma, "horizon": horizon}
    return OuterTrainer(
        name="two_point",
        config={
            "two_point": settings,
            "learned_optimizer": [learned_optimizer.name, learned_optimizer.config],
            "mix": mix.config,
        },
        envs=mix.envs,
        learned_optimizer=learned_optimizer,
        init=init,
        step=step,
        theta=lambda state: state.theta,
    )


SPEC = Spec("trainer", "two_point", make, "Nesterov & Spokoiny 2017, eq. 2.23")

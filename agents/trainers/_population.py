"""What many θ cost: whole episodes of a population, all on the same keys.

Black-box outer-trainers see nothing but these costs. Every candidate runs the same episodes
(tasks, initial weights, batches and noise), so that their costs differ by θ alone. An episode
is T/K windows of one compiled program over all unrolls, candidates × episodes.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from agents.trainers import _pairs
from opt_gym import strategy
from opt_gym.episode import check_compatible, start, unroll
from opt_gym.records import (
    Data,
    Env,
    LearnedOptimizer,
    OuterTrainer,
    Report,
    UnrollState,
)

NO_GRADIENT = float("nan")
"""In the reports of trainers that follow none: `grad_norm` and `variance`."""


class Costs(NamedTuple):
    """What an evaluation found.

    costs: [P], mean ℓ̃ of every candidate over episodes and inner steps, in [−2, 2]: an
    unroll that died paid 2 at every step from then on, and nothing here is ever NaN;
    dropped: unrolls that died; inner_steps: executed.
    """

    costs: Float[Array, " p"]
    dropped: int
    inner_steps: int


Evaluate = Callable[[PRNGKeyArray, PyTree, Data], Costs]
"""(key, θ with a leading axis [P], data) -> Costs. The key fixes the episodes."""


def evaluator(
    env: Env,
    learned_optimizer: LearnedOptimizer,
    *,
    population: int,
    num_episodes: int,
    trunc_length: int,
    horizon: _pairs.Horizon,
) -> Evaluate:
    """How a population is evaluated on one task. Its programs compile at the first call.

    Args:
        env, learned_optimizer: the task, and whose θ it is.
        population: P, how many candidates a call has.
        num_episodes: M, of every candidate.
        trunc_length: K, the inner steps of a compiled window.
        horizon: a length, or (low, high) of a log-uniform one, the same for all unrolls of
            a call; rounded up to multiples of K.

    Raises:
        ValueError: a setting out of its range, or an env that was made for other features.
    """
    check_settings(population, num_episodes, trunc_length, horizon)
    check_compatible(env, learned_optimizer)
    num_unrolls = population * num_episodes
    # On the host: the mapped arguments of `window` are donated, these would go with them.
    candidates = np.repeat(np.arange(population, dtype=np.uint32), num_episodes)
    episodes = np.tile(np.arange(num_episodes, dtype=np.uint32), population)

    def begin(one: tuple, shared: tuple) -> UnrollState:
        candidate, episode = one
        key, thetas, data, length = shared
        theta = _row(thetas, candidate)
        key = jax.random.fold_in(key, episode)
        return start(key, env, learned_optimizer, theta, data, length)

    def advance(one: tuple, shared: tuple) -> tuple[UnrollState, Array, Array]:
        candidate, state = one
        thetas, data = shared
        theta = _row(thetas, candidate)
        state, out = unroll(env, learned_optimizer, theta, data, state, trunc_length)
        return state, jnp.mean(out.cost), out.terminated[-1]

    reset = strategy.map_unrolls(begin, num_unrolls)
    window = strategy.map_unrolls(advance, num_unrolls, donate=True)

    def evaluate(key: PRNGKeyArray, thetas: PyTree, data: Data) -> Costs:
        k_length, k_episodes = jax.random.split(key)
        length = _pairs.draw_length(k_length, horizon, trunc_length)
        num_windows = int(length) // trunc_length
        states = reset((candidates, episodes), (k_episodes, thetas, data, length))
        total, dead = jnp.zeros(num_unrolls), jnp.zeros(num_unrolls, bool)
        for _ in range(num_windows):
            states, costs, dead = window((candidates, states), (thetas, data))
            total = total + strategy.gather(costs)
        costs = jnp.mean(total.reshape(population, num_episodes), axis=1) / num_windows
        steps = num_unrolls * num_windows * trunc_length
        return Costs(costs, int(np.sum(dead)), steps)

    return evaluate


def check_settings(
    population: int, num_episodes: int, trunc_length: int, horizon: _pairs.Horizon
) -> None:
    """Raises ValueError for a setting no population can be evaluated with."""
    if population < 1:
        raise ValueError(f"population must be >= 1, got {population}")
    _pairs.check_settings(1, trunc_length, 1.0, horizon)
    if num_episodes < 1:
        raise ValueError(f"num_episodes must be >= 1, got {num_episodes}")


def task_in_turn(turn: int | Array, num_tasks: int) -> int:
    """Which task an outer step runs: all of them, one after the other."""
    return int(turn) % num_tasks


def trainer(
    name: str,
    envs: Sequence[Env],
    learned_optimizer: LearnedOptimizer,
    settings: dict[str, Any],
    *,
    init: Callable[[PRNGKeyArray, tuple[Data, ...], PyTree], Any],
    step: Callable[[PRNGKeyArray, tuple[Data, ...], Any], tuple[Any, Report]],
    theta: Callable[[Any], PyTree],
) -> OuterTrainer:
    """The record of an outer-trainer, its config made of its settings."""
    return OuterTrainer(
        name=name,
        config={
            name: settings,
            "learned_optimizer": [learned_optimizer.name, learned_optimizer.config],
            "envs": [env.config for env in envs],
        },
        envs=tuple(envs),
        learned_optimizer=learned_optimizer,
        init=init,
        step=step,
        theta=theta,
    )


def report(found: Costs, outer_loss: Float[Array, ""] | float) -> Report:
    """The report of a step that evaluated `found`."""
    return Report(
        outer_loss=outer_loss,
        grad_norm=NO_GRADIENT,
        variance=NO_GRADIENT,
        dropped=found.dropped,
        inner_steps=found.inner_steps,
    )


def _row(tree: PyTree, index: Array) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[index], tree)

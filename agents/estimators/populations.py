"""What many θ cost: whole episodes of a population, all on the same keys.

Black-box outer-trainers see nothing but these costs. Every candidate runs the same episodes
(tasks, initial weights, batches and noise), so that their costs differ by θ alone. An episode
is T/K windows of one compiled program over all unrolls, candidates × episodes.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from agents.estimators.live_programs import LivePrograms
from agents.records import AGGREGATIONS, Horizon, Report, lengths_of
from agents.task_mixes import TaskMix
from opt_gym.checks import check_choice, check_whole
from opt_gym.episode import check_compatible, start, unroll
from opt_gym.records import Data, Env, LearnedOptimizer, UnrollState
from opt_gym.runtime import strategy

NO_GRADIENT = float("nan")
"""In the reports of trainers that follow none: `grad_norm` and `variance`."""


class PopulationCosts(NamedTuple):
    """What an evaluation found.

    costs: [P], mean ℓ̃ of every candidate over episodes and the inner steps that count, in
    [−2, 2]: an unroll that died paid 2 at every step from then on, and nothing here is ever
    NaN; dropped: unrolls that died; inner_steps: executed.
    """

    costs: Float[Array, " p"]
    dropped: int
    inner_steps: int


Evaluate = Callable[[PRNGKeyArray, PyTree, tuple[Data, ...], int], PopulationCosts]
"""(key, θ with a leading axis [P], data, turn) -> PopulationCosts: the mean over the tasks
that the mix picks for that turn. The key fixes the episodes."""


def evaluator(
    mix: TaskMix,
    learned_optimizer: LearnedOptimizer,
    *,
    population: int,
    num_episodes: int,
    trunc_length: int,
    horizon: Horizon,
    aggregation: str = "mean",
) -> Evaluate:
    """How a population is evaluated. A task's programs compile at its first call.

    Args:
        mix, learned_optimizer: the tasks, and whose θ it is.
        population: P, how many candidates a call has.
        num_episodes: M, of every candidate on a task.
        trunc_length: K, the inner steps of a compiled window.
        horizon: a length, or (low, high) of a log-uniform one, the same for all unrolls of
            a call; rounded up to multiples of K.
        aggregation: "mean" over an episode, or "final": over its last K steps.

    Raises:
        ValueError: a setting out of its range.
    """
    check_whole("population", population, 1)
    check_whole("num_episodes", num_episodes, 1)
    check_choice("aggregation", aggregation, AGGREGATIONS)
    drawn = lengths_of(horizon, trunc_length)

    def one_task(
        env: Env,
    ) -> Callable[[PRNGKeyArray, PyTree, Data, Array], PopulationCosts]:
        return _on_one_task(
            env, learned_optimizer, population, num_episodes, trunc_length, aggregation
        )

    programs = LivePrograms(one_task, mix)

    def evaluate(
        key: PRNGKeyArray, thetas: PyTree, data: tuple[Data, ...], turn: int
    ) -> PopulationCosts:
        k_length, k_episodes = jax.random.split(key)
        length = drawn.draw(k_length, drawn.upper(turn))
        per_task = [
            programs.of(task, turn)(k_episodes, thetas, data[task], length)
            for task in mix.pick(turn)
        ]
        return PopulationCosts(
            jnp.mean(jnp.stack([of_task.costs for of_task in per_task]), 0),
            sum(of_task.dropped for of_task in per_task),
            sum(of_task.inner_steps for of_task in per_task),
        )

    return evaluate


def _on_one_task(
    env: Env,
    learned_optimizer: LearnedOptimizer,
    population: int,
    num_episodes: int,
    trunc_length: int,
    aggregation: str,
) -> Callable[[PRNGKeyArray, PyTree, Data, Array], PopulationCosts]:
    """(key, θs, data, length of all episodes) -> PopulationCosts."""
    check_compatible(env, learned_optimizer)
    num_unrolls = population * num_episodes
    # On the host: the mapped arguments of `window` are donated, these would go with them.
    candidates = np.repeat(np.arange(population, dtype=np.uint32), num_episodes)
    episodes = np.tile(np.arange(num_episodes, dtype=np.uint32), population)

    def begin(pair: tuple, shared: tuple) -> UnrollState:
        candidate, episode = pair
        key, thetas, data, length = shared
        theta = _row(thetas, candidate)
        key = jax.random.fold_in(key, episode)
        return start(key, env, learned_optimizer, theta, data, length)

    def advance(pair: tuple, shared: tuple) -> tuple[UnrollState, Array, Array]:
        candidate, state = pair
        thetas, data = shared
        theta = _row(thetas, candidate)
        state, out = unroll(env, learned_optimizer, theta, data, state, trunc_length)
        return state, jnp.mean(out.cost), out.terminated[-1]

    reset = strategy.map_unrolls(begin, num_unrolls)
    window = strategy.map_unrolls(advance, num_unrolls, donate=True)

    def evaluate(
        key: PRNGKeyArray, thetas: PyTree, data: Data, length: Array
    ) -> PopulationCosts:
        num_windows = int(length) // trunc_length
        states = reset((candidates, episodes), (key, thetas, data, length))
        per_window, dead = [], jnp.zeros(num_unrolls, bool)
        for _ in range(num_windows):
            states, costs, dead = window((candidates, states), (thetas, data))
            per_window.append(strategy.gather(costs))
        counted = per_window[-1:] if aggregation == "final" else per_window
        total = sum(counted[1:], counted[0]).reshape(population, num_episodes)
        costs = jnp.mean(total, axis=1) / len(counted)
        steps = num_unrolls * num_windows * trunc_length
        return PopulationCosts(costs, int(np.sum(dead)), steps)

    return evaluate


def report(found: PopulationCosts, outer_loss: Float[Array, ""] | float) -> Report:
    """The report of a step that evaluated `found`, with the `outer_loss` that it tells."""
    return Report(
        outer_loss=outer_loss,
        grad_norm=NO_GRADIENT,
        variance=NO_GRADIENT,
        dropped=found.dropped,
        inner_steps=found.inner_steps,
    )


def _row(tree: PyTree, index: Array) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[index], tree)

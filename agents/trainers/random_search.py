"""Random search: of a few θ, the one that costs least on the same episodes is kept.

    θ ← argmin over {θ, θ₁ … θ_{P−1}} of mean ℓ̃,   θ_i = θ + σz_i,  z_i ~ N(0, I)
                                                or θ_i = a fresh initial θ

The best so far runs again beside every step's new candidates, on new episodes: what was
lucky once does not stay for that.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from agents.estimators import populations
from agents.estimators.trainer_record import outer_trainer
from agents.records import Horizon, OuterTrainer, Report, longest
from agents.task_mixes import TaskMix
from opt_gym.checks import check_positive, check_whole
from opt_gym.plugins import Spec, unknown
from opt_gym.records import Data, LearnedOptimizer

AROUND = ("best", "init")


class RandomSearchState(NamedTuple):
    """theta: the best so far; turn: outer steps done."""

    theta: PyTree
    turn: Int[Array, ""]


def make(
    *,
    mix: TaskMix,
    learned_optimizer: LearnedOptimizer,
    population: int = 16,
    num_episodes: int = 1,
    around: str = "best",
    sigma: float = 0.01,
    trunc_length: int = 50,
    horizon: Horizon = 1000,
    aggregation: str = "mean",
) -> OuterTrainer:
    """The outer-trainer "random_search".

    A report's outer-loss is that of θ as it was before the step, which was not chosen by the
    episodes that measure it.

    Args:
        mix: the tasks.
        learned_optimizer: whose θ is searched for.
        population: P, candidates of a step, the best so far among them.
        num_episodes: of every candidate; more make a lucky choice rarer.
        around: "best" takes steps from the best so far, "init" draws fresh initial θ.
        sigma: of those steps, in units of θ.
        trunc_length: K, the inner steps of a compiled window.
        horizon: a length, or (low, high) of a log-uniform one; rounded up to multiples of K.
        aggregation: what counts: the "mean" over an episode, or the "final" loss (the mean
            over the last K steps).

    Raises:
        ValueError: a setting out of its range, or `around="init"` for an architecture whose
            initial θ is always the same.
    """
    check_positive("sigma", sigma)
    check_whole("population", population, 2)
    _check_around(around, learned_optimizer)
    settings: dict[str, Any] = {
        "population": population,
        "num_episodes": num_episodes,
        "trunc_length": trunc_length,
        "horizon": horizon,
        "aggregation": aggregation,
    }
    evaluate = populations.evaluator(mix, learned_optimizer, **settings)

    def candidate(key: PRNGKeyArray, theta: PyTree) -> PyTree:
        if around == "init":
            return learned_optimizer.init_theta(key)
        leaves, structure = jax.tree.flatten(theta)
        keys = jax.random.split(key, len(leaves))
        moved = [
            leaf + sigma * jax.random.normal(k, leaf.shape)
            for k, leaf in zip(keys, leaves, strict=True)
        ]
        return jax.tree.unflatten(structure, moved)

    @jax.jit
    def candidates(key: PRNGKeyArray, theta: PyTree) -> PyTree:
        keys = jax.random.split(key, population - 1)
        new = jax.vmap(candidate, in_axes=(0, None))(keys, theta)
        return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), theta, new)

    def init(
        key: PRNGKeyArray, data: tuple[Data, ...], theta: PyTree, outer_step: int = 0
    ) -> RandomSearchState:
        return RandomSearchState(
            jax.tree.map(jnp.asarray, theta), jnp.zeros((), jnp.int32)
        )

    def step(
        key: PRNGKeyArray, data: tuple[Data, ...], state: RandomSearchState
    ) -> tuple[RandomSearchState, Report]:
        k_candidates, k_episodes = jax.random.split(key)
        thetas = candidates(k_candidates, state.theta)
        evaluated = evaluate(k_episodes, thetas, data, int(state.turn))
        # The first of equals: the best so far stays where nothing is better.
        best = int(np.argmin(evaluated.costs))
        theta = jax.tree.map(lambda leaf: leaf[best], thetas)
        report = populations.report(evaluated, evaluated.costs[0])
        return RandomSearchState(theta, state.turn + 1), report

    return outer_trainer(
        "random_search",
        {"random_search": {**settings, "around": around, "sigma": sigma}},
        mix,
        learned_optimizer,
        init=init,
        step=step,
        theta=lambda state: state.theta,
        horizon=longest(horizon),
    )


def _check_around(around: str, learned_optimizer: LearnedOptimizer) -> None:
    if around not in AROUND:
        raise ValueError(unknown("value of around", around, list(AROUND)))
    if around == "init":
        leaves = [
            jax.tree.leaves(learned_optimizer.init_theta(jax.random.key(seed)))
            for seed in (0, 1)
        ]
        if all(np.array_equal(a, b) for a, b in zip(*leaves, strict=True)):
            raise ValueError(
                f"around='init' finds nothing: the initial θ of {learned_optimizer.name!r} "
                "is always the same; use around='best'"
            )


SPEC = Spec(
    kind="trainer",
    name="random_search",
    make=make,
    source="Matyas 1965, Random optimization; Bergstra & Bengio 2012, JMLR 13",
)

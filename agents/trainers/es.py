"""Antithetic evolution strategies on full unrolls.

    ĝ = mean_i (ℓ̃(θ+σz_i) − ℓ̃(θ−σz_i)) / (2σ) · z_i,   z_i ~ N(0, I)

with ℓ̃ the mean cost of a whole episode, and both halves of a pair on the same keys. One
length T per outer step, shared by all pairs; an unroll is T/K windows of one compiled program.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from agents.trainers import _pairs
from agents.trainers._pair_trainer import pair_spec
from opt_gym import strategy
from opt_gym.records import (
    Data,
    Env,
    Estimate,
    GradientEstimator,
    LearnedOptimizer,
)


class EsState(NamedTuple):
    """turn: outer steps done; task turn % len(envs) is next."""

    turn: Int[Array, ""]


def estimator(
    envs: Sequence[Env],
    learned_optimizer: LearnedOptimizer,
    *,
    num_pairs: int = 8,
    trunc_length: int = 50,
    sigma: float = 0.01,
    horizon: _pairs.Horizon = 1000,
) -> GradientEstimator:
    """The ES gradient estimator; arguments as `_pair_trainer.pair_spec` explains."""
    _pairs.check_settings(num_pairs, trunc_length, sigma, horizon)

    config = {
        "num_pairs": num_pairs,
        "trunc_length": trunc_length,
        "sigma": sigma,
        "horizon": horizon,
    }
    programs = [
        _pairs.programs(env, learned_optimizer, common_length=True, **config)
        for env in envs
    ]

    @jax.jit
    def combine(
        theta: PyTree, scores: Array, sums: tuple, num_windows: Array
    ) -> Estimate:
        difference, cost, dead = sums
        combined = _pairs.combine(
            scores, difference / num_windows / (2 * sigma), cost / num_windows, dead
        )
        steps = 2 * num_pairs * trunc_length * num_windows
        return _pairs.estimate(combined, theta, 0)._replace(inner_steps=steps)

    def init(key: PRNGKeyArray, data: tuple[Data, ...], theta: PyTree) -> EsState:
        return EsState(jnp.zeros((), jnp.int32))

    def step(
        key: PRNGKeyArray, data: tuple[Data, ...], theta: PyTree, state: EsState
    ) -> tuple[EsState, Estimate]:
        task = int(state.turn) % len(envs)
        run = programs[task]
        k_reset, k_eps = jax.random.split(key)
        everyone = jnp.ones(num_pairs, bool)
        pairs = run.reset(
            k_reset,
            data[task],
            run.empty(theta, data[task]),
            everyone,
            jnp.bool_(False),
        )
        sums, scores, done, count = None, None, False, 0
        while not done:  # the same key in every window: one perturbation an episode
            pairs, out = run.window(k_eps, theta, data[task], pairs)
            out = strategy.gather(out)
            new = (out.difference, out.cost, out.dead)
            sums = new if sums is None else jax.tree.map(jnp.add, sums, new)
            scores, done, count = out.score, bool(out.done[0]), count + 1
        assert scores is not None
        result = combine(theta, scores, sums, jnp.int32(count))
        return EsState(state.turn + 1), result

    return GradientEstimator("es", config, init, step)


SPEC = pair_spec(
    "es",
    estimator,
    source="Rechenberg 1973; Salimans et al. 2017, arXiv:1703.03864",
)

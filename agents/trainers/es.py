"""Antithetic evolution strategies on full unrolls.

    ĝ = mean_i (ℓ̃(θ+σz_i) − ℓ̃(θ−σz_i)) / (2σ) · z_i,   z_i ~ N(0, I)

with ℓ̃ the mean cost of a whole episode, and both halves of a pair on the same keys. One
length T per outer step, shared by all pairs; an unroll is T/K windows of one compiled program.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree

from agents.estimators import particles
from agents.estimators.gradient_trainer import evolution_spec
from agents.estimators.particles import Renewal, WindowOut
from agents.estimators.slots import (
    SlotSettings,
    as_estimate,
    evolution_samples,
    moments,
)
from agents.records import Estimate, GradientEstimator
from opt_gym.records import Data, Env, LearnedOptimizer
from opt_gym.runtime import strategy


def estimator(
    env: Env, learned_optimizer: LearnedOptimizer, settings: SlotSettings
) -> GradientEstimator:
    """The ES gradient estimator."""
    num, lengths, sigma, aggregation, sign, counted = settings
    run = particles.programs(
        env,
        learned_optimizer,
        num=num,
        lengths=lengths,
        sigma=sigma,
        counted=counted,
        common_length=True,
    )

    @jax.jit
    def combine(theta: PyTree, out: WindowOut, num_windows: Array) -> Estimate:
        samples = evolution_samples(out.score, out.difference, sigma, sign)
        steps = 2 * num * lengths.trunc_length * num_windows
        return as_estimate(theta, moments(samples), out, steps)

    def init(key: PRNGKeyArray, data: Data, theta: PyTree) -> tuple[()]:
        return ()

    def step(
        key: PRNGKeyArray, data: Data, theta: PyTree, state: Any, outer_step: int
    ) -> tuple[tuple[()], Estimate]:
        k_reset, k_noise = jax.random.split(key)
        everyone, no = jnp.ones(num, bool), jnp.bool_(False)
        upper, noise = lengths.upper(outer_step), run.keys(k_noise)
        pairs, outs = run.empty(theta, data), []
        renewal = Renewal(k_reset, everyone, upper, no)
        while not outs or not bool(outs[-1].done[0]):
            # The same keys in every window: one perturbation an episode.
            pairs, out = run.window(noise, theta, data, pairs, renewal)
            outs.append(strategy.gather(out))
            renewal = renewal._replace(done=~everyone)
        if aggregation == "mean":
            costs = [(out.difference, out.cost) for out in outs]
            difference, cost = jax.tree.map(lambda *x: sum(x) / len(outs), *costs)
            outs[-1] = outs[-1]._replace(difference=difference, cost=cost)
        return (), combine(theta, outs[-1], jnp.int32(len(outs)))

    return GradientEstimator(init, step)


SPEC = evolution_spec(
    "es",
    estimator,
    source="Rechenberg 1973; Salimans et al. 2017, arXiv:1703.03864",
)

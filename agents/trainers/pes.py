"""Persistent evolution strategies: unbiased gradients from truncated unrolls.

Every slot keeps an inner problem going from one outer step to the next, and sums the
perturbations since it began (as scores, Σ z, so that σ may vary):

    ξ_i ← ξ_i + z_i,  z_i ~ N(0, I)
    ĝ = mean_i (E[T]/T_i) · ξ_i · mean_K(ℓ̃(θ+σz_i) − ℓ̃(θ−σz_i)) / (2σ)

over a window of K inner steps. E[T]/T_i keeps the outer-loss, a mean over each episode, the
thing that is minimized when lengths differ: without it long episodes, which fill more
windows, would count more. ξ is zeroed exactly when a slot begins a new episode, which happens
only between windows (lengths are multiples of K), so that the last step of an episode is
credited to the perturbations that led to it. First episodes are short by different amounts:
slots then reset at different times.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

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


class PesSlots(NamedTuple):
    """The slots of one task. Shapes: pairs [N, ...]; xi [N, d]; done [N]; begun []."""

    pairs: _pairs.Pairs
    xi: Float[Array, "n d"]
    done: Bool[Array, " n"]
    begun: Bool[Array, ""]


class PesState(NamedTuple):
    """turn: outer steps done; task turn % len(slots) is next. slots: one per task."""

    turn: Int[Array, ""]
    slots: tuple[PesSlots, ...]


def estimator(
    envs: Sequence[Env],
    learned_optimizer: LearnedOptimizer,
    *,
    num_pairs: int = 8,
    trunc_length: int = 50,
    sigma: float = 0.01,
    horizon: _pairs.Horizon = 1000,
) -> GradientEstimator:
    """The PES gradient estimator; arguments as `_pair_trainer.pair_spec` explains."""
    _pairs.check_settings(num_pairs, trunc_length, sigma, horizon)
    config = {
        "num_pairs": num_pairs,
        "trunc_length": trunc_length,
        "sigma": sigma,
        "horizon": horizon,
    }
    programs = [
        _pairs.programs(env, learned_optimizer, common_length=False, **config)
        for env in envs
    ]
    mean_length = _pairs.mean_length(horizon, trunc_length)
    inner_steps = 2 * num_pairs * trunc_length

    @jax.jit
    def combine(
        theta: PyTree, xi: Array, began: Array, out: _pairs.WindowOut
    ) -> tuple[Array, Estimate]:
        xi = jnp.where(began[:, None], 0.0, xi) + out.score
        weight = mean_length / out.horizon
        coefficients = weight * out.difference / (2 * sigma)
        combined = _pairs.combine(xi, coefficients, out.cost, out.dead)
        return xi, _pairs.estimate(combined, theta, inner_steps)

    def init(key: PRNGKeyArray, data: tuple[Data, ...], theta: PyTree) -> PesState:
        size = sum(leaf.size for leaf in jax.tree.leaves(theta))
        slots = tuple(
            PesSlots(
                pairs=run.empty(theta, task_data),
                xi=jnp.zeros((num_pairs, size)),
                done=jnp.ones(num_pairs, bool),
                begun=jnp.bool_(False),
            )
            for run, task_data in zip(programs, data, strict=True)
        )
        return PesState(jnp.zeros((), jnp.int32), slots)

    def step(
        key: PRNGKeyArray, data: tuple[Data, ...], theta: PyTree, state: PesState
    ) -> tuple[PesState, Estimate]:
        task = int(state.turn) % len(envs)
        run, slots = programs[task], state.slots[task]
        k_reset, k_eps = jax.random.split(key)
        pairs = slots.pairs
        if np.any(np.asarray(slots.done)):
            pairs = run.reset(k_reset, data[task], pairs, slots.done, ~slots.begun)
        pairs, out = run.window(k_eps, theta, data[task], pairs)
        out = strategy.gather(out)
        xi, estimate = combine(theta, slots.xi, slots.done, out)
        slots = PesSlots(pairs, xi, out.done, jnp.bool_(True))
        all_slots = (*state.slots[:task], slots, *state.slots[task + 1 :])
        return PesState(state.turn + 1, all_slots), estimate

    return GradientEstimator("pes", config, init, step)


SPEC = pair_spec(
    "pes",
    estimator,
    source="Vicol, Metz & Sohl-Dickstein 2021, arXiv:2112.13835, algorithm 2",
)

"""Estimators from truncated unrolls: slots whose episodes go on between outer steps.

They differ in four things: when a slot's perturbation z is drawn anew (every window, or with
every episode), whether scores add up over an episode, where the negative half goes on from,
and how samples become a gradient:

    truncated_es      z every window     score z        both from the positive half's state
    pes               z every window     score Σ z      each its own
    es_single         z every episode    score z        each its own
    backprop          none, or z         no score       each its own
    inverse_variance  z every window     score z        both from the positive half's state

A sample is weighted by E[T]/T_i, so that the outer-loss, a mean over each episode, is what is
minimized when lengths differ: without it long episodes, which fill more windows, would count
more. Scores start from zero exactly when a slot begins a new episode, which happens only
between windows, so that the last step of an episode is credited to the perturbations that
led to it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from agents.estimators.particles import Particles, Renewal, WindowOut, programs
from agents.records import Counted, Estimate, GradientEstimator, Lengths
from opt_gym.records import Data, Env, LearnedOptimizer
from opt_gym.runtime import strategy


class SlotSettings(NamedTuple):
    """num: N slots; lengths: of windows and episodes; sigma: of perturbations, 0 for none.

    aggregation: "mean" over an episode, or "final": over its last window; sign: only the
    sign of a pair's difference counts; counted: what an inner step counts.
    """

    num: int
    lengths: Lengths
    sigma: float = 0.0
    aggregation: str = "mean"
    sign: bool = False
    counted: Counted = Counted()


class GradientMoments(NamedTuple):
    """Of finite samples: mean [d], (unbiased) variance [d] of one, and their count.

    NaN for what too few of them do not tell: the mean of none, the variance of one.
    """

    mean: Float[Array, " d"]
    variance: Float[Array, " d"]
    count: Int[Array, ""]


Gradient = Callable[
    [Float[Array, "n d"], Float[Array, " n"], WindowOut], GradientMoments
]
"""(scores, weights, window) -> the flat gradient and the variance of a sample; traceable."""


def moments(samples: Float[Array, "n d"]) -> GradientMoments:
    """The mean and variance over the particles whose samples are finite.

    An evolution sample is always finite (losses are clipped); a backprop sample is not where
    the unroll diverged, and such a particle is left out.
    """
    finite = jnp.all(jnp.isfinite(samples), 1)
    count = jnp.sum(finite)
    samples = jnp.where(finite[:, None], samples, 0.0)
    mean = jnp.sum(samples, 0) / count
    centred = jnp.where(finite[:, None], samples - mean[None], 0.0)
    variance = jnp.sum(jnp.square(centred), 0) / (count - 1)
    return GradientMoments(mean, jnp.where(count > 1, variance, jnp.nan), count)


def evolution_samples(
    scores: Float[Array, "n d"],
    differences: Float[Array, " n"],
    sigma: float,
    sign: bool = False,
) -> Float[Array, "n d"]:
    """`scores` · `differences` (ℓ̃⁺ − ℓ̃⁻) / (2 `sigma`), or with their sign in place of them."""
    coefficients = (jnp.sign(differences) if sign else differences) / (2 * sigma)
    return jnp.where(jnp.isfinite(coefficients), coefficients, 0.0)[:, None] * scores


def evolution_gradient(settings: SlotSettings) -> Gradient:
    """The weighted mean of evolution samples, with sigma and sign of `settings`."""
    sigma, sign = settings.sigma, settings.sign

    def gradient(scores: Any, weights: Any, out: WindowOut) -> GradientMoments:
        samples = evolution_samples(scores, out.difference, sigma, sign)
        return moments(weights[:, None] * samples)

    return gradient


def as_estimate(
    theta: PyTree,
    gradient: GradientMoments,
    out: WindowOut,
    inner_steps: Int[Array, ""] | int,
) -> Estimate:
    """A flat gradient (like `theta`), `out` and `inner_steps` as one `Estimate`. Traceable."""
    return Estimate(
        grad=ravel_pytree(theta)[1](gradient.mean),
        outer_loss=jnp.mean(out.cost),
        variance=jnp.mean(gradient.variance),
        dropped=jnp.maximum(jnp.sum(out.dead), out.dead.size - gradient.count),
        inner_steps=jnp.asarray(inner_steps, jnp.int32),
    )


class Slots(NamedTuple):
    """The inner problems of one environment, and what is known of their perturbations.

    Shapes: particles [N, ...]; scores [N, d] so far; noise [N], keys of the present z; done
    [N]; begun [].
    """

    particles: Particles
    scores: Float[Array, "n d"]
    noise: PRNGKeyArray
    done: Bool[Array, " n"]
    begun: Bool[Array, ""]


def slots_estimator(
    env: Env,
    learned_optimizer: LearnedOptimizer,
    settings: SlotSettings,
    gradient: Gradient,
    *,
    noise_lasts: str = "window",
    adds_up: bool = False,
    merge: bool = False,
    slopes: bool = False,
) -> GradientEstimator:
    """The estimator on one environment.

    Args:
        env, learned_optimizer, settings: whose outer-loss, whose θ, and how; see there.
        gradient: how samples become a gradient.
        noise_lasts: "window" or "episode".
        adds_up: whether scores add up over an episode.
        merge, slopes: as `particles.programs`.
    """
    num, lengths, sigma, aggregation, _, counted = settings
    sizes: Any = {"num": num, "lengths": lengths, "sigma": sigma, "counted": counted}
    run = programs(env, learned_optimizer, **sizes, merge=merge, slopes=slopes)
    inner_steps = num * lengths.trunc_length * (2 if sigma else 1)

    def weights_of(out: WindowOut, mean_length: Any) -> Float[Array, " n"]:
        if aggregation == "mean":
            return mean_length / out.horizon
        return jnp.where(out.done, mean_length / lengths.trunc_length, 0.0)

    @jax.jit
    def combine(
        theta: PyTree, slots: Slots, out: WindowOut, mean_length: Any
    ) -> tuple[Array, Estimate]:
        scores = out.score
        if adds_up:
            scores += jnp.where(slots.done[:, None], 0.0, slots.scores)
        estimated = gradient(scores, weights_of(out, mean_length), out)
        estimate = as_estimate(theta, estimated, out, inner_steps)
        if aggregation == "final":  # NaN where no episode has ended
            ended = jnp.sum(jnp.where(out.done, out.cost, 0.0)) / jnp.sum(out.done)
            estimate = estimate._replace(outer_loss=ended)
        return scores, estimate

    def init(key: PRNGKeyArray, data: Data, theta: PyTree) -> Slots:
        size = sum(leaf.size for leaf in jax.tree.leaves(theta))
        return Slots(
            particles=run.empty(theta, data),
            scores=jnp.zeros((num, size)),
            noise=run.keys(key),
            done=jnp.ones(num, bool),
            begun=jnp.bool_(False),
        )

    def step(
        key: PRNGKeyArray, data: Data, theta: PyTree, slots: Slots, outer_step: int
    ) -> tuple[Slots, Estimate]:
        k_reset, k_noise = jax.random.split(key)
        upper = lengths.upper(outer_step)
        particles, noise = slots.particles, run.keys(k_noise)
        if noise_lasts == "episode":
            noise = jnp.where(slots.done, noise, slots.noise)
        renewal = Renewal(k_reset, slots.done, upper, ~np.asarray(slots.begun))
        particles, out = run.window(noise, theta, data, particles, renewal)
        out = strategy.gather(out)
        kept = slots._replace(particles=())  # they were donated
        scores, estimate = combine(theta, kept, out, lengths.mean(upper))
        return Slots(particles, scores, noise, out.done, jnp.bool_(True)), estimate

    return GradientEstimator(init, step, lengths.num_windows)

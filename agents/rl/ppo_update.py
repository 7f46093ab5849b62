"""PPO's objective and its minibatches.

The ratio and its clip, of the three kinds of `PPO_RATIOS`, from each parameter's log-ratio d_i:

    parameter   mean_i min(r_i A, clip(r_i, 1 ± c) A),  r_i = exp(d_i)
    joint       min(r A, clip(r) A),  r = exp(Σ d_i): PPO as it stands, the Gaussian over all
    geometric   the same with r = exp(mean d_i)

The variance of a joint log-ratio grows with the number of parameters, so that nearly every
sample is clipped; per parameter (parameter-shared multi-agent PPO with a common advantage) the
same settings serve any number.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from agents.rl import pooled_critic
from agents.rl.ppo_rollout import Actor, Mean, Sample, log_prob
from opt_gym.runtime import strategy

PPO_RATIOS = ("parameter", "joint", "geometric")
_LARGEST_LOG_RATIO = 20.0


class Update(NamedTuple):
    """The settings of the updates; see `ppo.make`."""

    num_epochs: int
    num_minibatches: int
    clip_range: float
    ratio: str
    entropy_coef: float
    value_coef: float
    max_grad_norm: float
    normalize_advantages: bool


class Learner(NamedTuple):
    """The actor, and the outer optimizer's state for all of it."""

    actor: Actor
    optimizer: PyTree


def surrogate(
    log_ratio: Float[Array, " n"], advantage: Array, clip: float, ratio: str
) -> Float[Array, ""]:
    """The clipped objective of one sample, to be maximized; see the module's text."""
    if ratio == "joint":
        log_ratio = jnp.sum(log_ratio, keepdims=True)
    elif ratio == "geometric":
        log_ratio = jnp.mean(log_ratio, keepdims=True)
    bounded = jnp.minimum(log_ratio, _LARGEST_LOG_RATIO)
    ratios = jnp.exp(bounded)
    clipped = jnp.clip(ratios, 1.0 - clip, 1.0 + clip)
    return jnp.mean(jnp.minimum(ratios * advantage, clipped * advantage))


def sample_loss(
    actor: Actor, sample: Sample, mean: Mean, sizes: tuple[int, ...], settings: Update
) -> Float[Array, ""]:
    """−surrogate + value_coef · (V − target)² − entropy_coef · entropy; 0 if not usable.

    The entropy is that of all parameters together for the ratio "joint", else one's.
    """
    signal, seen, progress = sample.moment
    mu = mean(actor.theta, signal, seen)
    log_ratio = log_prob(sample.action, mu, actor.log_std) - sample.log_prob
    gain = surrogate(log_ratio, sample.advantage, settings.clip_range, settings.ratio)
    error = pooled_critic.value(actor.critic, seen, progress, sizes) - sample.target
    count = mu.size if settings.ratio == "joint" else 1
    entropy = count * (actor.log_std + 0.5 * jnp.log(2 * jnp.pi * jnp.e))
    loss = -gain + settings.value_coef * jnp.square(error)
    return jnp.where(sample.usable, loss - settings.entropy_coef * entropy, 0.0)


def minibatch_step(
    mean: Mean,
    sizes: tuple[int, ...],
    outer_optimizer: optax.GradientTransformationExtraArgs,
    settings: Update,
    num_envs: int,
) -> Callable[[Learner, Sample], tuple[Learner, Float[Array, " d"]]]:
    """(learner, a device's samples [b]) -> (learner, the gradient, flat).

    A gradient that is not finite changes nothing. The outer optimizer is given the minibatch's
    loss as `value`, for a learned one.
    """

    def step(learner: Learner, batch: Sample) -> tuple[Learner, Float[Array, " d"]]:
        def loss(actor: Actor) -> Float[Array, ""]:
            each = jax.vmap(lambda s: sample_loss(actor, s, mean, sizes, settings))
            return jnp.mean(each(batch))

        value, grads = jax.value_and_grad(loss)(learner.actor)
        flat, unravel = ravel_pytree(grads)
        flat, value = strategy.mean_over_devices((flat, value), num_envs)
        norm = jnp.linalg.norm(flat)
        finite = jnp.isfinite(norm)
        shrunk = flat * jnp.minimum(1.0, settings.max_grad_norm / (norm + 1e-6))
        updates, optimizer = outer_optimizer.update(
            unravel(jnp.where(finite, shrunk, 0.0)),
            learner.optimizer,
            learner.actor,
            value=value,
        )
        moved = Learner(optax.apply_updates(learner.actor, updates), optimizer)  # type: ignore[arg-type]
        learner = jax.tree.map(lambda a, b: jnp.where(finite, a, b), moved, learner)
        return learner, flat

    return step


def improve(
    key: PRNGKeyArray,
    learner: Learner,
    samples: Sample,
    step: Callable[[Learner, Sample], tuple[Learner, Float[Array, " d"]]],
    settings: Update,
    num_envs: int,
) -> tuple[Learner, Float[Array, "u d"]]:
    """All epochs over a device's samples; also the gradient of every minibatch.

    Args:
        key: of the shuffling.
        learner: before.
        samples: leading axis [m], a multiple of the number of minibatches.
        step: from `minibatch_step`.
        settings, num_envs: as there.
    """
    if settings.normalize_advantages:
        samples = samples._replace(advantage=_normalized(samples, num_envs))
    count = samples.advantage.shape[0]

    def epoch(learner: Learner, key: PRNGKeyArray) -> tuple[Learner, Any]:
        # One sort of random numbers; `jax.random.permutation` sorts several times.
        order = jnp.argsort(jax.random.bits(key, (count,)))
        order = order.reshape(settings.num_minibatches, -1)

        def body(learner: Learner, rows: Array) -> tuple[Learner, Any]:
            return step(learner, jax.tree.map(lambda leaf: leaf[rows], samples))

        return jax.lax.scan(body, learner, order)

    keys = jax.random.split(key, settings.num_epochs)
    learner, grads = jax.lax.scan(epoch, learner, keys)
    return learner, grads.reshape(-1, grads.shape[-1])


def _normalized(samples: Sample, num_envs: int) -> Float[Array, " m"]:
    """Mean 0 and standard deviation 1 over the usable samples of all devices."""
    usable, advantage = samples.usable, samples.advantage
    moments = [usable, usable * advantage, usable * jnp.square(advantage)]
    means = jnp.stack([jnp.mean(moment.astype(jnp.float32)) for moment in moments])
    share, first, second = strategy.mean_over_devices(means, num_envs)
    share = jnp.maximum(share, 1e-8)
    mean = first / share
    variance = jnp.maximum(second / share - jnp.square(mean), 0.0)
    return (advantage - mean) / (jnp.sqrt(variance) + 1e-8)

"""Episodes played by a stochastic policy over weight updates, as samples for PPO.

    u ~ N(μ_θ, σ²) for every parameter,  μ_θ = Δφ_θ / action_scale,  Δφ = action_scale · u

Δφ_θ is the update of the learned optimizer. An episode whose loss, gradient or mean became
non-finite is lost: it pays the worst cost to its horizon, so its value is known in closed form
and its moments are no samples.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from agents.rl import pooled_critic, seen_observations
from agents.rl.seen_observations import Seen
from opt_gym import plugins
from opt_gym.env import COST_LIMIT, with_action_map
from opt_gym.episode import check_compatible
from opt_gym.records import (
    Data,
    Env,
    EnvState,
    LearnedOptimizer,
    Signal,
    StepOut,
)

LOG_STDS = (-80.0, 80.0)
"""A log σ to begin with: its exponential and the inverse of that are numbers of float32."""


class Actor(NamedTuple):
    """What PPO trains. log_std []: log σ, of u."""

    theta: PyTree
    log_std: Float[Array, ""]
    critic: PyTree


class Moment(NamedTuple):
    """All that one inner step's policy and value depend on. progress: see `pooled_critic`."""

    signal: Signal
    seen: Seen
    progress: Float[Array, " 3"]


class Sample(NamedTuple):
    """One inner step to learn from. Shapes: action (u), log_prob [n]; the rest scalars.

    target: of the value; usable: whether the episode was alive.
    """

    moment: Moment
    action: Float[Array, " n"]
    log_prob: Float[Array, " n"]
    advantage: Float[Array, ""]
    target: Float[Array, ""]
    usable: Bool[Array, ""]


class Played(NamedTuple):
    """What one inner step of a rollout leaves. Shapes: action [n]; the rest scalars."""

    moment: Moment
    lost: Bool[Array, ""]
    action: Float[Array, " n"]
    reward: Float[Array, ""]
    cost: Float[Array, ""]
    end: Bool[Array, ""]


class Rollout(NamedTuple):
    """One environment's window. samples [k]; cost, counts, dead, done [].

    cost: the mean of the window, of "final" that of its last step; counts: whether it does.
    """

    samples: Sample
    cost: Float[Array, ""]
    counts: Bool[Array, ""]
    dead: Bool[Array, ""]
    done: Bool[Array, ""]


class Credit(NamedTuple):
    """How rewards become advantages; see `ppo.make`."""

    gamma: float
    gae_lambda: float
    bootstrap: bool
    aggregation: str = "mean"

    def reward(self, out: StepOut) -> Float[Array, ""]:
        """Of one inner step."""
        if self.aggregation == "final":
            return jnp.where(out.truncated, -out.cost, 0.0)
        return out.reward


Mean = Callable[[PyTree, Signal, Seen], Float[Array, " n"]]


def update_env(env: Env, learned_optimizer: LearnedOptimizer) -> Env:
    """The environment whose action is Δφ, else the same.

    Raises:
        ValueError: it was made for another learned optimizer.
    """
    check_compatible(env, learned_optimizer)
    return with_action_map(env, plugins.build("action", "update"))


def policy_mean(
    learned_optimizer: LearnedOptimizer, roles: tuple[str, ...], action_scale: float
) -> Mean:
    """(θ, signal, seen) -> μ [n], the parameters in φ's leaf order.

    Args:
        learned_optimizer: without memory that depends on θ; see `check_memoryless`.
        roles: of the task.
        action_scale: see the module's text.
    """
    action_map = learned_optimizer.action_map

    def mean(theta: PyTree, signal: Signal, seen: Seen) -> Float[Array, " n"]:
        carry = learned_optimizer.init(theta, signal.params, roles)
        observation = seen_observations.to_observation(seen)
        _, action = learned_optimizer.step(theta, carry, signal, observation)
        _, delta = action_map.apply(action_map.init(signal.params), signal, action)
        return ravel_pytree(delta)[0] / action_scale

    return mean


def check_memoryless(learned_optimizer: LearnedOptimizer) -> None:
    """Raises ValueError where an update depends on more than one inner step's observation."""
    name, params = learned_optimizer.name, (jnp.zeros((2, 2)),)

    def memories(key: PRNGKeyArray) -> tuple[Any, Any]:
        theta = learned_optimizer.init_theta(key)
        carry = learned_optimizer.init(theta, params, ("kernel",))
        return carry, learned_optimizer.action_map.init(params)

    carry, momenta = jax.eval_shape(memories, jax.random.key(0))
    if jax.tree.leaves(carry):
        raise ValueError(
            f"ppo cannot train {name!r}: it remembers what depends on theta (a carry), and "
            "PPO looks at single inner steps; train it with 'pes' or 'es'"
        )
    if jax.tree.leaves(momenta):
        raise ValueError(
            f"ppo cannot train {name!r}: its action map "
            f"{learned_optimizer.action_map.name!r} has a memory; train it with 'pes'"
        )


def log_prob(action: Array, mean: Array, log_std: Array) -> Float[Array, " n"]:
    """The log of N(u; μ, σ²) for every parameter, without its constant ½ log 2π."""
    return -0.5 * jnp.square((action - mean) * jnp.exp(-log_std)) - log_std


def observe(
    env: Env, mean: Mean, theta: PyTree, state: EnvState
) -> tuple[Moment, Float[Array, " n"], Bool[Array, ""]]:
    """(the moment, with zeros where the episode is lost; μ; whether it is lost)."""
    signal, observation = env.observe(state)
    seen = seen_observations.of_observation(observation)
    mu = mean(theta, signal, seen)
    total = sum(jnp.sum(leaf) for leaf in (mu, *jax.tree.leaves(seen)))
    lost = state.dead | ~jnp.isfinite(total)
    progress = pooled_critic.progress(env.normalizer, signal)
    return seen_observations.cleaned(Moment(signal, seen, progress), lost), mu, lost


def play(
    env: Env,
    mean: Mean,
    actor: Actor,
    data: Data,
    state: EnvState,
    noise: Float[Array, "k n"],
    action_scale: float,
    credit: Credit,
) -> tuple[EnvState, Rollout]:
    """A window of one environment, k inner steps.

    Args:
        env: from `update_env`.
        mean: from `policy_mean`.
        actor: who plays.
        data, state: of the environment.
        noise: standard normal.
        action_scale: see the module's text.
        credit: how rewards become advantages.
    """
    unravel = ravel_pytree(state.params)[1]
    std = jnp.exp(actor.log_std)
    sizes = tuple(leaf.size for leaf in jax.tree.leaves(state.params))

    def body(state: EnvState, noise: Array) -> tuple[EnvState, Played]:
        moment, mu, lost = observe(env, mean, actor.theta, state)
        action = mu + std * noise
        after, out = env.step(data, state, (unravel(action_scale * action),))
        action = seen_observations.cleaned(action, lost)
        reward = credit.reward(out)
        return after, Played(moment, lost, action, reward, out.cost, out.truncated)

    def judge(moment: Moment, lost: Array) -> Float[Array, ""]:
        value = pooled_critic.value(actor.critic, moment.seen, moment.progress, sizes)
        signal = moment.signal
        return jnp.where(lost, lost_value(signal.t, signal.horizon, credit), value)

    state, played = jax.lax.scan(body, state, noise)
    last, _, last_lost = observe(env, mean, actor.theta, state)
    values = jax.vmap(judge)(played.moment, played.lost)
    next_values = jnp.concatenate([values[1:], judge(last, last_lost)[None]])
    if not credit.bootstrap:
        next_values = jnp.where(played.end, 0.0, next_values)
    advantage = advantages(
        played.reward, values, next_values, played.end, credit=credit
    )
    samples = Sample(
        moment=played.moment,
        action=played.action,
        log_prob=-0.5 * jnp.square(noise) - actor.log_std,
        advantage=advantage,
        target=advantage + values,
        usable=~played.lost,
    )
    done = state.t >= state.horizon
    if credit.aggregation == "final":
        cost, counts = played.cost[-1], done
    else:
        cost, counts = jnp.mean(played.cost), jnp.ones_like(done)
    return state, Rollout(samples, cost, counts, state.dead, done)


def advantages(
    reward: Float[Array, " k"],
    value: Float[Array, " k"],
    next_value: Float[Array, " k"],
    end: Bool[Array, " k"],
    *,
    credit: Credit,
) -> Float[Array, " k"]:
    """Generalized advantage estimates of one environment's window.

    δ_t = r_t + γ V(s_{t+1}) − V(s_t),  A_t = δ_t + γλ A_{t+1}, A_{t+1} = 0 after an end

    Args:
        reward, value: of each step, and of the moment before it.
        next_value: of the moment after it in the same episode: after a horizon 0, or what the
            critic says there (bootstrap), never the next episode's.
        end: whether an episode ended with the step.
        credit: γ and λ.

    Source: Schulman et al. 2016, arXiv:1506.02438, equation 16.
    """
    delta = reward + credit.gamma * next_value - value

    def body(later: Array, step: tuple) -> tuple[Array, Array]:
        delta, end = step
        decay = credit.gamma * credit.gae_lambda
        now = delta + decay * jnp.where(end, 0.0, later)
        return now, now

    return jax.lax.scan(body, jnp.zeros(()), (delta, end), reverse=True)[1]


def lost_value(t: Array, horizon: Array, credit: Credit) -> Float[Array, ""]:
    """What a lost episode still pays: the worst cost to its horizon, or for ever."""
    gamma, worst = credit.gamma, -COST_LIMIT / horizon
    if credit.aggregation == "final":  # once
        discount = gamma ** (jnp.maximum(horizon - t, 1) - 1.0)
        return jnp.where(t < horizon, -COST_LIMIT * discount, 0.0)
    if credit.bootstrap:
        return worst / (1.0 - gamma)
    if gamma == 1.0:
        return worst * (horizon - t)
    return worst * (1.0 - gamma ** (horizon - t)) / (1.0 - gamma)

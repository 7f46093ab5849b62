"""Policies trained by reinforcement learning: noise that depends on the weights."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray
from numpy.random import RandomState

from opt_gym.records import Batch, Config, Data
from opt_gym.tasks.building import (
    config_checks,
    control_problems,
    layers,
    samplers,
)
from opt_gym.tasks.building.activations import ACTIVATIONS
from opt_gym.tasks.building.model import (
    Design,
    Loss,
    Model,
    Params,
    Source,
    family_spec,
    linear_tensors,
    no_data,
)

FAMILY = "rl_policy"
KEYS = (
    *("problem", "num_episodes", "num_steps", "discount"),
    *("layer_sizes", "activation", "w_init"),
)
DRAWN = ("cart_pole",)


def sample_config(seed: int) -> Config:
    """A config of our own: 1-3 hidden layers of 8-64 units, 8-64 episodes of 50-200 steps."""
    rng = RandomState(seed)
    depth = samplers.pick(rng, (1, 2, 3))
    return {
        "problem": samplers.pick(rng, DRAWN),
        "num_episodes": samplers.log_int(rng, 8, 64),
        "num_steps": samplers.log_int(rng, 50, 200),
        "discount": 1.0 - samplers.log_float(rng, 0.01, 0.1),
        "layer_sizes": [samplers.log_int(rng, 8, 64) for _ in range(depth)],
        "activation": samplers.activation(rng),
        "w_init": samplers.initializer(rng),
    }


def design(config: Config) -> Design:
    """A perceptron from the state to the logits of the actions, and its policy gradient.

    The policy is run for `num_steps` in `num_episodes` of its own, each to its own end.
    loss = most - mean return / num_steps, with most = 1, what a step pays at most, for
    cart_pole, whose loss is in [0, 1], and 0 elsewhere. Its gradient is REINFORCE with reward
    to go: that of

        -Σ_t log π(a_t | s_t) (G_t - mean of G_t over the episodes that are left) / num_steps

    mean over episodes, G_t = Σ_(k >= t) discount^(k - t) r_k. φ = (w0, b0, w1, b1, ...).
    return: the mean return. `problem` is "cart_pole", where a step pays 1 until the pole
    falls, or "gymnax:" and a name of that package, with its default parameters.

    Source: Williams 1992 (REINFORCE); see `building.cart_pole`; Lange 2022 (gymnax).

    Raises:
        ValueError: a key or a value that cannot be used, by name; gymnax is not installed.
    """
    config = _checked(config)
    activation = ACTIVATIONS[config["activation"]]
    w_init = (config["w_init"][0], config["w_init"][1])
    episodes, steps = config["num_episodes"], config["num_steps"]
    with config_checks.inside(FAMILY):
        problem = control_problems.control_problem(config["problem"])
    units = [problem.num_numbers, *config["layer_sizes"], problem.num_actions]
    tensors = linear_tensors(units, w_init)

    def noise(key: PRNGKeyArray, batch: Batch) -> tuple[Array, ...]:
        k_worlds = jax.random.split(jax.random.fold_in(key, 1), steps)
        return jax.random.uniform(key, (steps, episodes)), k_worlds

    def loss(
        params: Params, instance: Any, noise: tuple[Array, ...], batch: Batch
    ) -> Loss:
        def act(carried: tuple[Any, Array], drawn: Any) -> tuple[Any, Any]:
            (states, alive), (draws, k_world) = carried, drawn
            logits = layers.mlp(params, problem.see(states), activation)
            log_shares = jax.nn.log_softmax(logits)
            actions = choose(draws, log_shares)
            picked = actions[:, None] == jnp.arange(problem.num_actions)[None]
            chosen = jnp.sum(jnp.where(picked, log_shares, 0.0), axis=1)
            after = jax.lax.stop_gradient(problem.step(k_world, states, actions))
            states, rewards, ends = after
            alive_now = alive.astype(jnp.float32)
            return (states, alive & ~ends), (chosen, alive_now, alive_now * rewards)

        start = batch.inputs, jnp.ones((episodes,), bool)
        _, (chosen, alive, rewards) = jax.lax.scan(act, start, noise)
        togo = returns(rewards, config["discount"])
        left = jnp.maximum(jnp.sum(alive, axis=1, keepdims=True), 1.0)
        baseline = jnp.sum(alive * togo, axis=1, keepdims=True) / left
        advantage = jax.lax.stop_gradient(alive * (togo - baseline))
        surrogate = -jnp.sum(chosen * advantage) / (steps * episodes)
        collected = jnp.mean(jnp.sum(rewards, axis=0))
        value = problem.most_reward - collected / steps
        value = value + surrogate - jax.lax.stop_gradient(surrogate)
        return value, {"return": collected}

    def sample(key: PRNGKeyArray, data: Data, split: str) -> Batch:
        return Batch(problem.start(key, episodes), None)

    source = Source("none", episodes, "array", no_data, sample)
    floor = 0.0 if problem.most_reward else -math.inf
    return Design(
        FAMILY, config, Model(tuple(tensors), loss, noise, floor=floor), source
    )


def choose(
    draws: Float[Array, " n"], log_shares: Float[Array, "n a"]
) -> Int[Array, " n"]:
    """Actions drawn with numbers in [0, 1): the last action below its share, and so on."""
    shares = jnp.exp(log_shares[:, ::-1])
    passed = draws[:, None] >= jnp.cumsum(shares, axis=1)[:, :-1]
    return log_shares.shape[1] - 1 - jnp.sum(passed, axis=1)


def returns(rewards: Float[Array, "t n"], discount: float) -> Float[Array, "t n"]:
    """Σ_(k >= t) discount^(k - t) r_k.

    Args:
        rewards: r, of every step and episode.
        discount: in [0, 1].
    """

    def back(later: Array, reward: Array) -> tuple[Array, Array]:
        now = reward + discount * later
        return now, now

    return jax.lax.scan(back, jnp.zeros_like(rewards[0]), rewards, reverse=True)[1]


def _checked(config: Config) -> Config:
    config = config_checks.strip(FAMILY, config, KEYS)
    config_checks.check(
        FAMILY,
        "problem",
        config["problem"],
        isinstance(config["problem"], str),
        "a name",
    )
    for key in ("num_episodes", "num_steps"):
        config_checks.check_int(FAMILY, key, config[key], 1)
    discount = config["discount"]
    usable = config_checks.is_number(discount) and 0.0 <= discount <= 1.0
    config_checks.check(FAMILY, "discount", discount, usable, "a number, 0 ... 1")
    config_checks.check_sizes(FAMILY, "layer_sizes", config["layer_sizes"])
    config_checks.check_activation(FAMILY, config["activation"])
    config_checks.check_initializer(FAMILY, "w_init", config["w_init"])
    return config


SPEC = family_spec(
    FAMILY,
    design,
    sample_config,
    source="ours; Williams 1992; Barto, Sutton & Anderson 1983 (the problem)",
)

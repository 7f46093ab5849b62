"""Policies trained by reinforcement learning: noise that depends on the weights."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray
from numpy.random import RandomState

from opt_gym.records import Batch, Config, Data
from opt_gym.tasks.building import cart_pole, config_checks, layers, samplers
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
PROBLEMS = ("cart_pole",)
SCALE = (1.0, 1.0, 10.0, 1.0)
"""Of what the policy sees: an angle is small."""


def sample_config(seed: int) -> Config:
    """A config of our own: 1-3 hidden layers of 8-64 units, 8-64 episodes of 50-200 steps."""
    rng = RandomState(seed)
    depth = samplers.pick(rng, (1, 2, 3))
    return {
        "problem": samplers.pick(rng, PROBLEMS),
        "num_episodes": samplers.log_int(rng, 8, 64),
        "num_steps": samplers.log_int(rng, 50, 200),
        "discount": 1.0 - samplers.log_float(rng, 0.01, 0.1),
        "layer_sizes": [samplers.log_int(rng, 8, 64) for _ in range(depth)],
        "activation": samplers.activation(rng),
        "w_init": samplers.initializer(rng),
    }


def design(config: Config) -> Design:
    """A perceptron from the state to the logits of two actions, and its policy gradient.

    The policy is run for `num_steps` in `num_episodes` of its own, which end where the pole
    falls. loss = 1 - mean steps that it stood / num_steps, in [0, 1]. Its gradient is
    REINFORCE with reward to go: that of

        -Σ_t log π(a_t | s_t) (G_t - mean of G_t over the episodes that are left) / num_steps

    mean over episodes, G_t = Σ_(k >= t) discount^(k - t). φ = (w0, b0, w1, b1, ...).
    stood: the mean number of steps.

    Source: Williams 1992 (REINFORCE); see `building.cart_pole`.

    Raises:
        ValueError: a key or a value that cannot be used, by name.
    """
    config = _checked(config)
    activation = ACTIVATIONS[config["activation"]]
    w_init = (config["w_init"][0], config["w_init"][1])
    episodes, steps = config["num_episodes"], config["num_steps"]
    units = [cart_pole.NUM_NUMBERS, *config["layer_sizes"], cart_pole.NUM_ACTIONS]
    tensors = linear_tensors(units, w_init)

    def noise(key: PRNGKeyArray, batch: Batch) -> tuple[Array, ...]:
        return (jax.random.uniform(key, (steps, episodes)),)

    def loss(
        params: Params, instance: Any, noise: tuple[Array, ...], batch: Batch
    ) -> Loss:
        (draws,) = noise
        scale = jnp.asarray(SCALE)[None]

        def act(carried: tuple[Array, Array], draw: Array) -> tuple[Any, Any]:
            states, alive = carried
            logits = layers.mlp(params, states * scale, activation)
            log_shares = jax.nn.log_softmax(logits)
            right = draw < jnp.exp(log_shares[:, 1])
            chosen = jnp.where(right, log_shares[:, 1], log_shares[:, 0])
            states = jax.lax.stop_gradient(cart_pole.step(states, right))
            # A step pays where the pole stands before it, as in Gymnasium.
            after = alive & cart_pole.stands(states)
            return (states, after), (chosen, alive.astype(jnp.float32))

        start = batch.inputs, jnp.ones((episodes,), bool)
        _, (chosen, alive) = jax.lax.scan(act, start, draws)
        togo = returns(alive, config["discount"])
        left = jnp.maximum(jnp.sum(alive, axis=1, keepdims=True), 1.0)
        baseline = jnp.sum(alive * togo, axis=1, keepdims=True) / left
        advantage = jax.lax.stop_gradient(alive * (togo - baseline))
        surrogate = -jnp.sum(chosen * advantage) / (steps * episodes)
        stood = jnp.mean(jnp.sum(alive, axis=0))
        value = 1.0 - stood / steps
        return value + surrogate - jax.lax.stop_gradient(surrogate), {"stood": stood}

    def sample(key: PRNGKeyArray, data: Data, split: str) -> Batch:
        return Batch(cart_pole.start(key, episodes), None)

    source = Source("none", episodes, "array", no_data, sample)
    return Design(FAMILY, config, Model(tuple(tensors), loss, noise), source)


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
    config_checks.check_choice(FAMILY, "problem", config["problem"], PROBLEMS)
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

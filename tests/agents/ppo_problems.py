"""PPO on tiny problems: what several tests use."""

from functools import cache

import jax
import jax.numpy as jnp
import optax

import agents
import learned
import opt_gym
from opt_gym.records import Batch
from tests import toy

SMALL = {"num_envs": 8, "num_steps": 4, "horizon": 4, "num_minibatches": 2}


def two_tensors():
    """(|W v − 1|² + |b|²) / 20, so that there is more than one tensor, of different ranks."""

    def loss(key, params, instance, batch):
        weight, bias = params
        residual = weight @ jnp.arange(3.0) - 1.0
        return (jnp.sum(residual**2) + jnp.sum(bias**2)) / 20.0, {}

    def init(key, data):
        k_weight, k_bias = jax.random.split(key)
        return (
            jax.random.normal(k_weight, (2, 3)),
            jax.random.normal(k_bias, (4,)),
        ), ()

    return toy.quadratic()._replace(
        roles=("kernel", "bias"),
        init=init,
        loss=loss,
        sample_batch=lambda key, data, instance, split: Batch((), ()),
    )


def env_for(optimizer, task=None):
    return opt_gym.make(
        task or toy.quadratic(), learned_optimizer=optimizer, normalizer=toy.NORMALIZER
    )


def trainer(optimizer=None, envs=None, learning_rate=1e-2, **settings):
    optimizer = optimizer or mlp()
    return agents.make(
        "ppo",
        envs=envs or [env_for(optimizer)],
        learned_optimizer=optimizer,
        outer_optimizer=optax.adam(learning_rate),
        **{**SMALL, "action_scale": 0.1, "critic_hidden": 8, **settings},
    )


@cache
def mlp():
    return learned.make("mlp", hidden=8, step_multiplier=0.1)


@cache  # one compilation for all that look at it; two windows an episode
def shared_trainer():
    return trainer(
        envs=[env_for(mlp(), toy.quadratic(noise=0.1))],
        num_envs=32,
        num_steps=5,
        horizon=10,
        theta_average=0.5,
    )


TASKS = {
    "quadratic": toy.quadratic,
    "two tensors": two_tensors,
    "fragile": lambda: toy.quadratic(dies_above=1.05),
}

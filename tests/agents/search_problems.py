"""Searches for the learning rate of SGD on a quadratic: what several tests use."""

from functools import cache
from typing import Any

import jax.numpy as jnp

import agents
from tests import toy

HORIZON = 6
EPISODES: dict[str, Any] = {"trunc_length": 3, "horizon": HORIZON}

BOX = {"learning_rate": [1e-2, 3.0]}
SETTINGS = {
    "random_search": {"population": 8, "sigma": 0.3},
    "hyperparameter_search": {"population": 8, "box": BOX, "num_trials": 60},
    "evosax": {"population": 8, "sigma": 0.3},
}


@cache
def problem(noise=0.0, dies_above=jnp.inf):
    return toy.sgd_env(toy.quadratic(noise=noise, dies_above=dies_above))[:2]


@cache
def make_trainer(name, noise=0.0, dies_above=jnp.inf, **settings):
    env, optimizer = problem(noise, dies_above)
    chosen = {**EPISODES, **SETTINGS[name], **settings}
    return agents.make(name, envs=[env], learned_optimizer=optimizer, **chosen)

"""Every architecture can be outer-trained: a window of evolution keeps the state's shapes."""

import jax
import jax.numpy as jnp
import pytest

import learned
from agents.estimators.particles import Renewal, programs
from agents.records import lengths_of
from opt_gym.runtime import strategy
from opt_gym.testing.made_up_signals import PARAMS, ROLES
from opt_gym.testing.made_up_tasks import bowl, bowl_env

NUM, WINDOW = 3, 2


@pytest.mark.parametrize("name", learned.names())
def test_a_window_can_be_traced(name, monkeypatch):
    """Memories that are empty, or of a tensor or all of them, included. Nothing compiles."""
    monkeypatch.setattr(
        strategy, "_CPU_OPTIONS", {}
    )  # not for programs inside of others
    optimizer = learned.make(name)
    env = bowl_env(bowl(PARAMS, ROLES), optimizer)
    data = env.task.load_data("embedded")
    run = programs(
        env, optimizer, num=NUM, lengths=lengths_of(2 * WINDOW, WINDOW), sigma=0.1
    )
    key = jax.random.key(0)
    theta = jax.eval_shape(optimizer.init_theta, key)
    particles = jax.eval_shape(run.empty, theta, data)
    renewal = Renewal(key, jnp.zeros(NUM, bool), 2.0 * WINDOW, stagger=True)
    keys = jax.random.split(key, NUM)
    after, out = jax.eval_shape(run.window, keys, theta, data, particles, renewal)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(
        lambda x: (x.shape, x.dtype), particles
    )
    assert out.difference.shape == (NUM,)

"""A θ to start outer-training from: of the trainer's architecture, of finite real numbers."""

import jax
import numpy as np
import optax
import pytest

import agents
import learned
from opt_gym.testing.made_up_tasks import bowl, bowl_env, scaled


def trained(theta):
    sgd = learned.make("sgd")
    env = bowl_env(bowl((np.ones(2, np.float32),), ("kernel",)), sgd)
    short = {"num_pairs": 2, "trunc_length": 2, "horizon": 2}
    trainer = agents.make(
        "es", envs=[env], learned_optimizer=sgd, outer_optimizer=optax.sgd(0.1), **short
    )
    return agents.train(trainer, [scaled(1.0)], outer_steps=1, theta=theta).theta


@pytest.mark.parametrize(
    "theta",
    [
        learned.make("adam").init_theta(jax.random.key(0)),
        *([1.0], "x", 3.0),
        *({"learning_rate": odd} for odd in (np.nan, 1j, "x", None, [1.0], True)),
    ],
)
def test_another_theta_is_refused(theta):
    with pytest.raises(ValueError, match="theta"):
        trained(theta)


def test_whole_numbers_train_as_the_same_real_ones():
    whole = trained({"learning_rate": np.int32(1)})
    real = trained({"learning_rate": np.float32(1.0)})
    assert whole == real
    assert whole["learning_rate"].dtype == np.float32

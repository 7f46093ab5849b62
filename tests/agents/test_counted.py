"""What an inner step counts in the outer-loss that evolution follows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.records import Counted
from agents.trainers import es
from tests import toy
from tests.agents.test_estimators import LEARNING_RATE, gradients, make, run, within


@pytest.mark.parametrize(("bend", "last_tenth"), [(0.05, 0.0), (0.0, 0.5), (0.05, 0.5)])
def test_what_counts_may_be_bent_and_weighted_to_the_end(bend, last_tenth):
    horizon = 20

    def counted(learning_rate):
        costs = 0.5 * (1 - learning_rate) ** (2 * jnp.arange(1, horizon + 1))
        if bend:
            costs = jnp.arcsinh(costs / bend) / jnp.arcsinh(1 / bend)
        return (1 - last_tenth) * costs.mean() + last_tenth * costs[-2:].mean()

    env, optimizer, theta = toy.sgd_env(toy.quadratic(), learning_rate=LEARNING_RATE)
    settings = {"num_pairs": 256, "trunc_length": 5, "sigma": 1e-2, "horizon": horizon}
    counts = Counted(bend, last_tenth)
    found, _ = run(make(es, env, optimizer, counted=counts, **settings), theta, 6)
    assert within(gradients(found), float(jax.grad(counted)(LEARNING_RATE)))
    # What is told is the outer-loss as ever.
    plain, _ = run(make(es, env, optimizer, **settings), theta, 1)
    np.testing.assert_allclose(found[0].outer_loss, plain[0].outer_loss, rtol=1e-6)


def test_no_bend_and_no_last_tenth_is_the_mean_bit_for_bit():
    costs = jnp.linspace(0.1, 2.0, 7)
    np.testing.assert_array_equal(
        Counted().mean(costs, jnp.arange(7), jnp.int32(70)), jnp.mean(costs)
    )
    bent = Counted(0.05).mean(jnp.array([1.0]), jnp.array([1]), jnp.int32(70))
    np.testing.assert_allclose(bent, 1.0, rtol=1e-6)  # as much as ever where ℓ̃ is 1


@pytest.mark.parametrize("horizon", [1, 5, 9, 10, 19, 25, 100])
def test_the_weights_of_an_episode_are_1_on_average(horizon):
    """Those of first episodes, too, which are as short as a window."""
    ones, t = jnp.ones(horizon), jnp.arange(1, horizon + 1)
    found = Counted(last_tenth=0.4).mean(ones, t, jnp.int32(horizon))
    np.testing.assert_allclose(found, 1.0, rtol=1e-6)

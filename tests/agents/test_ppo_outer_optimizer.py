"""What PPO does with its outer optimizer: how often it is called, with what, and when not."""

from functools import cache

import jax
import numpy as np
import optax

import agents
import learned
from tests.agents.ppo_problems import SMALL, env_for, mlp, trainer


@cache
def two_epochs():
    return trainer(num_epochs=2)


def test_an_outer_step_makes_as_many_updates_as_its_schedule_is_told():
    result = agents.train(two_epochs(), [{}], outer_steps=3)
    leaves = jax.tree.leaves(result.state.learner)
    counts = [int(x) for x in leaves if np.issubdtype(x.dtype, np.integer)]
    each = agents.updates_per_step("ppo", **SMALL, num_epochs=2)
    assert each == 2 * SMALL["num_minibatches"]
    assert counts == [3 * each]
    assert agents.updates_per_step("ppo", 3, **SMALL, num_epochs=2) == 3 * each
    assert agents.updates_per_step("pes", 3, num_pairs=4) == 1


def test_a_learned_outer_optimizer_sees_the_loss():
    optimizer = learned.to_optax(*learned.load("nominal_small"), horizon=100)
    run = agents.make(
        "ppo",
        envs=[env_for(mlp())],
        learned_optimizer=mlp(),
        outer_optimizer=optax.chain(optimizer, optax.scale(0.1)),
        **SMALL,
        num_epochs=1,
    )
    theta = jax.jit(mlp().init_theta)(jax.random.key(0))
    result = agents.train(run, [{}], outer_steps=1, theta=theta)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(result.theta))
    assert not np.array_equal(result.theta["w_rows"], theta["w_rows"])


def test_gradients_that_are_not_finite_are_counted():
    theta = jax.jit(mlp().init_theta)(jax.random.key(0))
    poisoned = jax.tree.map(lambda leaf: np.nan * leaf, theta)
    trainer, key = two_epochs(), jax.random.key(0)
    _, report = trainer.step(key, ({},), trainer.init(key, ({},), poisoned))
    assert report.skipped == 2 * SMALL["num_minibatches"]

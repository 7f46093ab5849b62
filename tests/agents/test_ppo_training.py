"""PPO on the device: its promises, and that it learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import agents
import learned
import opt_gym
from agents.rl import ppo_programs
from tests.agents.ppo_problems import TASKS, env_for, mlp, shared_trainer, trainer


def test_diverging_environments_never_poison_theta():
    # 7 environments: on one device.
    env = env_for(mlp(), TASKS["fragile"]())
    run = trainer(envs=[env], num_envs=7, action_scale=1.0, num_epochs=1)
    result = agents.train(run, [{}], outer_steps=4)
    assert all(report.dropped > 0 for report in result.reports)
    assert np.all(np.isfinite(np.array(result.reports)))
    assert np.all(np.isfinite(ravel_pytree(result.state.learner)[0]))


@pytest.mark.slow
def test_tasks_of_other_sizes_take_turns_with_one_theta_and_critic():
    envs = [env_for(mlp(), TASKS[name]()) for name in ("quadratic", "two tensors")]
    run = trainer(envs=envs, num_envs=16, learning_rate=3e-3)
    result = agents.train(run, [{}, {}], outer_steps=60)
    for task, shapes in enumerate([((16, 1),), ((16, 2, 3), (16, 4))]):
        env = result.state.slots[task].env
        assert jax.tree.map(jnp.shape, env.params) == shapes
        losses = [report.outer_loss for report in result.reports[task::2]]
        assert np.mean(losses[-3:]) < 0.7 * np.mean(losses[:3])


@pytest.mark.slow  # the kit asks every trainer for it, with less of the state
def test_a_resumed_run_is_the_unbroken_run_bit_for_bit(tmp_path):
    run = shared_trainer()
    unbroken = agents.train(run, [{}], outer_steps=5)
    agents.train(run, [{}], outer_steps=2, out=tmp_path)
    resumed = agents.train(run, [{}], outer_steps=5, out=tmp_path, resume=True)
    jax.tree.map(np.testing.assert_array_equal, resumed.theta, unbroken.theta)
    jax.tree.map(
        np.testing.assert_array_equal, resumed.state.learner, unbroken.state.learner
    )
    assert resumed.reports == unbroken.reports[2:]


@pytest.mark.slow
def test_so_is_one_whose_tasks_take_turns_at_being_live(tmp_path):
    envs = [env_for(mlp(), TASKS[name]()) for name in ("quadratic", "two tensors")]
    run = trainer(envs=agents.task_mix(envs, max_programs=1, refresh_every=2))
    unbroken = agents.train(run, [{}, {}], outer_steps=5)
    assert list(unbroken.state.slots) == [0]
    agents.train(run, [{}, {}], outer_steps=3, out=tmp_path)
    resumed = agents.train(run, [{}, {}], outer_steps=5, out=tmp_path, resume=True)
    jax.tree.map(np.testing.assert_array_equal, resumed.theta, unbroken.theta)
    assert resumed.reports == unbroken.reports[3:]


def test_theta_is_an_unbiased_average_over_outer_steps():
    run = shared_trainer()
    thetas = []
    result = agents.train(
        run,
        [{}],
        outer_steps=3,
        callbacks=[lambda p: thetas.append(p.state.learner.actor.theta["b"])],
    )
    weights = np.array([0.25, 0.5, 1.0])[:, None] / 1.75
    np.testing.assert_allclose(
        result.theta["b"], np.sum(weights * np.array(thetas), 0), rtol=1e-5, atol=1e-8
    )


def test_windows_are_parts_of_episodes_with_staggered_first_ones():
    run, key = shared_trainer(), jax.random.key(0)
    state = run.init(key, ({},), mlp().init_theta(key))
    done, moments = [], []
    for i in range(3):
        state, report = run.step(jax.random.fold_in(key, i), ({},), state)
        done.append(np.asarray(state.slots[0].done))
        moments.append(np.asarray(state.slots[0].env.t))
    first = np.arange(32) < 16  # their first episode is one window long
    np.testing.assert_array_equal(done, [first, ~first, first])
    np.testing.assert_array_equal(moments[1], np.where(first, 5, 10))
    assert np.all(np.asarray(state.slots[0].env.horizon) == 10)
    assert int(report.inner_steps) == 32 * 5


def test_it_learns():
    result = agents.train(shared_trainer(), [{}], outer_steps=40)
    losses = [report.outer_loss for report in result.reports]
    assert np.mean(losses[-4:]) < 0.5 * np.mean(losses[:2])
    assert float(result.state.learner.actor.log_std) < -0.1  # it became surer


@pytest.mark.slow
def test_large_environments_go_one_after_the_other_to_the_same_end(monkeypatch):
    ends = []
    for tiny in (0, 50):
        monkeypatch.setattr(ppo_programs, "TINY", tiny)
        ends.append(agents.train(trainer(), [{}], outer_steps=2).reports[-1])
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_envs": 0}, "num_envs must be an integer >= 1, got 0"),
        ({"num_steps": 0}, "num_steps must be an integer >= 1, got 0"),
        ({"horizon": 6}, "horizon must be a multiple of num_steps, got 6 and 4"),
        ({"num_epochs": 0}, "num_epochs must be an integer >= 1"),
        ({"num_minibatches": 3}, "num_minibatches=3 must divide .* = (16|32)$"),
        ({"clip_range": 0.0}, "clip_range must be a number > 0"),
        ({"ratio": "jiont"}, "unknown ratio: 'jiont'; did you mean 'joint'"),
        ({"gamma": 1.1}, r"gamma must be in \[0, 1\], got 1.1"),
        ({"gae_lambda": -1.0}, r"gae_lambda must be in \[0, 1\]"),
        ({"bootstrap": True}, "bootstrap=True needs gamma < 1"),
        ({"aggregation": "last"}, "unknown aggregation: 'last'"),
        (
            {"bootstrap": True, "gamma": 0.9, "aggregation": "final"},
            "got gamma 0.9 and 'final'",
        ),
        ({"action_scale": 0.0}, "action_scale must be a number > 0"),
        ({"theta_average": 1.0}, r"theta_average must be in \[0, 1\), got 1.0"),
        ({"critic_hidden": 0}, "critic_hidden must be an integer >= 1"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        trainer(**settings)


def test_what_it_cannot_train_is_refused_by_name():
    with pytest.raises(ValueError, match="cannot train 'lstm': it remembers"):
        trainer(learned.make("lstm"))
    memory = opt_gym.plugins.build("action", "hyperparameters", {"level": "parameter"})
    with pytest.raises(ValueError, match="action map 'hyperparameters' has a memory"):
        trainer(mlp()._replace(action_map=memory))
    with pytest.raises(ValueError, match=r"features are 'mlp'.*made for"):
        trainer(learned.make("nominal"), [env_for(mlp())])


def test_a_buffer_too_large_is_refused_with_the_arithmetic():
    run = trainer(max_buffer_gb=1e-6)
    with pytest.raises(
        ValueError, match=r"8 envs x 4 steps x \d+ numbers x 4 bytes = "
    ):
        run.init(jax.random.key(0), ({},), mlp().init_theta(jax.random.key(0)))

"""`opt_gym.flat`: the arrays of the environments as pure functions."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import opt_gym
from opt_gym.gym import _core
from opt_gym.gym._settings import OptEnvSettings
from opt_gym.gym.opt_env import OptEnv
from tests.gym.problems import quadratic


def test_the_flat_functions_are_the_environment_s():
    """Under jit, vmap and scan, with resets between windows."""
    env = opt_gym.make(quadratic(), data="embedded")
    data = opt_gym.load_data(env)
    flat = opt_gym.flat(env, data)
    horizon, window, num = 4, 2, 3

    def act(seen: Any) -> Any:
        return -0.1 * seen[:, 0]

    def one_step(state: Any, _: None) -> Any:
        (inner, seen), seen_before = state, state[1]
        inner, seen, out = flat.step(data, inner, act(seen))
        return (inner, seen), (seen_before, out.reward, out.truncated)

    def run_window(state: Any) -> Any:
        return jax.lax.scan(one_step, state, None, length=window)

    keys = jnp.asarray([[1, 2], [3, 4], [5, 6]], jnp.uint32)
    state = jax.jit(jax.vmap(lambda key: flat.reset(_key(key), data, horizon)))(keys)
    rewards = []
    for _ in range(horizon // window):
        state, (_, reward, truncated) = jax.jit(jax.vmap(run_window))(state)
        rewards.append(reward)
    assert truncated[:, -1].all()
    core = _core.core(OptEnvSettings(quadratic(), data="embedded", horizon=horizon))
    for row in range(num):
        key = np.asarray(keys)[row][None]
        rows = core.reset(core.empty(1), key, np.ones(1, bool), horizon)
        for step in range(horizon):
            action = np.asarray(act(rows.observation[0]))[None]
            rows = core.step(
                rows.state, action, np.ones(1, bool), np.float32(0.01), "map"
            )
            mine = np.concatenate(rewards, axis=1)[row, step]
            np.testing.assert_allclose(rows.numbers[0, 0], mine, rtol=1e-5)


def _key(data: Any) -> Any:
    return jax.random.wrap_key_data(data, impl="threefry2x32")


def test_the_flat_rewards_of_an_episode_are_its_return():
    """Also where it diverges, and whatever is left of the window then."""
    env = opt_gym.make(quadratic(), data="embedded")
    data = opt_gym.load_data(env)
    flat = opt_gym.flat(env, data)
    face: Any = OptEnv(quadratic(), horizon=4, data="embedded")
    for bad_at in (0, 2, None):
        face.reset(seed=0)
        state, _ = flat.reset(jax.random.key(0), data, 4)
        paid, expected, over = 0.0, 0.0, False
        for step in range(6):
            action = np.full(3, np.nan if step == bad_at else 0.0, np.float32)
            state, _, out = flat.step(data, state, jnp.asarray(action))
            paid += float(out.reward)
            if not over:
                expected += float(-out.cost / 4)
                over = bool(out.terminated | out.truncated)
        if bad_at is not None:
            expected += -2.0 * (4 - bad_at - 1) / 4
        assert paid == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "action",
    [np.zeros(4), np.zeros((3, 1)), np.zeros((1, 3)), np.zeros(3, int), 1.0, [1]],
)
def test_the_flat_functions_take_what_the_environment_takes(action):
    env = opt_gym.make(quadratic(), data="embedded")
    data = opt_gym.load_data(env)
    flat = opt_gym.flat(env, data)
    state, _ = flat.reset(jax.random.key(0), data, 4)
    with pytest.raises(ValueError, match="an action must"):
        flat.step(data, state, action)


@pytest.mark.parametrize("horizon", [0, -1, 1.5, True, 2**25, jnp.float32(3.0)])
def test_a_flat_horizon_is_a_horizon(horizon):
    env = opt_gym.make(quadratic(), data="embedded")
    data = opt_gym.load_data(env)
    with pytest.raises(ValueError, match="horizon must be an integer"):
        opt_gym.flat(env, data).reset(jax.random.key(0), data, horizon)

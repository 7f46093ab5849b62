"""What Gymnasium's own tools and other clients expect: one horizon, copies, pickles, seeds."""

import copy
import pickle
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.wrappers import TimeAwareObservation, TimeLimit
from gymnasium.wrappers.numpy_to_torch import NumpyToTorch

import opt_gym
from opt_gym.gym import _core
from opt_gym.gym._settings import OptEnvSettings
from opt_gym.gym.mixture_vector_env import MixtureVectorEnv
from opt_gym.gym.opt_env import OptEnv
from tests.gym.problems import ID, quadratic

GIVEN: dict[str, Any] = {"task": quadratic(), "data": "embedded"}


def idle(env: Any) -> np.ndarray:
    return np.zeros(env.action_space.shape, np.float32)


def whole_return(env: Any) -> tuple[float, int]:
    env.reset(seed=3)
    total, steps, done = 0.0, 0, False
    while not done:
        _, reward, terminated, truncated, _ = env.step(idle(env))
        total, steps, done = total + reward, steps + 1, terminated or truncated
    return total, steps


def of_register(**settings: Any) -> gym.Env:
    spec = EnvSpec(
        "OptTaskOfTest-v0",
        entry_point="opt_gym.gym.opt_env:OptEnv",
        vector_entry_point="opt_gym.gym.opt_vector_env:OptVectorEnv",
        max_episode_steps=5,
        kwargs=GIVEN,
    )
    return gym.make(spec, **settings)


@pytest.mark.parametrize("reward", ["mean", "final"])
def test_max_episode_steps_is_the_horizon(reward):
    expected = whole_return(gym.make(ID, horizon=5, reward=reward, **GIVEN))
    assert expected[0] != 0
    assert expected[1] == 5
    ways = [
        gym.make(ID, max_episode_steps=5, reward=reward, **GIVEN),
        gym.make(ID, max_episode_steps=5, horizon=5, reward=reward, **GIVEN),
        of_register(reward=reward),
    ]
    assert ways[0].spec is not None
    ways.append(gym.make(ways[0].spec))
    for env in ways:
        assert env.unwrapped.horizon == 5  # pyright: ignore[reportAttributeAccessIssue]
        assert env.spec is not None
        assert env.spec.max_episode_steps == 5
        assert whole_return(env) == pytest.approx(expected)
    many = [
        gym.make_vec(
            ID,
            num_envs=2,
            max_episode_steps=5,
            vectorization_mode=mode,
            reward=reward,
            **GIVEN,
        )
        for mode in ("vector_entry_point", "sync")
    ]
    for envs in many:
        envs.reset(seed=3)
        total = np.zeros(2)
        for step in range(5):
            *_, rewards, _, truncated, _ = envs.step(idle(envs))
            total += rewards
            assert truncated.all() == (step == 4)
        assert total[0] == pytest.approx(expected[0], rel=1e-5)


def test_stable_baselines_makes_the_same_environments():
    from stable_baselines3.common.env_util import make_vec_env

    given = {"max_episode_steps": 5, **GIVEN}
    envs = make_vec_env(ID, n_envs=2, env_kwargs=given)
    envs.reset()
    for step in range(5):
        _, _, done, infos = envs.step(np.zeros((2, 3), np.float32))
        assert done.all() == (step == 4)
    assert [info["episode"]["l"] for info in infos] == [5, 5]


def test_two_horizons_that_differ_are_refused():
    for make in (
        lambda: gym.make(ID, max_episode_steps=5, horizon=7, **GIVEN),
        lambda: gym.make_vec(ID, 2, max_episode_steps=5, horizon=7, **GIVEN),
        lambda: of_register(horizon=7),
    ):
        with pytest.raises(ValueError, match="horizon=7 and max_episode_steps=5"):
            make()
    with pytest.raises(ValueError, match="max_episode_steps must be"):
        gym.make(ID, max_episode_steps=0, **GIVEN)
    uncut: Any = gym.make(ID, max_episode_steps=-1, **GIVEN).unwrapped
    assert uncut.horizon == 1000


def test_a_time_limit_by_hand_warns_once():
    env = TimeLimit(gym.make(ID, horizon=9, **GIVEN), 4)
    with pytest.warns(UserWarning, match=r"TimeLimit of 4 .* horizon=9"):
        env.reset()
    env.reset()  # warnings are errors here
    TimeLimit(gym.make(ID, horizon=4, **GIVEN), 9).reset()


def test_the_time_can_be_observed():
    env = TimeAwareObservation(
        gym.make(ID, horizon=5, action="hyperparameters", level="global", **GIVEN)
    )
    seen, _ = env.reset(seed=0)
    after, *_ = env.step(idle(env))
    assert after[-1] - seen[-1] == 1


def copied(env: Any) -> Any:
    return copy.copy(env)


def deeply_copied(env: Any) -> Any:
    return copy.deepcopy(env)


def pickled(env: Any) -> Any:
    return pickle.loads(pickle.dumps(env))


# A wrapper's shallow copy shares its environment, as any wrapper's does.
@pytest.mark.parametrize(
    ("kind", "way"),
    [
        *((kind, copied) for kind in ("single", "vector", "mixture")),
        *((kind, deeply_copied) for kind in ("single", "vector", "mixture", "wrapped")),
        *((kind, pickled) for kind in ("single", "vector", "mixture", "wrapped")),
    ],
)
def test_a_copy_in_mid_episode_goes_on_alike(way, kind):
    made: dict[str, Any] = {"horizon": 6, **GIVEN}
    if kind == "single":
        env: Any = gym.make(ID, **made).unwrapped
    elif kind == "vector":
        env = gym.make_vec(ID, 2, **made)
    elif kind == "mixture":
        tasks = [quadratic(), quadratic(seed=4)]
        env = MixtureVectorEnv(2, tasks, horizon=6, data="embedded")
    else:
        env = gym.wrappers.TransformReward(gym.make(ID, **made), _half)
    env.reset(seed=1)
    env.step(idle(env))
    twin = way(env)
    # Across the end of the episode, where there are generators of its own.
    for step in range(4 if way is copied else 6):
        mine, other = env.step(idle(env)), twin.step(idle(twin))
        for a, b in zip(mine[:4], other[:4], strict=True):
            np.testing.assert_array_equal(a, b, str(step))
        if kind in ("single", "wrapped") and (mine[2] or mine[3]):
            break
    if way is not copied:
        for a, b in zip(env.reset(), twin.reset(), strict=True):
            np.testing.assert_equal(a, b)


def _half(reward: Any) -> Any:
    return 0.5 * reward


def test_deep_copies_share_programs_and_data():
    env: Any = gym.make(ID, horizon=6, **GIVEN).unwrapped
    env.reset(seed=1)
    assert copy.deepcopy(env)._core is env._core


def test_a_task_without_a_config_is_not_pickled():
    task = opt_gym.factory.make_task(quadratic())
    for own, words in (
        (task._replace(config={}), "without a config"),
        (task._replace(loss=lambda *a: (0.0, {})), "functions of it were replaced"),
    ):
        env = OptEnv(own)
        with pytest.raises(pickle.PicklingError, match=words):
            pickle.dumps(env)


def test_seeds_are_whole_numbers():
    envs: Any = gym.make_vec(ID, 2, horizon=3, **GIVEN)
    for seed in ([1.9, 2.9], 1.5, [-1, 2], "7"):
        with pytest.raises((gym.error.Error, ValueError), match="seed"):
            envs.reset(seed=seed)


def test_infos_are_numpy_scalars():
    env = gym.make(ID, horizon=3, **GIVEN)
    _, info = env.reset(seed=0)
    *_, after = env.step(idle(env))
    assert all(isinstance(x, np.generic | bool) for x in {**info, **after}.values())
    assert np.asarray(after["loss"]).dtype == np.float64
    NumpyToTorch(env).reset()


def test_autoreset_mode_is_public():
    envs: Any = gym.make_vec(ID, 2, horizon=3, autoreset_mode="SameStep", **GIVEN)
    assert envs.autoreset_mode is gym.vector.AutoresetMode.SAME_STEP


def test_a_mixture_says_what_it_is():
    envs = MixtureVectorEnv(2, [quadratic(), quadratic(seed=4)], horizon=6)
    assert envs.horizon == 6
    assert envs.spec is not None
    assert envs.spec.max_episode_steps == 6


def test_an_environment_of_one_s_own_task_has_a_neutral_id():
    task = opt_gym.factory.make_task(quadratic())
    for env in (gym.make("OptTask-v0", task=task), gym.make(ID, task=task)):
        assert env.spec is not None
        assert env.spec.id == "OptTask-v0"


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

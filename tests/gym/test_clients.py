"""What Gymnasium's own tools and other clients expect: one horizon, seeds, sound arguments."""

import re
from typing import Any

import gymnasium as gym
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from gymnasium.envs.registration import EnvSpec
from gymnasium.wrappers import TimeAwareObservation, TimeLimit
from gymnasium.wrappers.numpy_to_torch import NumpyToTorch

import opt_gym
from opt_gym.gym.mixture_vector_env import MixtureVectorEnv
from opt_gym.gym.opt_env import OptEnv
from opt_gym.gym.opt_vector_env import OptVectorEnv
from opt_gym.records import Normalizer
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


def test_a_default_that_is_given_is_given():
    with pytest.raises(ValueError, match="horizon=1000 and max_episode_steps=5"):
        gym.make(ID, horizon=1000, max_episode_steps=5, **GIVEN)


def test_a_spec_that_was_handed_out_may_be_made_again_otherwise():
    spec = made(horizon=30).spec
    assert made(spec, max_episode_steps=40).unwrapped.horizon == 40
    assert made(spec, horizon=10).unwrapped.horizon == 10
    assert made(spec).unwrapped.horizon == 30
    with pytest.raises(ValueError, match="give max_episode_steps=40"):
        made(spec, horizon=40)  # Gymnasium would cut it
    many = gym.make_vec(ID, 2, horizon=30, **GIVEN).spec
    assert many is not None
    for told in ("horizon", "max_episode_steps"):
        more: Any = {told: 40}
        envs: Any = gym.make_vec(many, **more)
        assert (envs.horizon, envs.num_envs) == (40, 2)


def made(spec: Any = ID, **given: Any) -> Any:
    return gym.make(spec, **given, **(GIVEN if spec is ID else {}))


def test_the_constructors_take_either_name():
    for settings in ({"horizon": 7}, {"max_episode_steps": 7}):
        assert OptEnv(**settings, **GIVEN).horizon == 7
        assert OptVectorEnv(2, **settings, **GIVEN).horizon == 7


def test_a_spec_names_its_environment():
    spec = made().spec
    assert spec.id == "OptTask-v0"  # the task of its name is another one
    assert gym.make("OptTask-quadratic-v0").spec.id == "OptTask-quadratic-v0"  # pyright: ignore[reportOptionalMemberAccess]
    own = EnvSpec("Mine-v0", entry_point="opt_gym.gym.opt_env:OptEnv", kwargs=GIVEN)
    env: Any = gym.make(own)
    assert env.spec.id == "Mine-v0"
    env.unwrapped.spec.reward_threshold = 3.0
    assert env.unwrapped.spec.reward_threshold == 3.0


def test_a_time_limit_by_hand_warns_once():
    class Hidden(gym.Wrapper):
        def reset(self, **keywords):
            return self._go(**keywords)

        def _go(self, **keywords):
            return self.env.reset(**keywords)

    env = TimeLimit(Hidden(gym.make(ID, horizon=9, **GIVEN)), 4)
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


# A wrapper's shallow copy shares its environment, as any wrapper's does.


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


def test_a_mixture_says_what_a_vector_says():
    envs = MixtureVectorEnv(
        4, [quadratic(), quadratic(seed=4)], horizon=1, autoreset_mode="Disabled"
    )
    assert envs.autoreset_mode is gym.vector.AutoresetMode.DISABLED
    envs.reset(seed=0)
    envs.step(idle(envs))
    assert envs.ended.all()
    assert envs.spec is not None
    again: Any = gym.make_vec(envs.spec)
    assert (again.num_envs, again.horizon) == (4, 1)
    envs.close()
    with pytest.raises(gym.error.ResetNeeded):
        envs.reset(options={"reset_mask": np.array([True, False, False, False])})
    with pytest.raises(ValueError, match="list of at least one task, got 'quadratic'"):
        MixtureVectorEnv(3, "quadratic")
    with pytest.raises(
        ValueError, match=r"weights must be 1 numbers > 0, got \[2.0\]|got"
    ):
        MixtureVectorEnv(3, [quadratic()], weights=None)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("scale", [1e-60, 1e60, 10**400, float("nan"), -1.0, "x"])
def test_an_action_scale_is_one_that_float32_holds(scale):
    env = opt_gym.make(quadratic(), data="embedded")
    with pytest.raises(ValueError, match="action_scale must be"):
        opt_gym.flat(env, opt_gym.load_data(env), scale)
    with pytest.raises(ValueError, match="action_scale must be"):
        OptEnv(action_scale=scale, **GIVEN)


@pytest.mark.parametrize(
    "given",
    [
        {"features": 3},
        {"features": None},
        {"action": None},
        {"normalizer": (2.0, 1.0)},
        {"normalizer": Normalizer("1", 2.0, "m")},  # pyright: ignore[reportArgumentType]
        {"normalizer": Normalizer(float("nan"), 2.0, "m")},
        {"corruption": "nonsense"},
        {"corruption": ("blur",)},
        {"corruption": ()},
        {"corruption": 3},
        {"task": None},
        {"task": b"x"},
        {"task": []},
    ],
)
def test_what_cannot_be_is_named(given):
    (value,) = given.values()
    with pytest.raises(ValueError, match=re.escape(repr(value))):
        opt_gym.make(**{"task": quadratic(), **given})


@pytest.mark.parametrize(
    "seed", [np.array(3), {1, 2}, {1: 2}, b"ab", "ab", [1.9, 2.9], [True, False], 1.5]
)
def test_seeds_of_rows_are_whole_numbers(seed):
    envs: Any = gym.make_vec(ID, 2, horizon=3, **GIVEN)
    with pytest.raises(gym.error.Error, match="seed must be a whole number"):
        envs.reset(seed=seed)
    for accepted in ((3, 4), np.array([3, 4]), [3, None], 3, np.int64(3)):
        envs.reset(seed=accepted)
        assert envs.np_random_seed[0] == 3


@pytest.mark.parametrize("wanted", [[[3], [3]], {0: 1}, 1.5, "3", [1, 2.5]])
def test_task_seeds_of_rows_are_whole_numbers(wanted):
    envs: Any = gym.make_vec("OptTask-quadratic-v0", 2, horizon=3)
    with pytest.raises((ValueError, gym.error.Error), match="task_seed must be"):
        envs.reset(options={"task_seed": wanted})
    for accepted in (np.array(3), jnp.int32(3), np.int64(3), [3, 3], np.array([3, 3])):
        envs.reset(options={"task_seed": accepted})
        assert envs.task_seed == 3


def test_actions_of_torch_that_numpy_cannot_read_are_refused():
    env: Any = made(horizon=3)
    env.reset(seed=0)
    for action in (
        torch.zeros(3, dtype=torch.bfloat16),
        torch.zeros(3).requires_grad_(),
    ):
        with pytest.raises(ValueError, match="an action must be floats of shape"):
            env.unwrapped.step(action)

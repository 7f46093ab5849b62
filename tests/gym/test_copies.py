"""Environments copy and pickle in mid-episode, and own what they were given."""

import copy
import pickle
from typing import Any

import flax.linen as nn
import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.wrappers import TimeAwareObservation

import opt_gym
from opt_gym import normalize
from opt_gym.adapters.flax_task import task_from_flax
from opt_gym.gym import _core
from opt_gym.gym.mixture_vector_env import MixtureVectorEnv
from opt_gym.gym.opt_env import OptEnv
from opt_gym.records import Normalizer
from tests.gym.problems import ID, quadratic
from tests.gym.test_clients import GIVEN, idle


def copied(env: Any) -> Any:
    return copy.copy(env)


def deeply_copied(env: Any) -> Any:
    return copy.deepcopy(env)


def pickled(env: Any) -> Any:
    return pickle.loads(pickle.dumps(env))


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
        (task._replace(config={}), "task without a name"),
        (task._replace(loss=lambda *a: (0.0, {})), "functions of it were replaced"),
    ):
        env = OptEnv(own)
        with pytest.raises(pickle.PicklingError, match=words):
            pickle.dumps(env)


def test_what_an_environment_was_given_is_its_own():
    """A config that is edited afterwards is another one's; a normalizer goes along."""
    config = quadratic()
    env: Any = OptEnv(config, horizon=5, data="embedded")
    env.reset(seed=0)
    config["loss_scale"] = 50.0
    twin = pickle.loads(pickle.dumps(env))
    assert env.step(idle(env))[4] == twin.step(idle(env))[4]


def test_an_unpickled_environment_has_the_normalizer_it_was_made_with(monkeypatch):
    env: Any = OptEnv(quadratic(loss_scale=7.0), horizon=5, data="embedded")
    env.reset(seed=0)
    stored = pickle.dumps(env)
    cheap = Normalizer(1e6, 0.0, "cache")
    monkeypatch.setattr(normalize, "lookup", lambda *_: cheap)
    _core._kept.clear()
    assert OptEnv(quadratic(loss_scale=7.0), data="embedded").normalizer == cheap
    assert pickle.loads(stored).step(idle(env))[1] == env.step(idle(env))[1]


def own_task() -> Any:
    data = jnp.zeros((20, 2)), jnp.zeros((20, 1))
    module = nn.Dense(1)
    return task_from_flax(module, lambda y, batch: jnp.mean(y**2), data, batch_size=2)


def test_a_task_of_one_s_own_needs_no_pickle():
    task = own_task()
    assert copy.copy(task) is copy.deepcopy(task) is task
    env: Any = gym.make("OptTask-v0", task=task, horizon=5)
    assert env.spec.max_episode_steps == 5
    TimeAwareObservation(gym.make(env.spec, action="hyperparameters", level="global"))
    env.reset(seed=0)
    twin = copy.deepcopy(env)
    assert twin.step(idle(env))[4] == env.step(idle(env))[4]
    with pytest.raises(pickle.PicklingError, match="task without a name"):
        pickle.dumps(env.unwrapped)


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy])
@pytest.mark.parametrize("kind", ["vector", "mixture"])
def test_a_copy_leaves_the_original_as_it_was(kind, how):
    def make() -> Any:
        if kind == "mixture":
            return MixtureVectorEnv(4, [quadratic(), quadratic(seed=4)], horizon=6)
        return gym.make_vec(ID, 4, horizon=6, render_mode="rgb_array", **GIVEN)

    one, untouched = make(), make()
    for envs in (one, untouched):
        envs.reset(seed=1)
        envs.step(idle(envs))
    other = how(one)
    other.reset(seed=7)
    other.step(idle(other))
    assert one.np_random_seed == untouched.np_random_seed
    rows = {"reset_mask": np.array([False, True, True, False])}
    for seen, expected in zip(
        one.reset(options=rows), untouched.reset(options=rows), strict=True
    ):
        jax.tree.map(np.testing.assert_array_equal, seen, expected)
    if kind == "vector":
        np.testing.assert_array_equal(one.render(), untouched.render())

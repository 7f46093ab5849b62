"""What Gymnasium's own tools and other clients expect: one horizon, copies, pickles, seeds."""

import copy
import pickle
import re
from typing import Any

import flax.linen as nn
import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from gymnasium.envs.registration import EnvSpec
from gymnasium.wrappers import TimeAwareObservation, TimeLimit
from gymnasium.wrappers.numpy_to_torch import NumpyToTorch

import opt_gym
from opt_gym import normalize
from opt_gym.adapters.flax_task import task_from_flax
from opt_gym.gym import _core
from opt_gym.gym._settings import OptEnvSettings
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
    with pytest.raises(pickle.PicklingError, match="without a config"):
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

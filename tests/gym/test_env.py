import json
import warnings

import gymnasium as gym
import jax
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils import seeding
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import (
    JaxToNumpy,
    NormalizeObservation,
    RecordEpisodeStatistics,
    TimeLimit,
)

import opt_gym
from envs_registry.names import families
from opt_gym.data.corruptions import Corruption
from opt_gym.gym.opt_env import OptEnv
from opt_gym.gym.opt_vector_env import OptVectorEnv
from opt_gym.plugins import build
from opt_gym.records import EnvState, Normalizer, Task
from tests.gym import problems
from tests.gym.problems import unwrapped

KNOWN_WARNINGS = (
    "observation space minimum value is -infinity",
    "observation space maximum value is infinity",
    "unconventional shape",
)


def state_of(env: OptEnv) -> EnvState:
    """Of the running episode, with a leading axis [1]."""
    assert env._rows is not None
    return env._rows.state


def assert_checkers_pass(env: gym.Env) -> None:
    from stable_baselines3.common.env_checker import check_env as sb3_check_env

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env)
        sb3_check_env(env)
    for warning in caught:
        assert any(known in str(warning.message) for known in KNOWN_WARNINGS), warning


SMALL = {
    "quadratic": {},
    "small_mlp": {"task": problems.SMALL_MLP},
    "mlp": {
        "task": {
            **problems.SMALL_MLP,
            "family": "mlp",
            "dataset": ["mnist", {"bs": 8, "just_train": True, "num_train": 500}, None],
        },
        "objective": "noisy",
        "corruption": (Corruption("gaussian", 0.3),),
    },
    "conv_pooling": {
        "task": {
            "family": "conv_pooling",
            "strides": [[2, 2]],
            "hidden_units": [3],
            "activation": "relu",
            "w_init": ["he_normal", None],
            "padding": ["SAME"],
            "pool_type": "mean",
            "use_bias": True,
            "dataset": [
                "cifar10",
                {"bs": 4, "num_train": 500, "just_train": True},
                None,
            ],
            "center_data": False,
        }
    },
}
"""What makes a family cheap; one that is not here is checked as its id makes it."""

QUICK = (*SMALL, "losg_tasks")
CLASSIFIERS = {
    "mlp",
    "small_mlp",
    "conv_fc",
    "conv_pooling",
    "resnet",
    "rnn_text_classification",
    "sequence",
    "losg_tasks",  # its seed 0 is one
}


@pytest.mark.parametrize(
    "family",
    [pytest.param(f, marks=() if f in QUICK else pytest.mark.slow) for f in families()],
)
def test_both_checkers_pass_with_only_the_known_warnings(family) -> None:
    keywords = {"render_mode": "rgb_array", "data": "embedded", "horizon": 5}
    env = gym.make(f"OptTask-{family}-v0", **{**keywords, **SMALL.get(family, {})})
    assert_checkers_pass(env.unwrapped)
    env.reset(seed=0)
    info = env.step(env.action_space.sample())[4]
    assert all(isinstance(number, np.generic) for number in info.values())
    face = env.unwrapped
    assert isinstance(face, OptEnv)
    on_train = face.functional.objective == "train"
    assert (info["loss"] == info["train_loss"]) == on_train
    assert ("accuracy" in info) == (family in CLASSIFIERS)


@pytest.mark.parametrize(
    ("keywords", "observation_shape", "action_shape"),
    [
        ({"action": "direction_magnitude"}, (3, 31), (3, 2)),
        ({"action": "hyperparameters", "level": "tensor"}, (1, 31), (1, 2)),
        (
            {"action": "hyperparameters", "level": "global"},
            (14,),
            (2,),
        ),
    ],
    ids=["direction_magnitude", "tensor", "global"],
)
def test_other_actions(keywords, observation_shape, action_shape) -> None:
    env = unwrapped(**keywords, render_mode="rgb_array")
    assert env.observation_space.shape == observation_shape
    assert env.action_space.shape == action_shape
    assert len(env.feature_names) == observation_shape[-1]
    assert len(env.segments) == len(observation_shape) - 1
    assert_checkers_pass(env)


def test_other_features() -> None:
    env = unwrapped(action="hyperparameters", features="nominal")
    assert env.observation_space.shape == (3, 26)
    assert env.action_space.shape == (3, 2)
    assert env.feature_names[-1] == "log_loss_trend"


def test_the_episode_is_the_functional_one_and_the_return_minus_its_outer_loss() -> (
    None
):
    env = unwrapped(horizon=4, action_scale=0.5)
    pure, data = env.functional, opt_gym.load_data(env.functional)
    reset, step = jax.jit(pure.reset), jax.jit(pure.step)
    env.reset(seed=11)
    numbers = seeding.np_random(11)[0].integers(0, 2**32, 2, np.uint32)
    state = reset(jax.random.wrap_key_data(jax.numpy.asarray(numbers)), data, 4)
    costs, rewards = [], []
    for t in range(4):
        action = np.linspace(-1, 1, 3, dtype=np.float32) * (t + 1)
        _, reward, terminated, truncated, info = env.step(action)
        state, out = step(data, state, (type(state.params)(0.5 * action),))
        np.testing.assert_allclose(info["loss"], out.loss, rtol=1e-5)
        assert info["inner_step"] == t + 1
        assert (terminated, truncated) == (False, t == 3)
        costs.append(float(out.cost))
        rewards.append(reward)
    np.testing.assert_allclose(sum(rewards), -np.mean(costs), rtol=1e-5)


@pytest.mark.parametrize("reward", ["mean", "final"])
@pytest.mark.parametrize("broken", ["action", "loss"])
def test_divergence_is_charged_to_the_horizon(reward, broken) -> None:
    env = unwrapped(horizon=4, action_scale=1.0, reward=reward)
    env.reset(seed=0)
    first = env.step(np.full(3, 0.1, np.float32))
    assert first[4]["diverged"] == 0.0
    value = np.inf if broken == "action" else 1e30  # whose square is no float32
    observation, last, terminated, truncated, info = env.step(
        np.full(3, value, np.float32)
    )
    assert (terminated, truncated) == (True, False)
    assert info["diverged"] == 1.0
    assert info["cost"] == 2.0
    assert not observation.any()
    # Costs c₁, 2, 2, 2 of four steps.
    expected = -(first[4]["cost"] + 3 * 2) / 4 if reward == "mean" else -2.0
    np.testing.assert_allclose(first[1] + last, expected, rtol=1e-6)
    with pytest.raises(gym.error.ResetNeeded):
        env.step(np.zeros(3, np.float32))
    assert env.reset()[0].any()


def test_an_infinite_momentum_diverges_though_its_sigmoid_is_finite() -> None:
    env = unwrapped(action="hyperparameters", level="global")
    env.reset(seed=0)
    _, _, terminated, _, info = env.step(np.array([-1.0, np.inf], np.float32))
    assert terminated
    assert np.isfinite(info["loss"])


def test_final_reward_is_minus_the_last_cost() -> None:
    env = unwrapped(horizon=3, reward="final")
    env.reset(seed=0)
    steps = [env.step(np.full(3, 0.1, np.float32)) for _ in range(3)]
    assert [step[1] for step in steps] == [0.0, 0.0, -steps[-1][4]["cost"]]


def test_types_are_plain_and_arrays_fresh() -> None:
    env = unwrapped()
    observation, info = env.reset(seed=0)
    after, reward, terminated, truncated, step_info = env.step(np.zeros(3, np.float32))
    for array in (observation, after):
        assert array.dtype == np.float32
        assert array.flags.writeable
    assert type(reward) is float
    assert type(terminated) is bool
    assert type(truncated) is bool
    kinds = {type(number) for number in (info | step_info).values()}
    assert kinds == {np.int64, np.float64}
    kept = after.copy()
    env.step(np.ones(3, np.float32))
    np.testing.assert_array_equal(after, kept)


def test_segments_and_features_name_what_is_where() -> None:
    env = unwrapped(task=problems.SMALL_MLP, data="embedded")
    observation, _ = env.reset(seed=0)
    state = state_of(env)
    names = list(env.feature_names)
    leaves = jax.tree.leaves(state.params)
    assert [s.shape for s in env.segments] == [leaf.shape[1:] for leaf in leaves]
    assert [s.role for s in env.segments] == list(env.functional.task.roles)
    assert env.segments[-1].stop == observation.shape[0]
    np.testing.assert_allclose(
        observation[:, names.index("time_1000")], np.tanh(-1.0), rtol=1e-6
    )
    for segment, param, grad in zip(
        env.segments, leaves, jax.tree.leaves(state.grad), strict=True
    ):
        rows = observation[segment.start : segment.stop]
        for name, tensor in (("parameter", param), ("gradient", grad)):
            tensor = np.asarray(tensor)
            scaled = tensor / np.sqrt(1e-5 + np.mean(tensor**2))
            np.testing.assert_allclose(
                rows[:, names.index(name)], scaled.ravel(), rtol=1e-4, atol=1e-6
            )
    # An action in one row moves one weight.
    segment = env.segments[2]
    before = np.asarray(leaves[2])[0].copy()
    action = np.zeros(env.segments[-1].stop, np.float32)
    action[segment.start + 5] = 1.0
    env.step(action)
    moved = np.asarray(jax.tree.leaves(state_of(env).params)[2])[0] - before
    expected = np.zeros(before.size)
    expected[5] = 0.01
    np.testing.assert_allclose(moved.ravel(), expected, atol=1e-6)


def test_rows_of_tensors_show_log_sizes() -> None:
    env = unwrapped(action="hyperparameters", level="tensor")
    observation, _ = env.reset(seed=0)
    gradient = np.asarray(jax.tree.leaves(state_of(env).grad)[0])
    column = env.feature_names.index("log_size_gradient")
    expected = 0.5 * np.log(np.mean(gradient**2))
    np.testing.assert_allclose(observation[0, column], expected, rtol=1e-5)
    assert (env.segments[0].start, env.segments[0].stop) == (0, 1)


def test_numbers_that_overflowed_are_shown_as_zero() -> None:
    from opt_gym.gym._layout import to_array
    from opt_gym.records import Observation, TensorObservation

    layout = unwrapped()._core.layout
    blocks = (jax.numpy.array([[np.inf, 1.0, -2.0]]),)
    numbers = jax.numpy.array([np.nan])
    tensor = TensorObservation(lambda x: (x,), blocks, jax.numpy.ones(1), numbers)
    shown = to_array(layout, Observation((tensor,), jax.numpy.array([3.0])))
    np.testing.assert_array_equal(shown, [[0, 0, 3], [1, 0, 3], [-2, 0, 3]])


def test_attributes_say_what_it_is() -> None:
    env = unwrapped(horizon=7)
    assert env.horizon == 7
    assert env.dataset == "none (synthetic)"
    assert env.normalizer.source == "provisional"
    config = env.config
    config["dims"] = 5
    assert env.config["dims"] == 3
    assert unwrapped(task=config).observation_space.shape == (5, 31)
    with pytest.raises(ValueError, match="dim"):
        unwrapped(task={**config, "dim": 5})
    small = unwrapped(task=problems.SMALL_MLP, data="embedded")
    assert small.dataset == "digits"


def test_a_spec_goes_through_json() -> None:
    env = problems.single()
    assert env.spec is not None
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    np.testing.assert_array_equal(again.reset(seed=3)[0], env.reset(seed=3)[0])
    assert json.loads(env.spec.to_json())["kwargs"]["horizon"] == 5


def test_records_are_taken_as_they_are() -> None:
    features = build("features", "mlp", {"rms": False})
    env = unwrapped(action="hyperparameters", level="global", features=features)
    assert env.feature_names == features.shared_names
    task = opt_gym.make_task(problems.quadratic(dims=2))
    assert isinstance(task, Task)
    assert OptEnv(task).observation_space.shape == (2, 31)


def test_a_normalizer_is_taken_as_given() -> None:
    given = Normalizer(7.0, 2.0, "given")
    env = unwrapped(normalizer=given)
    assert env.normalizer == given
    env.reset(seed=0)
    info = env.step(np.zeros(3, np.float32))[4]
    assert info["cost"] == pytest.approx(np.clip((info["loss"] - 2) / 5, -2, 2))


def test_task_seed_picks_another_config_and_stays() -> None:
    env = gym.make(problems.ID, horizon=3, task_seed=42)
    observation, _ = env.reset(seed=0, options={"task_seed": 40})
    face = env.unwrapped
    assert isinstance(face, OptEnv)
    assert face.config == opt_gym.task_config("quadratic", 40)
    assert observation.shape == (7, 31)
    assert observation in face.observation_space
    assert face.action_space.shape == (7,)
    assert env.reset()[0].shape == observation.shape
    direct = gym.make(problems.ID, task_seed=40, horizon=3)
    np.testing.assert_array_equal(direct.reset(seed=0)[0], observation)


def test_actions_are_not_clipped() -> None:
    env = unwrapped(action_scale=0.5)
    env.reset(seed=0)
    before = np.asarray(state_of(env).params.weight)[0].copy()
    env.step(np.array([3.0, -4.0, 0.0]))
    moved = np.asarray(state_of(env).params.weight)[0] - before
    np.testing.assert_allclose(moved, [1.5, -2.0, 0.0], atol=1e-6)


def test_wrappers_work() -> None:
    env = RecordEpisodeStatistics(NormalizeObservation(problems.single()))
    env.reset(seed=0)
    total = 0.0
    for _ in range(5):
        _, reward, _, truncated, info = env.step(env.action_space.sample())
        total += float(reward)
    assert truncated
    assert info["episode"]["l"] == 5
    np.testing.assert_allclose(info["episode"]["r"], total, rtol=1e-5)
    limited = gym.make(problems.ID, task=problems.quadratic(), max_episode_steps=2)
    assert isinstance(limited, TimeLimit)
    limited.reset(seed=0)
    flags = [limited.step(np.zeros(3, np.float32))[3] for _ in range(2)]
    assert flags == [False, True]


def test_jax_output() -> None:
    env = problems.single(output="jax", disable_env_checker=True)
    plain = problems.single()
    for one in (env, plain):
        one.reset(seed=0)
    ours = env.step(jax.numpy.full(3, 0.2))
    theirs = plain.step(np.full(3, 0.2, np.float32))
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(ours))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    converted = JaxToNumpy(env)
    converted.reset(seed=0)
    observation, reward, terminated, _, _ = converted.step(np.full(3, 0.2, np.float32))
    np.testing.assert_array_equal(observation, theirs[0])
    assert (float(reward), bool(terminated)) == (theirs[1], False)


def test_a_vector_of_20000_weights_takes_little_memory() -> None:
    import tracemalloc

    task = {**SMALL["mlp"]["task"], "layer_sizes": [25]}
    OptEnv(task, data="embedded")  # loads data and compiles the first losses
    tracemalloc.start()
    envs = OptVectorEnv(64, task, data="embedded")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert envs.observation_space.shape == (64, 19_885, 31)
    assert peak < 1_000_000

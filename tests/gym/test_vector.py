from typing import Any

import gymnasium as gym
import jax
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import (
    JaxToNumpy,
    NormalizeObservation,
    RecordEpisodeStatistics,
)

import opt_gym
from opt_gym.gym.opt_vector_env import OptVectorEnv
from tests.gym import problems

MODES = tuple(AutoresetMode)


def compare(
    ours: gym.vector.VectorEnv, theirs: gym.vector.VectorEnv, steps: int
) -> int:
    """Steps both and asserts equal bits; returns how many episodes ended."""
    disabled = ours.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    problems.assert_same(ours.reset(seed=7), theirs.reset(seed=7))
    rng = np.random.default_rng(0)
    ended = 0
    for t in range(steps):
        actions = rng.uniform(-1, 1, ours.action_space.shape or ()).astype(np.float32)
        if t in (3, 4, 12):
            actions[1] = np.inf  # one row diverges, out of step with the others
        one, other = ours.step(actions), theirs.step(actions)
        problems.assert_same(one, other)
        done = one[2] | one[3]
        ended += done.sum()
        if disabled and done.any():
            rows = [ours.reset(options={"reset_mask": done.copy()})]
            rows.append(theirs.reset(options={"reset_mask": done.copy()}))
            problems.assert_same(*rows)
    return ended


@pytest.mark.parametrize("mode", MODES)
def test_map_equals_sync_bit_for_bit_over_several_resets(mode) -> None:
    noise = {"A_noise": ["normal", {"mean": 0.0, "std": 0.1}]}
    task = problems.quadratic(noise=noise)
    ours = problems.vector(3, task=task, batching="map", autoreset_mode=mode)
    ended = compare(ours, problems.sync(3, mode, task=task), steps=20)
    assert ended >= 9


@pytest.mark.parametrize(
    "keywords",
    [
        {"task": problems.SMALL_MLP, "data": "embedded"},
        {"action": "hyperparameters", "level": "global"},
    ],
    ids=["small_mlp", "global"],
)
def test_map_equals_sync_on_other_faces(keywords) -> None:
    mode = AutoresetMode.SAME_STEP
    ours = problems.vector(2, batching="map", autoreset_mode=mode, **keywords)
    compare(ours, problems.sync(2, mode, **keywords), steps=8)


def test_vmap_has_the_same_episodes_and_nearly_the_same_losses() -> None:
    keywords = {"task": problems.SMALL_MLP, "data": "embedded", "horizon": 20}
    exact, fast = (problems.vector(2, batching=b, **keywords) for b in ("map", "vmap"))
    first, info = exact.reset(seed=0)
    again, info_again = fast.reset(seed=0)
    np.testing.assert_array_equal(first, again)
    problems.assert_same(info, info_again)
    rng = np.random.default_rng(1)
    for _ in range(20):
        actions = rng.uniform(-1, 1, exact.action_space.shape).astype(np.float32)
        losses = [envs.step(actions)[4]["loss"] for envs in (exact, fast)]
        np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_rows_do_not_touch_each_other() -> None:
    """A diverging row leaves the others as they are, in vmap too."""
    envs = problems.vector(2)
    rows = []
    for broken in (False, True):
        envs.reset(seed=0)
        actions = np.full((2, 3), 0.1, np.float32)
        if broken:
            actions[1] = np.nan
        rows.append([envs.step(actions)[0][0] for _ in range(2)])
    np.testing.assert_array_equal(*rows)


def test_next_step_ignores_the_action_and_pays_nothing_at_a_reset() -> None:
    envs = problems.vector(2, horizon=1)
    assert envs.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    envs.reset(seed=0)
    truncated = envs.step(np.zeros((2, 3), np.float32))[3]
    assert truncated.all()
    _, reward, terminated, truncated, info = envs.step(
        np.full((2, 3), np.nan, np.float32)
    )
    assert not reward.any()
    assert not terminated.any()
    assert not truncated.any()
    assert "loss" not in info
    assert (info["inner_step"] == 0).all()


def test_same_step_keeps_the_end_of_the_episode() -> None:
    envs = problems.vector(2, horizon=2, autoreset_mode="SameStep")
    alone = problems.vector(2, horizon=2, autoreset_mode="Disabled")
    actions = np.full((2, 3), 0.3, np.float32)
    for env in (envs, alone):
        env.reset(seed=0)
        env.step(actions)
    observation, _, _, truncated, info = envs.step(actions)
    last, _, _, _, last_info = alone.step(actions)
    assert truncated.all()
    np.testing.assert_array_equal(np.stack(info["final_obs"]), last)
    np.testing.assert_array_equal(info["final_info"]["loss"], last_info["loss"])
    assert not np.array_equal(observation, last)
    assert (info["inner_step"] == 0).all()


def test_disabled_refuses_to_step_what_has_ended() -> None:
    envs = problems.vector(2, horizon=1, autoreset_mode=AutoresetMode.DISABLED)
    envs.reset(seed=0)
    kept = envs.step(np.zeros((2, 3), np.float32))[0]
    with pytest.raises(gym.error.ResetNeeded, match=r"rows \[0, 1\]"):
        envs.step(np.zeros((2, 3), np.float32))
    observation, info = envs.reset(options={"reset_mask": np.array([True, False])})
    np.testing.assert_array_equal(observation[1], kept[1])
    assert not np.array_equal(observation[0], kept[0])
    np.testing.assert_array_equal(info["_train_loss"], [True, False])
    with pytest.raises(gym.error.ResetNeeded, match=r"rows \[1\]"):
        envs.step(np.zeros((2, 3), np.float32))


def test_seeds_are_those_of_sync() -> None:
    envs = problems.vector(2).unwrapped
    assert isinstance(envs, OptVectorEnv)
    by_int = envs.reset(seed=4)[0]
    assert envs.np_random_seed == (4, 5)
    np.testing.assert_array_equal(envs.reset(seed=[4, 5])[0], by_int)
    np.testing.assert_array_equal(envs.reset(seed=5)[0][0], by_int[1])
    assert not np.array_equal(envs.reset()[0], by_int)
    envs.reset(seed=4)
    mixed = envs.reset(seed=[4, None])[0]  # row 1 goes on with its own generator
    np.testing.assert_array_equal(mixed[0], by_int[0])
    assert not np.array_equal(mixed[1], by_int[1])
    assert len(envs.np_random) == 2


@pytest.mark.parametrize(
    ("reset", "error", "words"),
    [
        ({"seed": [1]}, ValueError, r"one a row \(2\), got \[1\]"),
        ({"options": {"mask": 1}}, ValueError, "unknown reset option: 'mask'"),
        ({"options": [1]}, TypeError, "options must be a dict"),
        ({"options": {"reset_mask": [True] * 2}}, TypeError, "numpy bool array"),
        ({"options": {"reset_mask": np.ones(2)}}, TypeError, "float64"),
        (
            {"options": {"reset_mask": np.ones(3, bool)}},
            ValueError,
            r"\(2,\), got \(3,\)",
        ),
        ({"options": {"reset_mask": np.zeros(2, bool)}}, ValueError, "at least one"),
        (
            {"options": {"task_seed": 1}},
            ValueError,
            "picks a config, but one was given",
        ),
    ],
)
def test_bad_resets_are_named(reset, error, words) -> None:
    envs = problems.vector(2)
    envs.reset(seed=0)
    with pytest.raises(error, match=words):
        envs.reset(**reset)
    assert np.isfinite(envs.step(np.zeros((2, 3), np.float32))[1]).all()


def test_the_first_reset_is_of_all_rows() -> None:
    envs = problems.vector(2)
    with pytest.raises(gym.error.ResetNeeded):
        envs.step(np.zeros((2, 3), np.float32))
    with pytest.raises(gym.error.ResetNeeded, match="of all rows"):
        envs.reset(options={"reset_mask": np.array([True, False])})


def test_options_are_left_as_they_were() -> None:
    options = {"reset_mask": np.array([True, True])}
    problems.vector(2).reset(seed=0, options=options)
    assert list(options) == ["reset_mask"]


def family() -> OptVectorEnv:
    """A vector of the family quadratic (not of one config), and its task seed 42."""
    envs = gym.make_vec(problems.ID, num_envs=2, horizon=3, task_seed=42)
    assert isinstance(envs, OptVectorEnv)
    return envs


def test_task_seed_moves_the_whole_vector() -> None:
    envs = family()
    observation, _ = envs.reset(seed=0, options={"task_seed": 40})
    config = opt_gym.task_config("quadratic", 40)
    assert envs.config == config
    assert observation.shape == (2, config["dims"], 31)
    assert envs.observation_space.shape == observation.shape
    assert envs.single_action_space.shape == (config["dims"],)
    assert observation in envs.observation_space
    single = gym.make(problems.ID, task_seed=40, horizon=3)
    np.testing.assert_array_equal(single.reset(seed=1)[0], observation[1])
    again, _ = envs.reset(seed=0, options={"task_seed": np.array([40, 40])})
    np.testing.assert_array_equal(again, observation)
    envs.step(envs.action_space.sample())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"task_seed": [42, 40]}, r"different shapes.*\(4, 31\).*\(7, 31\)"),
        (
            {"task_seed": 40, "reset_mask": np.array([False, True])},
            r"different shapes.*\(4, 31\).*\(7, 31\)",
        ),
        ({"task_seed": [42, 6]}, "shapes are equal, but a vector runs one program"),
        ({"task_seed": [42, 42, 42]}, "one a row"),
        ({"task_seed": -1}, "task_seed must be an integer >= 0, got -1"),
    ],
)
def test_a_mixed_vector_is_an_error_that_shows_both_shapes(options, words) -> None:
    envs = family()
    observation, _ = envs.reset(seed=0)
    with pytest.raises(ValueError, match=words):
        envs.reset(options=options)
    assert envs.step(envs.action_space.sample())[0].shape == observation.shape


def test_jax_output_stays_on_the_device_and_says_the_same() -> None:
    arrays, plain = (problems.vector(2, horizon=2, output=o) for o in ("jax", "numpy"))
    for envs in (arrays, plain):
        envs.reset(seed=0)
    for _ in range(3):  # the third step is a reset
        actions = np.full((2, 3), 0.2, np.float32)
        ours, theirs = arrays.step(jax.numpy.asarray(actions)), plain.step(actions)
        assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(ours))
        assert ours[2].dtype == bool
        assert set(ours[4]) == set(theirs[4])
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize("mode", MODES)
def test_statistics_wrapper_sees_whole_episodes(mode) -> None:
    envs = RecordEpisodeStatistics(problems.vector(2, horizon=3, autoreset_mode=mode))
    envs.reset(seed=0)
    returns = np.zeros(2)
    for _ in range(3):
        _, reward, _, _, info = envs.step(np.full((2, 3), 0.1, np.float32))
        returns += reward
    np.testing.assert_allclose(info["episode"]["r"], returns, rtol=1e-6)
    np.testing.assert_array_equal(info["episode"]["l"], [3, 3])
    if mode is AutoresetMode.DISABLED:
        envs.reset(options={"reset_mask": np.array([True, True])})
    for _ in range(3 + (mode is AutoresetMode.NEXT_STEP)):
        info = envs.step(np.full((2, 3), 0.1, np.float32))[4]
    np.testing.assert_array_equal(info["episode"]["l"], [3, 3])


def test_other_wrappers_work() -> None:
    normalized = NormalizeObservation(problems.vector(2))
    normalized.reset(seed=0)
    observation = normalized.step(normalized.action_space.sample())[0]
    assert np.isfinite(observation).all()
    converted = JaxToNumpy(problems.vector(2, output="jax"))
    converted.reset(seed=0, options={"reset_mask": np.array([True, True])})
    observation, reward, *_ = converted.step(np.zeros((2, 3), np.float32))
    assert isinstance(observation, np.ndarray)
    assert isinstance(reward, np.ndarray)


@pytest.mark.parametrize(
    ("keywords", "error", "words"),
    [
        ({"num_envs": 0}, ValueError, "num_envs must be an integer >= 1, got 0"),
        ({"batching": "loop"}, ValueError, "unknown batching: 'loop'"),
        ({"autoreset_mode": "NextStp"}, ValueError, "did you mean 'NextStep'"),
        ({"max_episode_steps": 0}, ValueError, "must be an integer >= 1"),
        ({"horizon": 3, "max_episode_steps": 4}, ValueError, "name one thing"),
        ({"horizn": 3}, TypeError, "horizn"),
    ],
)
def test_bad_keywords_are_named(keywords: dict[str, Any], error, words) -> None:
    given = {"num_envs": 2, "task": problems.quadratic(), **keywords}
    with pytest.raises(error, match=words):
        OptVectorEnv(**given)


def test_actions_of_another_shape_or_type_are_named() -> None:
    envs = problems.vector(2)
    envs.reset(seed=0)
    for actions, words in (
        (np.zeros(3, np.float32), r"shape \(2, 3\), got \(3,\)"),
        (np.zeros((2, 3), int), "floating point, got int64"),
        ([[0.0] * 3, [0.0] * 2], r"shape \(2, 3\)"),
    ):
        with pytest.raises(ValueError, match=words):
            envs.step(actions)


def test_max_episode_steps_is_another_name_of_horizon() -> None:
    envs = gym.make_vec(problems.ID, num_envs=1, max_episode_steps=4)
    assert isinstance(envs, OptVectorEnv)
    assert envs.horizon == 4


def test_programs_are_compiled_once(monkeypatch) -> None:
    def run(**keywords: Any) -> OptVectorEnv:
        envs = problems.vector(2, **keywords).unwrapped
        assert isinstance(envs, OptVectorEnv)
        envs.reset(seed=0)
        for _ in range(8):
            envs.step(np.zeros((2, 3), np.float32))
        return envs

    core = run(horizon=3)._core

    def traced(*_: Any) -> None:
        raise AssertionError("traced again")

    monkeypatch.setattr(core, "_reset_row", traced)
    monkeypatch.setattr(core, "_step_row", traced)
    assert run(horizon=7, action_scale=0.5)._core is core

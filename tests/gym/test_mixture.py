"""A mixture of tasks: every row is the row of its own task's vector environment."""

from typing import Any

import gymnasium as gym
import jax
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from opt_gym.gym.mixture_vector_env import MixtureVectorEnv
from opt_gym.gym.opt_vector_env import OptVectorEnv
from tests import toy
from tests.gym import problems

TASKS: list[Any] = [
    problems.quadratic(),
    problems.quadratic(loss_scale=7.0),
    problems.quadratic(reparameterised={"level": "parameter", "low": 0.1, "high": 10}),
]
COUNTS, ROWS = (2, 1, 1), [slice(0, 2), slice(2, 3), slice(3, 4)]


def mixture(**keywords):
    return MixtureVectorEnv(4, TASKS, **{"horizon": 3, **keywords})


def idle(envs):
    return np.zeros_like(envs.action_space.sample())


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("output", ["numpy", "jax"])
def test_rows_are_those_of_their_tasks_bit_for_bit(mode, output):
    settings = {"horizon": 3, "autoreset_mode": mode, "output": output}
    envs = mixture(**settings)
    assert envs.rows == ROWS
    apart = [
        OptVectorEnv(count, task, **settings)
        for count, task in zip(COUNTS, TASKS, strict=True)
    ]
    seen, info = envs.reset(seed=10)
    assert seen in envs.observation_space
    expected = [
        env.reset(seed=[10 + i for i in range(rows.start, rows.stop)])
        for env, rows in zip(apart, ROWS, strict=True)
    ]
    np.testing.assert_array_equal(seen, np.concatenate([o for o, _ in expected]))
    assert set(info) == set(expected[0][1])
    ends = 0
    for _ in range(5):  # past the horizon
        actions = envs.action_space.sample()
        found = envs.step(actions)
        expected = [
            env.step(actions[rows]) for env, rows in zip(apart, ROWS, strict=True)
        ]
        for mine, parts in zip(found[:4], zip(*expected, strict=True), strict=False):
            np.testing.assert_array_equal(mine, np.concatenate(parts))
            assert isinstance(mine, jax.Array if output == "jax" else np.ndarray)
        for key in ("loss", "cost", "_loss", "train_loss"):
            if key in found[4]:
                joined = np.concatenate([one[4][key] for one in expected])
                np.testing.assert_array_equal(found[4][key], joined)
        if "final_obs" in found[4]:
            for row, last in enumerate(found[4]["final_obs"]):
                own = next(i for i, rows in enumerate(ROWS) if row < rows.stop)
                theirs = expected[own][4]["final_obs"][row - ROWS[own].start]
                np.testing.assert_array_equal(last, theirs)
            assert found[4]["final_info"]["loss"].shape == (4,)
        ends += int(np.sum(found[3]))
    assert ends == 4
    assert len({float(x) for x in found[4]["train_loss"]}) == 4


def test_a_mask_resets_its_rows_and_no_others():
    envs = mixture(autoreset_mode=AutoresetMode.DISABLED)
    with pytest.raises(gym.error.ResetNeeded, match="must be of all rows"):
        envs.reset(options={"reset_mask": np.array([True, False, True, True])})
    envs.reset(seed=0)
    actions = idle(envs)
    for _ in range(3):
        seen, *_ = envs.step(actions)
    with pytest.raises(gym.error.ResetNeeded, match=r"rows \[0, 1, 2, 3\]"):
        envs.step(actions)
    mask = np.array([False, True, False, True])
    again, info = envs.reset(options={"reset_mask": mask})
    np.testing.assert_array_equal(again[~mask], seen[~mask])
    assert not np.any(np.all(again[mask] == seen[mask], axis=(1, 2)))
    np.testing.assert_array_equal(info["_train_loss"], mask)
    with pytest.raises(gym.error.ResetNeeded, match=r"rows \[0, 2\]"):
        envs.step(actions)


def test_what_only_one_task_tells_is_masked():
    plain = toy.quadratic()

    def loss(key, params, instance, batch):
        return plain.loss(key, params, instance, batch)[0], {"accuracy": params[0][0]}

    envs = MixtureVectorEnv(3, [plain, plain._replace(loss=loss)], horizon=3)
    envs.reset(seed=0)
    info = envs.step(idle(envs))[4]
    np.testing.assert_array_equal(info["accuracy"], [0.0, 0.0, 1.0])
    np.testing.assert_array_equal(info["_accuracy"], [False, False, True])
    np.testing.assert_array_equal(info["_loss"], [True] * 3)


def test_wrappers_pictures_and_generators():
    envs = mixture(render_mode="rgb_array")
    recorded = gym.wrappers.vector.RecordEpisodeStatistics(envs)
    recorded.reset(seed=4)
    assert envs.np_random_seed == (4, 5, 6, 7)
    assert len(envs.np_random) == 4
    for _ in range(3):
        info = recorded.step(recorded.action_space.sample())[4]
    np.testing.assert_array_equal(info["episode"]["l"], [3] * 4)
    frames = envs.render()
    assert frames is not None
    assert [frame.shape for frame in frames] == [(320, 480, 3)] * 4
    recorded.close()


def test_weights_share_out_the_rows():
    envs = MixtureVectorEnv(10, TASKS, [1.0, 5.0, 0.01], horizon=3)
    assert envs.rows == [slice(0, 2), slice(2, 9), slice(9, 10)]
    seen, _ = envs.reset(seed=0)
    assert seen in envs.observation_space


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="at least one task"):
        MixtureVectorEnv(2, [])
    with pytest.raises(ValueError, match=r"weights must be 3 numbers > 0, got \[1.0\]"):
        MixtureVectorEnv(4, TASKS, [1.0])
    with pytest.raises(ValueError, match="num_envs must be an integer >= 3, got 2"):
        MixtureVectorEnv(2, TASKS)
    shapes = r"quadratic: observation \(3, .*; quadratic: observation \(4, "
    with pytest.raises(ValueError, match=shapes):
        MixtureVectorEnv(2, [problems.quadratic(3), problems.quadratic(4)])
    envs = mixture()
    with pytest.raises(gym.error.ResetNeeded, match="call reset"):
        envs.step(idle(envs))
    with pytest.raises(ValueError, match="an action must have shape"):
        envs.step(np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="unknown reset option: 'task_seed'"):
        envs.reset(options={"task_seed": 3})

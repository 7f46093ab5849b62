import gymnasium as gym
import numpy as np
import pytest

from opt_gym.gym.opt_env import OptEnv
from tests.gym import problems
from tests.gym.problems import unwrapped


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"task": "quadratc"}, "did you mean 'quadratic'"),
        ({"task": "OptTask-quadratic_family_seed1-v0", "task_seed": 2}, "contradicts"),
        ({"task_seed": -1}, "task_seed must be an integer >= 0, got -1"),
        ({"horizon": 0}, "horizon must be an integer >= 1 and <= 16777216, got 0"),
        ({"horizon": 2.5}, "got 2.5"),
        ({"features": "mpl"}, "unknown features: 'mpl'; did you mean 'mlp'"),
        ({"features": "none"}, "'none' show no number at level 'parameter'"),
        ({"action": "updat"}, "did you mean 'update'"),
        ({"action_scale": 0}, "action_scale must be a number > 0, got 0"),
        (
            {"action": "direction_magnitude", "action_scale": 0.1},
            "constants of its own",
        ),
        ({"level": "global"}, "level='global' is for action='hyperparameters'"),
        ({"controls": "adam"}, "controls='adam' is for action='hyperparameters'"),
        ({"action": "hyperparameters", "level": "tensors"}, "did you mean 'tensor'"),
        ({"reward": "sum"}, "unknown reward: 'sum'"),
        ({"objective": "test"}, "unknown objective: 'test'"),
        ({"objective": "noisy"}, "needs image inputs"),
        ({"data": "tfd"}, "unknown data: 'tfd'; did you mean 'tfds'"),
        ({"output": "torch"}, "unknown output: 'torch'"),
        ({"render_mode": "human"}, "unknown render_mode: 'human'"),
    ],
)
def test_bad_keywords_are_named(keywords, words) -> None:
    with pytest.raises(ValueError, match=words):
        OptEnv(**{"task": "quadratic", **keywords})


def test_other_mistakes_are_named() -> None:
    with pytest.raises(gym.error.NameNotFound, match="OptTask-quadratic"):
        gym.make("OptTask-quadratc-v0")
    with pytest.raises(TypeError, match="horizn"):
        gym.make(problems.ID, horizn=3)
    env = unwrapped()
    with pytest.raises(gym.error.ResetNeeded):
        env.step(np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="unknown reset option: 'task_sed'"):
        env.reset(options={"task_sed": 1})
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"shape \(3,\), got \(2,\)"):
        env.step(np.zeros(2, np.float32))
    with pytest.raises(ValueError, match="floating point, got int64"):
        env.step(np.zeros(3, np.int64))
    env.step([0.0, 0.1, 0.2])  # Python floats are floating point
    env.close()
    with pytest.raises(gym.error.ResetNeeded):
        env.step(np.zeros(3, np.float32))

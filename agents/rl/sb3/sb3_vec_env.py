"""Our vector environment as stable-baselines3's `VecEnv`.

    envs = gym.make_vec("OptTask-quadratic-v0", num_envs=256, autoreset_mode="SameStep")
    model = PPO("MlpPolicy", VecMonitor(Sb3VecEnv(envs)), gamma=1.0)

Beside what the environment does, a step costs one cast of the rewards and a list of dicts:
observations are handed on as they are.
"""

import copy
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.vec_env import VecEnv

from opt_gym.gym.spaces import BroadcastBox

LARGEST_BUFFER = 2 * 2**30
"""Bytes of observations that a buffer may hold, unless its maker says otherwise."""


class Sb3VecEnv(VecEnv):
    """A Gymnasium vector environment in the dialect of stable-baselines3.

    A row whose episode ended shows the next episode's first observation, and in its info the
    last one as `terminal_observation` beside the numbers of the last step. Reaching the
    horizon is an end like any other (the return is the whole episode's, and the time is
    observed), unless `bootstrap`.

    Wrap it in `VecMonitor` for the returns of episodes, not in `VecNormalize`: its statistics
    are per parameter and feature, and a policy that is shared over parameters would no longer
    see the same numbers for each.

    Args:
        envs: from `gym.make_vec(..., autoreset_mode="SameStep")`, output "numpy".
        bootstrap: set `TimeLimit.truncated` at the horizon, so that the algorithm adds the
            value it expects beyond: another objective than the outer-loss.
        bounded: actions are in [-1, 1], into which PPO clips what it draws. Without, the
            bounds are float32's, which is how stable-baselines3 has none.
        step_infos: every step's infos hold its numbers; else only an episode's last do.

    Raises:
        ValueError: another autoreset mode, or output "jax".
    """

    def __init__(
        self,
        envs: gym.vector.VectorEnv,
        *,
        bootstrap: bool = False,
        bounded: bool = True,
        step_infos: bool = False,
    ) -> None:
        mode = envs.metadata.get("autoreset_mode")
        if mode is not AutoresetMode.SAME_STEP:
            raise ValueError(
                "stable-baselines3 needs autoreset_mode='SameStep', these "
                f"environments have {mode}"
            )
        if getattr(envs.unwrapped, "_output", "numpy") != "numpy":
            raise ValueError("stable-baselines3 needs output='numpy', got 'jax'")
        self.envs = envs
        self._bootstrap = bootstrap
        self._step_infos = step_infos
        self._actions: Any = None
        action_space = envs.single_action_space
        if not bounded:
            most = float(np.finfo(np.float32).max)
            action_space = BroadcastBox(-most, most, action_space.shape or ())
        super().__init__(envs.num_envs, envs.single_observation_space, action_space)

    def reset(self) -> np.ndarray:
        """The first observations [N, ...]; uses the seeds and options set before.

        Raises:
            ValueError: options that differ from row to row, or that change the shapes.
        """
        options = self._options[0]
        if any(other != options for other in self._options):
            raise ValueError(f"all rows take the same options, got {self._options}")
        unseeded = self._seeds == [None] * self.num_envs
        seeds: Any = None if unseeded else self._seeds
        if options:
            self._check_shape(options)
        observation, info = self.envs.reset(seed=seeds, options=options or None)
        self.reset_infos = _by_row(info, self.num_envs)
        self._reset_seeds()
        self._reset_options()
        return observation

    def _check_shape(self, options: dict[str, Any]) -> None:
        # Tried on a copy: what is refused changes nothing.
        observation, _ = copy.deepcopy(self.envs).reset(options=options)
        if observation.shape[1:] != self.observation_space.shape:
            self._reset_options()
            raise ValueError(
                f"the options {options} change an observation's shape from "
                f"{self.observation_space.shape} to {observation.shape[1:]}: "
                "stable-baselines3 keeps its buffers, so make other environments"
            )

    def step_async(self, actions: np.ndarray) -> None:
        """Keeps the actions [N, ...] for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict]]:
        """(observations, rewards, dones, infos), all of them the caller's to write into."""
        observation, reward, terminated, truncated, info = self.envs.step(self._actions)
        done = terminated | truncated
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if self._step_infos:
            infos = _by_row(info, self.num_envs)
        if done.any():
            final, last = info["final_obs"], info["final_info"]
            # Beside them, what wrappers tell of an end, such as its statistics.
            told = last | {name: info[name] for name in info if name not in last}
            ends = _by_row(told, self.num_envs)
            for i in np.flatnonzero(done).tolist():
                cut = bool(truncated[i] and not terminated[i])
                infos[i] = ends[i]
                infos[i]["terminal_observation"] = final[i]
                infos[i]["TimeLimit.truncated"] = self._bootstrap and cut
        # PPO adds the value beyond a truncation to them in place.
        return observation, reward.astype(np.float32), done, infos

    def close(self) -> None:
        """Closes the environments."""
        self.envs.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The attribute of the vector environment, once a row."""
        values = [getattr(self.envs.unwrapped, attr_name)] * self.num_envs
        return [values[i] for i in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Not there: the rows are one object.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(f"rows have no attributes to set, got {attr_name!r}")

    def env_method(
        self, method_name: str, *args: Any, indices: Any = None, **keywords: Any
    ) -> list[Any]:
        """Not there: the rows are one object.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(f"rows have no methods to call, got {method_name!r}")

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        """No row is wrapped by itself."""
        return [False for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[Any]:
        """A frame a row."""
        return self.envs.render() or [None] * self.num_envs


def _by_row(info: dict[str, Any], num: int) -> list[dict[str, Any]]:
    """A vector environment's numbers, a dictionary a row."""
    known = {
        name: info[f"_{name}"]
        for name in info
        if not name.startswith(("_", "final_")) and f"_{name}" in info
    }
    return [
        {name: _entry(info[name], i) for name, mask in known.items() if mask[i]}
        for i in range(num)
    ]


def _entry(columns: Any, i: int) -> Any:
    if isinstance(columns, dict):
        return {name: _entry(column, i) for name, column in columns.items()}
    return columns[i]


def check_rollout_size(
    num_steps: int,
    num_envs: int,
    observation_shape: tuple[int, ...],
    *,
    copies: int = 1,
    limit: int = LARGEST_BUFFER,
) -> int:
    """The bytes of a buffer's observations.

    Args:
        num_steps, num_envs: steps of how many environments it keeps.
        observation_shape: of one environment.
        copies: observations kept a step; 2 where the next one is kept too.
        limit: bytes it may have.

    Raises:
        ValueError: more than `limit`.
    """
    total = 4 * copies * num_steps * num_envs
    for size in observation_shape:
        total *= size
    if total > limit:
        shape = " × ".join(map(str, observation_shape))
        twice = f" × {copies} observations" if copies > 1 else ""
        raise ValueError(
            f"a buffer of {num_steps} steps × {num_envs} environments × {shape} numbers × "
            f"4 bytes{twice} = {total / 1e9:.2f} GB exceeds the limit of "
            f"{limit / 1e9:.2f} GB: take fewer steps or environments, a smaller task, or "
            "action='hyperparameters' at level 'tensor' or 'global'"
        )
    return total

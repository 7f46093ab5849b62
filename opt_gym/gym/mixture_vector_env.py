"""Several tasks of one shape as one vector environment: RL's outer loop over a set of tasks."""

import copy
from collections.abc import Sequence
from typing import Any, Self

import gymnasium as gym
import jax.numpy as jnp
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from jaxtyping import Bool

from opt_gym.checks import check_weights, check_whole
from opt_gym.gym import OWN_TASK, _options
from opt_gym.gym._actions import as_actions
from opt_gym.gym.opt_vector_env import OptVectorEnv
from opt_gym.records import Config, Task


class MixtureVectorEnv(gym.vector.VectorEnv[Any, Any, Any]):
    """Rows split among tasks: the first ones train the first of k tasks, and so on.

    Every task keeps its own program, data and normalizer: a step is k programs, each over
    its own rows (one program that switched between tasks would compute, under `vmap`, all of
    them for every row). Observations and actions need one shape, so the tasks are of one
    architecture: other instances, initializers, data, scales of the loss, or
    `reparameterised`. Row i has the seeds and the episodes of row i of a vector of its task.

    Args:
        num_envs: N, at least one row a task.
        tasks: names, configs or Tasks.
        weights: how many rows each has, relative to the others; () for as many each, the
            first ones one more if k does not divide N.
        keywords: as for `OptVectorEnv`, the same for all.

    Attributes:
        envs: an `OptVectorEnv` a task.
        rows: the slice of rows of each.

    Raises:
        ValueError: no tasks, fewer rows than tasks, weights of another number or not above
            0, tasks of different shapes (all are shown), or what `OptVectorEnv` finds.
    """

    def __init__(
        self,
        num_envs: int,
        tasks: Sequence[str | Config | Task],
        weights: Sequence[float] = (),
        **keywords: Any,
    ) -> None:
        if not isinstance(tasks, list | tuple) or not tasks:
            raise ValueError(
                f"a mixture needs a list of at least one task, got {tasks!r}"
            )
        check_whole("num_envs", num_envs, len(tasks))
        check_weights(weights, len(tasks))
        counts = _shares(num_envs, list(weights) or [1.0] * len(tasks))
        self.envs = [
            OptVectorEnv(count, task, **keywords)
            for count, task in zip(counts, tasks, strict=True)
        ]
        _check_alike(self.envs)
        stops = np.cumsum(counts).tolist()
        self.rows = [slice(b - n, b) for n, b in zip(counts, stops, strict=True)]
        first = self.envs[0]
        self.num_envs, self.metadata = int(num_envs), first.metadata
        self.render_mode = first.render_mode
        self.single_observation_space = first.single_observation_space
        self.single_action_space = first.single_action_space
        self.observation_space = batch_space(
            first.single_observation_space, self.num_envs
        )
        self.action_space = batch_space(first.single_action_space, self.num_envs)
        self.feature_names = first.feature_names
        self._output = first._output
        self._actions_shape = (self.num_envs, *(first.single_action_space.shape or ()))
        self._shown: list[Any] = [None] * len(self.envs)
        self.spec = EnvSpec(
            OWN_TASK,
            vector_entry_point=f"{__name__}:{type(self).__name__}",
            max_episode_steps=self.horizon,
            kwargs={
                "num_envs": self.num_envs,
                "tasks": tasks,
                "weights": weights,
                **keywords,
                "horizon": self.horizon,
            },
        )

    def __copy__(self) -> Self:
        """As `deepcopy`: nothing that changes is shared."""
        return copy.deepcopy(self)

    @property
    def autoreset_mode(self) -> AutoresetMode:
        """What happens to a row whose episode ended."""
        return self.envs[0].autoreset_mode

    @property
    def ended(self) -> Bool[np.ndarray, " n"]:
        """The rows whose episode ended and has not been reset yet."""
        return np.concatenate([env.ended for env in self.envs])

    @property
    def horizon(self) -> int:
        """Inner steps of an episode, the same for all tasks."""
        return self.envs[0].horizon

    @property
    def np_random(self) -> tuple[np.random.Generator, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The generators of the rows."""
        return tuple(generator for env in self.envs for generator in env.np_random)

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The seeds of these generators."""
        return tuple(seed for env in self.envs for seed in env.np_random_seed)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Begins new episodes; `seed` and the option "reset_mask" as for `OptVectorEnv`.

        Raises:
            ValueError, TypeError: an unknown option, or one that cannot be.
            ResetNeeded: a mask, before the first reset of all rows.
        """
        options = _options.checked(options, ("reset_mask",))
        seeds = _options.seeds(seed, self.num_envs)
        which = _options.reset_mask(options.get("reset_mask"), self.num_envs)
        if not which.all() and any(shown is None for shown in self._shown):
            raise gym.error.ResetNeeded("the first reset must be of all rows")
        infos: list[dict[str, Any]] = [{} for _ in self.envs]
        for i, (env, rows) in enumerate(zip(self.envs, self.rows, strict=True)):
            if which[rows].any():
                mask = {"reset_mask": which[rows]}
                self._shown[i], infos[i] = env.reset(seed=seeds[rows], options=mask)
        return _joined(self._shown), self._info(infos)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """One inner step of every row.

        Raises:
            ValueError: actions of another shape or type than the space's.
            ResetNeeded: as for `OptVectorEnv`; no row has stepped then.
        """
        actions = as_actions(actions, self._actions_shape)
        ended = self.ended
        if self.autoreset_mode is AutoresetMode.DISABLED and ended.any():
            raise gym.error.ResetNeeded(
                f"the episodes of rows {np.flatnonzero(ended).tolist()} have ended: "
                "reset(options={'reset_mask': ...}) first"
            )
        stepped = [
            env.step(actions[rows])
            for env, rows in zip(self.envs, self.rows, strict=True)
        ]
        self._shown = [outcome[0] for outcome in stepped]
        columns = [_joined([outcome[k] for outcome in stepped]) for k in range(4)]
        return *columns, self._info([outcome[4] for outcome in stepped])  # type: ignore[return-value]

    def render(self) -> tuple[Any, ...] | None:
        """A frame a row, as `OptVectorEnv` draws them."""
        frames = [env.render() for env in self.envs]
        return None if frames[0] is None else tuple(f for part in frames for f in part)  # type: ignore[union-attr]

    def close_extras(self, **kwargs: Any) -> None:
        """Lets go of the episodes of every task."""
        self._shown = [None] * len(self.envs)
        for env in self.envs:
            env.close()

    def _info(self, parts: list[dict[str, Any]]) -> dict[str, Any]:
        """The tasks' infos one below the other; who lacks a key has zeros, and no mask."""
        joined: dict[str, Any] = {}
        for key in dict.fromkeys(key for part in parts for key in part):
            like = next(part[key] for part in parts if key in part)
            if isinstance(like, dict):
                joined[key] = self._info([part.get(key, {}) for part in parts])
                continue
            # An empty array of objects holds None.
            empty: Any = np.empty if like.dtype == object else np.zeros
            columns = [
                part[key] if key in part else empty(env.num_envs, like.dtype)
                for part, env in zip(parts, self.envs, strict=True)
            ]
            joined[key] = _joined(columns, like)
        return joined


def _shares(num_envs: int, weights: Sequence[float]) -> list[int]:
    """Rows of each task: one, and the others in proportion (Webster's method)."""
    counts = [1] * len(weights)
    for _ in range(num_envs - len(weights)):
        needs = [
            weight / (2 * n + 1) for weight, n in zip(weights, counts, strict=True)
        ]
        counts[needs.index(max(needs))] += 1
    return counts


def _joined(parts: Sequence[Any], like: Any = None) -> Any:
    xp = np if isinstance(parts[0] if like is None else like, np.ndarray) else jnp
    return xp.concatenate(parts)


def _check_alike(envs: Sequence[OptVectorEnv]) -> None:
    def shape(env: OptVectorEnv) -> Any:
        spaces = env.single_observation_space, env.single_action_space
        return *(space.shape for space in spaces), env.feature_names

    if any(shape(env) != shape(envs[0]) for env in envs):
        shown = "; ".join(
            f"{env.config.get('family', 'task')}: observation {shape(env)[0]}, "
            f"action {shape(env)[1]}"
            for env in envs
        )
        raise ValueError(f"the tasks of a mixture must be of one shape, got {shown}")

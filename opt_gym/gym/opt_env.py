"""One training as a Gymnasium environment."""

from typing import Any

import gymnasium as gym
import numpy as np

from opt_gym.data.corruptions import Corruption
from opt_gym.gym import _arrays, _core, _episode_limit, _fork, _options
from opt_gym.gym._actions import as_actions
from opt_gym.gym._describe import Described
from opt_gym.gym._settings import (
    ACTION_SCALE,
    RENDER_MODES,
    OptEnvSettings,
    checked,
    one_horizon,
    with_task_seed,
)
from opt_gym.gym.spaces import BroadcastBox
from opt_gym.records import Config, Features, Normalizer, Task

_ALL = np.ones(1, bool)


class OptEnv(Described, gym.Env[Any, Any]):
    """An inner problem whose optimizer is the policy: `gym.make("OptTask-…-v0")`.

    Observation: [n, F] float32, a row a weight (see `feature_names` and `segments`).
    Action: [n] in [-1, 1] by convention, never clipped: the weight update, times
    `action_scale`. Reward: -ℓ̃/horizon, ℓ̃ the normalized loss, so that a return is minus the
    outer-loss. `terminated`: a loss, a gradient or an action was not finite; the last reward
    then pays the worst ℓ̃, 2, for every step that is left, and the observation is zeros.
    `truncated`: the horizon.

    `info` holds numbers: `train_loss` (of the batch that gave the gradient), `inner_step`
    and `diverged` (1.0 or 0.0) always; after a step also `loss` (of the objective; not
    finite where the episode diverged so), `cost` (ℓ̃), and the task's own, such as
    `accuracy`.

    Args:
        task: a name or id ("mlp", "OptTask-mlp-v0"), a task config (a dict, such as
            `env.unwrapped.config`, edited by hand), or a `Task`.
        task_seed: which config of a family; by default a feasible one.
        horizon: inner steps of an episode, 1000 by default.
        max_episode_steps: another name of it; so are `gym.make`'s and a registered spec's.
        features: what is observed: the name of a feature set or a `Features`. At level
            "global" the name "mlp" means "summary", whose numbers are all shared.
        action: "update" (Δφ = action_scale · action, [n]); "direction_magnitude" ([n, 2]);
            "hyperparameters" (learning rate and momentum); or another action map's name.
        action_scale: for "update" only, 0.01 by default; other maps have constants of
            their own.
        reward: "mean" (-ℓ̃/horizon a step), or "final" (-ℓ̃ at the last step, else 0; -2
            where the episode diverges), whose return is minus the last normalized loss.
        objective: whose loss is paid for: "train", "valid" or "noisy".
        corruption: for "noisy": the name of a set or the corruptions
            (`opt_gym.data.corruptions`).
        data: "auto" (prepared originals where there are any), "embedded" or "tfds".
        normalizer: where ℓ̃ is 1 and 0; by default looked up.
        output: "numpy", or "jax" for arrays that stay on the device (then pass
            `disable_env_checker=True` to `gym.make`, whose checker knows only numpy). A
            numpy observation above half a GB is read-only, because it is not copied.
        level: of "hyperparameters": "parameter" (action [n, 2]); "tensor" (action
            [tensors, 2], observation [tensors, F], where a row's feature is half the log
            of its mean square over the tensor); "global" (action [2], observation [s]).
        controls: of "hyperparameters": what the learning rate and the momentum drive, "sgd"
            or "adam".
        render_mode: None or "rgb_array", the loss curve so far.

    `reset(options={"task_seed": k})` goes on with another config of the family; where its
    shapes differ the spaces change. What was compiled is kept for a few configs.

    Raises:
        ValueError: a value that cannot be, by name, with near matches.
        RuntimeError: in a process forked while JAX ran (it would hang).
    """

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": 30}  # noqa: RUF012

    def __init__(
        self,
        task: str | Config | Task,
        *,
        task_seed: int | None = None,
        horizon: int | None = None,
        max_episode_steps: int | None = None,
        features: str | Features = "mlp",
        action: str = "update",
        action_scale: float = ACTION_SCALE,
        reward: str = "mean",
        objective: str = "train",
        corruption: str | tuple[Corruption, ...] = "training",
        data: str = "auto",
        normalizer: Normalizer | None = None,
        output: str = "numpy",
        level: str = "parameter",
        controls: str = "sgd",
        render_mode: str | None = None,
    ) -> None:
        asked = _episode_limit.asked(self, horizon, max_episode_steps)
        settings = checked(
            OptEnvSettings(
                task=task,
                task_seed=task_seed,
                horizon=one_horizon(*asked),
                features=features,
                action=action,
                action_scale=action_scale,
                reward=reward,
                objective=objective,
                corruption=corruption,
                data=data,
                normalizer=normalizer,
                output=output,
                level=level,
                controls=controls,
                render_mode=render_mode,
            )
        )
        self.render_mode = render_mode
        self._losses: list[float] = []
        self._ended = True
        self._diverged = False
        self._warned = False
        self._use(settings)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begins an episode: a new instance, new initial weights and batches.

        Args:
            seed: of `np_random`, from which the episode's key is drawn.
            options: {"task_seed": k} or nothing.

        Raises:
            ValueError: an unknown option, or a task_seed where the task is one config.
            RuntimeError: in a process forked while JAX ran.
        """
        _fork.check_usable()
        options = _options.checked(options, ("task_seed",))
        if not self._warned:
            self._warned = _episode_limit.warn_of_time_limit(self, self.horizon)
        super().reset(seed=seed)
        if "task_seed" in options:
            self._use(with_task_seed(self._settings, options["task_seed"]))
        key = _core.draw_key(self.np_random)
        if self._core.is_huge:
            self._rows = None  # frees its memory for the new one
            self._rows = self._core.begin(key, self.horizon)
        else:
            before = self._rows or self._core.empty(1)
            self._rows = self._core.reset(before, key[None], _ALL, self.horizon)
        self._losses, self._ended, self._diverged = [], False, False
        observation, numbers = _arrays.single(self._core, self._rows, self._output)
        return observation, {name: numbers[name] for name in _core.RESET_INFO}

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """One inner step.

        Raises:
            ValueError: an action of another shape or type than the space's.
            ResetNeeded: before the first reset, or after the episode ended.
        """
        if self._rows is None or self._ended:
            raise gym.error.ResetNeeded(
                "call reset() first: there is no episode, or it has ended"
            )
        actions = as_actions(action, self._core.layout.action_shape)[None]
        state = self._rows.state
        self._rows = self._core.step(state, actions, _ALL, self._scale, "map")
        observation, info = _arrays.single(self._core, self._rows, self._output)
        reward, terminated, truncated = (info.pop(name) for name in _core.OUTCOME)
        self._ended = bool(terminated) or bool(truncated)
        self._diverged = bool(terminated)
        if self.render_mode is not None:
            self._losses.append(float(info["loss"]))
        return observation, reward, terminated, truncated, info

    def render(self) -> Any:
        """The loss so far, [320, 480, 3] uint8; None without a render_mode."""
        if self.render_mode is None:
            gym.logger.warn("render() needs an environment made with a render_mode")
            return None
        return self._frame(self._losses, self._diverged)

    def close(self) -> None:
        """Lets go of the episode; what was compiled stays for other environments."""
        self._rows, self._ended = None, True

    def _use(self, settings: OptEnvSettings) -> None:
        core = _core.core(settings)
        if not hasattr(self, "_core") or core.shapes != self._core.shapes:
            observation_shape, action_shape = core.shapes
            self.observation_space = BroadcastBox(-np.inf, np.inf, observation_shape)
            self.action_space = BroadcastBox(-1.0, 1.0, action_shape)
        self._settings, self._core = settings, core
        self._scale = _core.action_scale(settings)
        self._rows: _core.Rows | None = None

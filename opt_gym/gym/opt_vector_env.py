"""Many trainings of one config as one vector environment: one program a step."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode
from jaxtyping import Bool

from opt_gym.checks import check_choice, check_whole
from opt_gym.data.corruptions import Corruption
from opt_gym.gym import _arrays, _core, _episode_limit, _fork, _options
from opt_gym.gym._actions import as_actions
from opt_gym.gym._describe import Described
from opt_gym.gym._settings import (
    ACTION_SCALE,
    BATCHINGS,
    RENDER_MODES,
    OptEnvSettings,
    checked,
    one_horizon,
    with_task_seed,
)
from opt_gym.gym.spaces import BroadcastBox
from opt_gym.records import Config, Features, Normalizer, Task


class OptVectorEnv(Described, gym.vector.VectorEnv[Any, Any, Any]):
    """N inner problems of one task config: `gym.make_vec("OptTask-…-v0", num_envs=N)`.

    Each row is an `OptEnv`: the same keys, instances, initial weights and batches bit for
    bit, seeds as `SyncVectorEnv` gives them (`seed + i`), and its losses too with
    batching="map"; with "vmap" they agree to 1e-5 over 20 steps. A step is one program; a
    reset is another one, and runs only where an episode ended.

    Args:
        num_envs: N.
        task, task_seed, horizon, max_episode_steps, features, action, action_scale, reward,
            objective, corruption, data, normalizer, output, level, controls, render_mode:
            as for `OptEnv`.
        batching: "vmap", or "map": one row after the other, exactly.
        autoreset_mode: what happens to a row whose episode ended, an `AutoresetMode` or its
            value: the next step resets it (its action is ignored), the same step does
            (`info["final_obs"]` and `info["final_info"]` keep the end), or, "Disabled",
            `reset(options={"reset_mask": rows})` does and nothing else.

    `options={"task_seed": k}` moves all rows to another config; rows of different configs
    cannot share one program.

    Raises:
        ValueError: a value that cannot be, by name.
        RuntimeError: in a process forked while JAX ran (it would hang).
    """

    def __init__(
        self,
        num_envs: int,
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
        batching: str = "vmap",
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    ) -> None:
        asked = _episode_limit.asked(self, horizon, max_episode_steps)
        check_whole("num_envs", num_envs, 1)
        check_choice("batching", batching, BATCHINGS)
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
        self.num_envs = int(num_envs)
        self.render_mode = render_mode
        self._mode = _autoreset_mode(autoreset_mode)
        self.metadata = {
            "render_modes": list(RENDER_MODES),
            "render_fps": 30,
            "autoreset_mode": self._mode,
        }
        self._batching = batching
        self._generators: list[np.random.Generator | None] = [None] * self.num_envs
        self._seeds = [-1] * self.num_envs
        self._all = np.ones(self.num_envs, bool)
        self._losses: list[list[float]] = [[] for _ in range(self.num_envs)]
        self._diverged = np.zeros(self.num_envs, bool)
        self._use(settings)

    @property
    def autoreset_mode(self) -> AutoresetMode:
        """What happens to a row whose episode ended."""
        return self._mode

    @property
    def np_random(self) -> tuple[np.random.Generator, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The generators of the rows, as `SyncVectorEnv` has them."""
        return tuple(self._generator(i) for i in range(self.num_envs))

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The seeds of these generators."""
        self.np_random  # noqa: B018 — draws what was not seeded
        return tuple(self._seeds)

    @property
    def ended(self) -> Bool[np.ndarray, " n"]:
        """The rows whose episode ended and has not been reset yet."""
        return self._pending.copy()

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Begins new episodes: new instances, initial weights and batches.

        Args:
            seed: s (row i gets s + i), one a row, or None (the generators go on).
            options: "task_seed", another config for all; "reset_mask", numpy bool [N], the
                rows to reset.

        Raises:
            ValueError, TypeError: an unknown option, or one that cannot be.
            RuntimeError: in a process forked while JAX ran.
        """
        _fork.check_usable()
        options = _options.checked(options, ("task_seed", "reset_mask"))
        seeds = _options.seeds(seed, self.num_envs)
        which = _options.reset_mask(options.get("reset_mask"), self.num_envs)
        if not which.all() and self._rows is None:
            raise gym.error.ResetNeeded("the first reset must be of all rows")
        if "task_seed" in options:
            self._switch(options["task_seed"], which)
        for i in np.flatnonzero(which).tolist():
            if (row_seed := seeds[i]) is not None:
                self._generators[i], self._seeds[i] = seeding.np_random(row_seed)
        self._rows = self._rows or self._core.empty(self.num_envs)
        self._begin(which)
        self._pending = self._pending & ~which
        columns = _arrays.batch(self._core, self._rows, self._output)
        info = _arrays.batch_info(columns, which, np.zeros_like(which), self._output)
        return _arrays.observation(self._rows, self._output), info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """One inner step of every row.

        Raises:
            ValueError: actions of another shape or type than the space's.
            ResetNeeded: before the first reset, or, with autoreset disabled, where a row's
                episode ended and was not reset.
        """
        if self._rows is None:
            raise gym.error.ResetNeeded("call reset() first")
        ended = self._pending
        if self._mode is AutoresetMode.DISABLED and ended.any():
            raise gym.error.ResetNeeded(
                f"the episodes of rows {np.flatnonzero(ended).tolist()} have ended: "
                "reset(options={'reset_mask': ...}) first"
            )
        actions = as_actions(actions, self._actions_shape)
        stepped = self._core.step(
            self._rows.state, actions, ~ended, self._scale, self._batching
        )
        self._rows = stepped
        self._note(stepped, ~ended)
        if ended.any():  # NEXT_STEP: what the program gave for these rows is dropped
            self._begin(ended)
        done = _arrays.ended(self._rows)
        columns = _arrays.batch(self._core, self._rows, self._output)
        outcome = [columns[name] for name in _core.OUTCOME]
        begun, info = ended, {}
        if self._mode is not AutoresetMode.SAME_STEP:
            self._pending = done
        elif (begun := done).any():
            info = _arrays.final_info(self._rows, columns, done, self._output)
            self._begin(done)
            columns = _arrays.batch(self._core, self._rows, self._output)
        info |= _arrays.batch_info(columns, self._all, ~begun, self._output)
        observation = _arrays.observation(self._rows, self._output)
        return observation, *outcome, info

    def render(self) -> tuple[Any, ...] | None:
        """A frame a row: the loss so far, [320, 480, 3] uint8."""
        if self.render_mode is None:
            gym.logger.warn("render() needs an environment made with a render_mode")
            return None
        return tuple(
            self._frame(losses, bool(diverged))
            for losses, diverged in zip(self._losses, self._diverged, strict=True)
        )

    def close_extras(self, **kwargs: Any) -> None:
        """Lets go of the episodes; what was compiled stays for other environments.

        The `kwargs` of Gymnasium's `close` change nothing.
        """
        self._rows = None

    def _use(self, settings: OptEnvSettings) -> None:
        core = _core.core(settings)
        if not hasattr(self, "_core") or core.shapes != self._core.shapes:
            observation_shape, action_shape = core.shapes
            single = BroadcastBox(-np.inf, np.inf, observation_shape)
            self.single_observation_space = single
            self.observation_space = single.batched(self.num_envs)
            self.single_action_space = BroadcastBox(-1.0, 1.0, action_shape)
            self.action_space = self.single_action_space.batched(self.num_envs)
            self._actions_shape = (self.num_envs, *action_shape)
        self._settings, self._core = settings, core
        self._scale = _core.action_scale(settings)
        self._rows: _core.Rows | None = None
        self._pending = np.zeros(self.num_envs, bool)

    def _switch(self, wanted: Any, which: Bool[np.ndarray, " n"]) -> None:
        """Moves every row to the config of a task seed."""
        seeds = _options.task_seeds(wanted, self.num_envs)
        # None and 0 are the same config.
        now = self._settings.task_seed or 0
        seeds = [
            seed if moves else now for seed, moves in zip(seeds, which, strict=True)
        ]
        moved = [with_task_seed(self._settings, seed) for seed in dict.fromkeys(seeds)]
        if len(moved) > 1:
            raise ValueError(_options.mixed(moved))
        if seeds[0] != now or self._settings.task_seed is None:
            self._use(moved[0])

    def _begin(self, which: Bool[np.ndarray, " n"]) -> None:
        """Begins new episodes in the rows `which`."""
        assert self._rows is not None
        keys = np.zeros((self.num_envs, 2), np.uint32)
        for i in np.flatnonzero(which).tolist():
            keys[i] = _core.draw_key(self._generator(i))
            self._losses[i].clear()
        self._diverged &= ~which
        self._rows = self._core.reset(self._rows, keys, which, self.horizon)

    def _note(self, rows: _core.Rows, which: Bool[np.ndarray, " n"]) -> None:
        """Keeps what a picture needs."""
        if self.render_mode is None:
            return
        numbers = np.asarray(rows.numbers)
        loss, diverged = (self._core.columns.index(c) for c in ("loss", "diverged"))
        for i in np.flatnonzero(which).tolist():
            self._losses[i].append(float(numbers[i, loss]))
            self._diverged[i] = numbers[i, diverged] != 0

    def _generator(self, i: int) -> np.random.Generator:
        if (generator := self._generators[i]) is None:
            generator, self._seeds[i] = seeding.np_random()
            self._generators[i] = generator
        return generator


def _autoreset_mode(mode: AutoresetMode | str) -> AutoresetMode:
    known = [member.value for member in AutoresetMode]
    if not isinstance(mode, AutoresetMode):
        check_choice("autoreset_mode", mode, tuple(known))
    return AutoresetMode(mode)

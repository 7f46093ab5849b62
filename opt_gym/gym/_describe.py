"""What both environments say about themselves."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import gymnasium as gym
import jax
import numpy as np

from opt_gym.gym import OWN_TASK
from opt_gym.gym._core import EnvCore, Rows, core
from opt_gym.gym._layout import Segment
from opt_gym.gym._settings import OptEnvSettings
from opt_gym.gym.render import Picture, frame
from opt_gym.numerics import own_buffers
from opt_gym.records import Config, Env, Normalizer


class Described:
    """Attributes of the unwrapped environment, single or vector."""

    _settings: OptEnvSettings
    _core: EnvCore
    _rows: Rows | None
    _spec: Any = None

    @property
    def spec(self) -> Any:
        """Gymnasium's; it says the horizon by both names, and its id names no other task."""
        return self._spec

    @spec.setter
    def spec(self, spec: Any) -> None:
        if spec is not None:
            horizon = self.horizon
            spec = replace(
                spec,
                id=OWN_TASK if self._is_misnamed(spec) else spec.id,
                max_episode_steps=horizon,
                kwargs={**spec.kwargs, "horizon": horizon},
            )
        self._spec = spec

    def _is_misnamed(self, spec: Any) -> bool:
        registered = gym.registry.get(spec.id)
        named = registered is not None and isinstance(
            registered.kwargs.get("task"), str
        )
        return named and not isinstance(self._settings.task, str)

    def __copy__(self) -> Self:
        """As `deepcopy`: nothing that changes is shared."""
        return copy.deepcopy(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Another environment in the same state; programs and data are shared."""
        copied = memo[id(self)] = object.__new__(type(self))
        shared = ("_core", "_settings", "_rows")
        own = {key: value for key, value in vars(self).items() if key not in shared}
        vars(copied).update(vars(self), **copy.deepcopy(own, memo))
        if self._rows is not None:  # a step reuses the memory of its own
            copied._rows = self._rows._replace(state=own_buffers(self._rows.state))
        return copied

    def __getstate__(self) -> dict[str, Any]:
        """For pickle: arrays of numpy, and no program; that is compiled again, if need be.

        The normalizer goes along: what is looked up may be another one there.
        """
        state = {key: value for key, value in vars(self).items() if key != "_core"}
        rows = jax.device_get(self._rows)
        return {**state, "_rows": rows, "_normalizer": self.normalizer}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """The same state, on the device."""
        state = dict(state)
        normalizer = state.pop("_normalizer", state["_settings"].normalizer)
        settings = state["_settings"]._replace(normalizer=normalizer)
        vars(self).update(state, _core=core(settings))
        self._rows = jax.device_put(state["_rows"])

    @property
    def horizon(self) -> int:
        """Inner steps of an episode."""
        return self._settings.horizon

    @property
    def task_seed(self) -> int | None:
        """Which config of a family; None where nobody picked one, which is 0."""
        return self._settings.task_seed

    @property
    def config(self) -> Config:
        """A copy of the task config: edit it by hand and pass it as `task`."""
        return copy.deepcopy(self._core.env.task.config)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The columns of an observation."""
        return self._core.layout.feature_names

    @property
    def segments(self) -> tuple[Segment, ...]:
        """(name, start, stop, shape, role) of every tensor of φ, in the order of rows."""
        return self._core.layout.segments

    @property
    def dataset(self) -> str:
        """Which data serve: the original, a stand-in and what it is made of, or none."""
        return self._core.dataset

    @property
    def normalizer(self) -> Normalizer:
        """Where the normalized loss is 1 and 0, and where these come from."""
        return self._core.env.normalizer

    @property
    def functional(self) -> Env:
        """The pure functions behind it, as `opt_gym.make` gives them."""
        return self._core.env

    @property
    def _output(self) -> str:
        return self._settings.output

    def _frame(self, losses: Sequence[float], diverged: bool) -> np.ndarray:
        picture = Picture(
            title=self._core.title,
            losses=losses,
            horizon=self.horizon,
            normalizer=self.normalizer,
            diverged=diverged,
        )
        return frame(picture)

"""What both environments say about themselves."""

import copy
from collections.abc import Sequence

import numpy as np

from opt_gym.gym._core import EnvCore
from opt_gym.gym._layout import Segment
from opt_gym.gym._settings import OptEnvSettings
from opt_gym.gym.render import Picture, frame
from opt_gym.records import Config, Env, Normalizer


class Described:
    """Attributes of the unwrapped environment, single or vector."""

    _settings: OptEnvSettings
    _core: EnvCore

    @property
    def horizon(self) -> int:
        """Inner steps of an episode."""
        return self._settings.horizon

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

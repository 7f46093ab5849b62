"""What an evaluation is asked and what it gives: `EvaluationSettings` and `Runs`."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from opt_gym.data.corruptions import Corruption
from opt_gym.records import Config, EnvSettings, Normalizer, Task

TaskLike = str | Config | Task
"""An id, a config or a Task: what `opt_gym.make` takes."""


class EvaluationSettings(NamedTuple):
    """How every run of an evaluation is made; the keywords of `evaluate`.

    Attributes:
        horizon: inner steps, or several such numbers; all of them use one compiled program.
        num_seeds: episodes (initial weights and batches), the same for every optimizer.
        seed: which set of episodes.
        num_points: evaluation points of a run, step 0 and the horizon among them.
        spacing: of the points, "log" or "even".
        num_batches: batches of an evaluation, of each split; always the same ones.
        objective, corruption, data, valid_every: as in `opt_gym.make`.
        normalizer: instead of the one that `opt_gym.make` looks up.
    """

    horizon: int | tuple[int, ...] = 1000
    num_seeds: int = 5
    seed: int = 0
    num_points: int = 50
    spacing: str = "log"
    num_batches: int = 5
    objective: str = "train"
    corruption: str | tuple[Corruption, ...] = "training"
    data: str = "auto"
    valid_every: int = 0
    normalizer: Normalizer | None = None

    @property
    def env_settings(self) -> EnvSettings:
        """What its environments are made with."""
        return EnvSettings(self.objective, self.corruption, self.data, self.valid_every)

    @property
    def horizons(self) -> tuple[int, ...]:
        """All of them, in order."""
        horizon = self.horizon
        return (horizon,) if isinstance(horizon, int) else tuple(horizon)


class Runs(NamedTuple):
    """One optimizer on one task, all seeds.

    Losses are as they came out: those of a diverged run may be infinite or NaN. `mean_cost`
    and `costs` are finite always.

    Attributes:
        task, config: the task's name and its config.
        optimizer: its name (and variant).
        horizon, objective, normalizer: of the runs.
        seconds_per_step: see `program.seconds_per_step`.
        inner_steps: [points], updates done at each evaluation.
        train_loss, valid_loss, test_loss, objective_loss: [seeds, points], means over the
            evaluation batches; valid is the split `valid_outer`.
        accuracy: [seeds, points] on test; NaN where the task has none.
        mean_cost: [seeds], ℓ̃ averaged over every inner step: the outer-loss.
        diverged: [seeds], whether a loss or gradient became non-finite.
    """

    task: str
    config: Config
    optimizer: str
    horizon: int
    objective: str
    normalizer: Normalizer
    seconds_per_step: float
    inner_steps: Int[np.ndarray, " points"]
    train_loss: Float[np.ndarray, "seeds points"]
    valid_loss: Float[np.ndarray, "seeds points"]
    test_loss: Float[np.ndarray, "seeds points"]
    objective_loss: Float[np.ndarray, "seeds points"]
    accuracy: Float[np.ndarray, "seeds points"]
    mean_cost: Float[np.ndarray, " seeds"]
    diverged: Bool[np.ndarray, " seeds"]

    @property
    def seconds(self) -> Float[np.ndarray, " points"]:
        """Wall time at each evaluation point, evaluations not counted."""
        return self.inner_steps * self.seconds_per_step

    @property
    def costs(self) -> Float[np.ndarray, "seeds points"]:
        """ℓ̃ of the objective's loss at each evaluation point, in [−2, 2]."""
        best, span = (
            self.normalizer.best,
            self.normalizer.initial - self.normalizer.best,
        )
        costs = np.clip((self.objective_loss - best) / span, -2.0, 2.0)
        return np.where(np.isfinite(self.objective_loss), costs, 2.0)


ARRAYS = (
    "inner_steps",
    "train_loss",
    "valid_loss",
    "test_loss",
    "objective_loss",
    "accuracy",
    "mean_cost",
    "diverged",
)
"""The fields of `Runs` that are arrays."""

"""Which tasks an outer step takes: in turn, or at random with weights, a few at a time."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from opt_gym.checks import check_weights, check_whole
from opt_gym.records import Config, Env

T = TypeVar("T")

MAX_PROGRAMS = 24
"""Linux lets a process map 65,530 pieces of memory, and XLA's CPU compiler takes 1,780 of them
for a task's two programs (measured with `nominal` on small_mlp); beyond that it crashes."""


class TaskMix(NamedTuple):
    """A list of tasks and how outer steps go through it.

    A function of the outer step alone, so that a resumed run takes the same tasks.

    Attributes:
        envs: the tasks.
        weights: how often each is taken, relative to the others; () for all in turn.
        per_step: tasks an outer step takes, their gradients averaged.
        max_programs: how many tasks are live, with their programs compiled; 0 for all.
        refresh_every: outer steps after which the oldest of the live tasks gives way to the
            next: its programs are freed, its unrolls end, and when it comes back it begins
            as at first. Meanwhile it had refresh_every · per_step windows, which should be
            several episodes.
        seed: of the draws.
        grow_by: how many tasks are live in the first outer step, and how many more in every
            later one, so that training begins while the others compile; while fewer than
            `per_step` are live, a step takes them all. 0: all are live at once.
    """

    envs: tuple[Env, ...]
    weights: tuple[float, ...] = ()
    per_step: int = 1
    max_programs: int = 0
    refresh_every: int = 50
    seed: int = 0
    grow_by: int = 0

    @property
    def config(self) -> Config:
        """JSON that identifies the mix."""
        config = {
            **self._asdict(),
            "envs": [env.config for env in self.envs],
            "weights": list(self.weights),
        }
        if not self.grow_by:  # runs of older versions did not know it
            del config["grow_by"]
        return config

    def of_live(
        self, outer_step: int, known: Mapping[int, T], begin: Callable[[int], T]
    ) -> dict[int, T]:
        """What is `known` of each task live in `outer_step`; else what `begin(task)` gives."""
        return {
            task: known[task] if task in known else begin(task)
            for task in sorted(self.live(outer_step))
        }

    def live(self, outer_step: int) -> tuple[int, ...]:
        """The tasks (places in `envs`) that are live in `outer_step`, the oldest first."""
        count = len(self.envs)
        if not self._take_turns:
            so_far = self.grow_by * (outer_step + 1) or count
            return tuple(range(min(count, so_far)))
        first = outer_step // self.refresh_every
        return tuple(place % count for place in range(first, first + self.max_programs))

    @property
    def _take_turns(self) -> bool:
        """Whether some of the tasks wait."""
        return 0 < self.max_programs < len(self.envs)

    def check_episodes(self, num_windows: int) -> None:
        """Raises ValueError where a task is not live for two episodes of `num_windows`.

        What is after the end of the last whole episode is trained too seldom.
        """
        windows = self.refresh_every * self.per_step
        if self._take_turns and windows < 2 * num_windows:
            raise ValueError(
                f"a task is live for {windows} windows (refresh_every={self.refresh_every} x "
                f"per_step={self.per_step}) and an episode lasts {num_windows}: it needs two; "
                f"raise refresh_every, or max_programs to the number of tasks"
            )

    def pick(self, outer_step: int) -> tuple[int, ...]:
        """The tasks (places in `envs`) that `outer_step` takes, all different."""
        live = self.live(outer_step)
        taken = min(self.per_step, len(live))
        if not self.weights:
            first = outer_step * self.per_step
            places = [(first + i) % len(live) for i in range(taken)]
            return tuple(live[place] for place in places)
        shares = np.array([self.weights[task] for task in live])
        draw = np.random.default_rng((self.seed, outer_step))
        places = draw.choice(len(live), taken, replace=False, p=shares / shares.sum())
        return tuple(live[int(place)] for place in places)


def task_mix(
    envs: Sequence[Env],
    weights: Sequence[float] = (),
    *,
    per_step: int = 1,
    max_programs: int = MAX_PROGRAMS,
    refresh_every: int = 50,
    seed: int = 0,
    grow_by: int = 0,
) -> TaskMix:
    """A checked `TaskMix`.

    Args:
        envs, weights, per_step, max_programs, refresh_every, seed, grow_by: as its
            attributes.

    Raises:
        ValueError: no envs; weights of another number or not above 0; per_step that is not
            in 1 ... the number of (live) tasks; max_programs < 0; refresh_every < 1;
            grow_by < 0, or above 0 where not all tasks are live in the end.
    """
    if not envs:
        raise ValueError("an outer-trainer needs at least one env, got none")
    check_weights(weights, len(envs))
    check_whole("max_programs", max_programs, 0)
    check_whole("refresh_every", refresh_every, 1)
    check_whole("grow_by", grow_by, 0)
    if grow_by and 0 < max_programs < len(envs):
        raise ValueError(
            f"grow_by={grow_by} needs all {len(envs)} tasks live in the end, max_programs is "
            f"{max_programs}"
        )
    check_whole("per_step", per_step, 1, min(max_programs or len(envs), len(envs)))
    return TaskMix(
        tuple(envs),
        tuple(weights),
        per_step,
        max_programs,
        refresh_every,
        seed,
        grow_by,
    )

"""The compiled programs of the tasks that are live."""

from collections.abc import Callable
from typing import Generic, TypeVar

from agents.checkpoint import digest
from agents.task_mixes import TaskMix
from opt_gym.records import Env
from opt_gym.runtime import strategy

Built = TypeVar("Built")


class LivePrograms(Generic[Built]):
    """What `build` makes of an environment of `mix`, kept for as long as its task is live.

    Tasks of one config share it, for they compile alike. Where the process holds so many
    programs that the next could crash it, the oldest are given up, live or not.
    """

    def __init__(self, build: Callable[[Env], Built], mix: TaskMix) -> None:
        self._build, self._mix = build, mix
        self._kinds = [
            # A Task made by hand may share its config with another one.
            digest(env.config) if "family" in env.task.config else str(place)
            for place, env in enumerate(mix.envs)
        ]
        self._built: dict[str, Built] = {}

    def of(self, task: int, outer_step: int) -> Built:
        """What was built of `task`; that of tasks not live in `outer_step` is freed."""
        kind = self._kinds[task]
        if kind not in self._built:
            kept = {self._kinds[other] for other in self._mix.live(outer_step)}
            gone = [other for other in self._built if other not in kept]
            for other in gone:
                del self._built[other]
            if gone:
                strategy.trim_memory()
            while self._built and strategy.is_crowded():
                del self._built[next(iter(self._built))]
                strategy.trim_memory()
            self._built[kind] = self._build(self._mix.envs[task])
        return self._built[kind]

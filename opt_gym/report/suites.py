"""What a suite is; those that come with the package are `envs_registry.judge_suites`."""

from collections.abc import Mapping
from typing import NamedTuple

from opt_gym.evaluation.runs import TaskLike


class Suite(NamedTuple):
    """Tasks to judge optimizers on.

    Attributes:
        name: as `opt-gym report --suite` takes it.
        status: "development", on which anything may be chosen, or "test", where a θ is
            entered twice at most.
        about: a sentence.
        parts: task by name, by list.
        num_seeds: of every task, unless one asks otherwise.
        num_quick: tasks of a quick report, evenly spaced in the lists.
    """

    name: str
    status: str
    about: str
    parts: Mapping[str, Mapping[str, TaskLike]]
    num_seeds: int = 5
    num_quick: int = 6

    @property
    def quick(self) -> "Suite":
        """A few of its tasks, with one seed."""
        all_tasks = [(part, name) for part, own in self.parts.items() for name in own]
        stride = max(1, len(all_tasks) // self.num_quick)
        kept = set(all_tasks[::stride][: self.num_quick])
        parts = {
            part: {name: task for name, task in own.items() if (part, name) in kept}
            for part, own in self.parts.items()
        }
        return self._replace(
            about=f"quick: {len(kept)} of {len(all_tasks)} tasks of: {self.about}",
            parts={part: own for part, own in parts.items() if own},
            num_seeds=1,
        )

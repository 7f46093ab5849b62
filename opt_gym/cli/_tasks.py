"""What a user may write for a task, and what the commands have in common."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from envs_registry.benchmark_sets import BENCHMARK_SETS


def with_config(task: Any) -> Any:
    """A .json file as {"name": ..., "config": ...}; all else stays."""
    if isinstance(task, str) and task.endswith(".json"):
        return {"name": Path(task).stem, "config": _read_config(Path(task))}
    return task


def expand(tasks: Sequence[Any]) -> dict[str, Any]:
    """Names, ids, frozen lists and .json files -> {name: id or config}.

    Two files with one name and different configs are told apart by their folders.

    Raises:
        ValueError: nothing given, a file that holds no config, a name that is unknown.
    """
    from opt_gym import factory, plugins
    from opt_gym.evaluation.evaluations import name_tasks

    named: dict[str, Any] = {}
    for task in tasks:
        if isinstance(task, dict):
            _add(named, task["name"], task["name"], task["config"])
        elif task in BENCHMARK_SETS:
            named.update({name: name for name in BENCHMARK_SETS[task]})
        elif task.endswith(".json"):
            _add(named, Path(task).stem, task, _read_config(Path(task)))
        elif "/" in task:
            raise ValueError(
                plugins.unknown("frozen list of tasks", task, list(BENCHMARK_SETS))
            )
        else:
            factory.task_config(task)  # an unknown name is an error before any work
            named.update(name_tasks([task]))
    if not named:
        raise ValueError(f"no tasks given; frozen lists: {', '.join(BENCHMARK_SETS)}")
    return named


def _add(named: dict[str, Any], name: str, longer: str, config: Any) -> None:
    """Adds a config under its name, or a longer one where that is another's."""
    taken = named.get(name, config) != config
    while taken and longer in named and named[longer] != config:
        longer += "'"
    named[longer if taken else name] = config


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply for a task config") from None
    if not isinstance(config, dict) or "family" not in config:
        raise ValueError(f"{path} holds no task config (a JSON object with 'family')")
    from opt_gym import factory

    try:
        factory.make_task(config)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return config

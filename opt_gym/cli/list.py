"""`opt-gym list`: names of everything there is. Imports no JAX."""

import sys
from typing import Annotated, Literal

import tyro

from envs_registry import names
from envs_registry.benchmark_sets import BENCHMARK_SETS
from opt_gym import plugins

Kind = Literal["tasks", "sets", "architectures", "trainers", "features", "actions"]
_PLUGINS = {
    "architectures": "architecture",
    "trainers": "trainer",
    "features": "features",
    "actions": "action",
}


def list_names(
    kind: Annotated[Kind, tyro.conf.Positional] = "tasks",
    family: str | None = None,
    contains: str = "",
) -> int:
    """Lists what there is, one name a line.

    Try:
      opt-gym list                        every environment id
      opt-gym list --family conv_pooling --contains seed1
      opt-gym list architectures          learned and hand-designed optimizers
      opt-gym list sets                   frozen lists of tasks

    Args:
        kind: what to list; "tasks" prints Gymnasium ids, "sets" frozen lists of tasks.
        family: only the tasks of this family.
        contains: only names with this text.
    """
    if family is not None and family not in names.families():
        raise ValueError(plugins.unknown("task family", family, names.families()))
    if kind == "tasks":
        tasks = names.task_names()
        if family is not None:
            own = (family, f"{family}_family_seed")
            tasks = [t for t in tasks if t == own[0] or t.startswith(own[1])]
        lines = [names.env_id(task) for task in tasks]
    elif kind == "sets":
        lines = [
            f"{name}  {len(tasks)} tasks: {tasks[0]} ... {tasks[-1]}"
            for name, tasks in BENCHMARK_SETS.items()
        ]
    else:
        lines = plugins.names(_PLUGINS[kind])
    lines = [line for line in lines if contains in line]
    for line in lines:
        print(line)
    if not lines:
        print(f"no {kind} match", file=sys.stderr)
    return 0

"""Every environment id, as strings: importing this costs milliseconds and no JAX.

`OptTask-<family>-v0` draws everything anew; `OptTask-<family>_family_seed<k>-v0` is one
TaskSet task, `..._family_seed<k>_tiny-v0` its tiny twin, `OptTask-<name>-v0` a task with a name
of its own. The families are the files
of `opt_gym/tasks` and those that come from outside, which are not imported for it; the named
tasks are those of `opt_gym/tasks/named`; what TaskSet published of the families is data here.
"""

from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from opt_gym import plugins
from opt_gym.gym import OWN_TASK

STATISTICS_TABLE = Path(__file__).with_name("statistics.csv")
_SETS = Path(__file__).with_name("sets")

PUBLISHED_SEEDS = range(100)
"""The seeds k of TaskSet's family tasks; its configs exist up to 999."""

INFEASIBLE_SEEDS: dict[str, tuple[int, ...]] = {
    "mlp": (),
    "mlp_ae": (),
    "mlp_vae": (),
    "conv_fc": (25, 33, 43, 56, 66),
    "conv_pooling": (33, 42, 43, 56, 66),
    "nvp": (),
    "maf": (),
    "char_rnn_language_model": (),
    "word_rnn_language_model": (),
    "rnn_text_classification": (),
    "quadratic": (),
    "losg_tasks": (),
}
"""TaskSet's families, and the seeds whose config cannot be built: there a VALID 3x3
convolution meets a feature map smaller than 3."""


def families() -> list[str]:
    """Every task family, those from outside included."""
    return plugins.names("task")


def family_tasks(family: str) -> list[str]:
    """The feasible ones of a TaskSet family's published tasks; none for other families."""
    infeasible = INFEASIBLE_SEEDS.get(family)
    if infeasible is None:
        return []
    seeds = (k for k in PUBLISHED_SEEDS if k not in infeasible)
    return [f"{family}_family_seed{k}" for k in seeds]


def published_tasks() -> list[str]:
    """TaskSet's tasks that can be built: 1,190 of its families and the 109 fixed ones."""
    names = [name for family in INFEASIBLE_SEEDS for name in family_tasks(family)]
    return [*names, *_named("PUBLISHED")]


def tiny_tasks() -> list[str]:
    """The tiny twins of the frozen lists; that of any other task is `<name>_tiny`, too."""
    paths = sorted(_SETS.glob("taskset-tiny-*.txt"), reverse=True)
    return [name for path in paths for name in path.read_text().split()]


def task_names() -> list[str]:
    """Every `<name>` of `OptTask-<name>-v0`."""
    names = families()
    of_families = (t for f in names for t in family_tasks(f))
    return [*names, *of_families, *_named(), *tiny_tasks()]


def family_of(task_name: str) -> str:
    """The family that the config of `task_name` belongs to."""
    plain = task_name.removesuffix(_named("TINY_SUFFIX"))
    named = _named().get(plain)
    if named is not None:
        return named["family"]
    return plain.rpartition("_family_seed")[0] or plain


def _named(table: str = "TASKS") -> Any:
    # Imported here: opt_gym imports this file while it is itself being imported.
    from opt_gym.tasks import named

    return getattr(named, table)


def env_id(task_name: str) -> str:
    """The Gymnasium id of a task, `OptTask-<task_name>-v0`."""
    return f"OptTask-{task_name}-v0"


def register_envs() -> None:
    """Writes every id into Gymnasium's registry.

    A family that another package announces under the name of a task is left out, with a
    warning.
    """
    taken = {*_named(), *(t for f in INFEASIBLE_SEEDS for t in family_tasks(f))}
    for family in taken.intersection(families()):
        plugins.refuse("task", family, "a task has this name")
    for name in task_names():
        _register_id(env_id(name), task=name)
    _register_id(OWN_TASK)


def register(spec: plugins.Spec) -> plugins.Spec:
    """Makes a plug-in's `spec` known to this process under its kind and name, and returns it.

    A task family has its Gymnasium id `OptTask-<name>-v0` from then on.

    Raises:
        ValueError: a SPEC that cannot be used, or a name that another plug-in or task has.
    """
    if spec in plugins.registered():
        return spec
    if getattr(spec, "kind", None) == "task" and spec.name in task_names():
        raise ValueError(f"a task named {spec.name!r} exists already")
    plugins.add_spec(spec)
    if spec.kind == "task":
        _register_id(env_id(spec.name), task=spec.name)
    return spec


def _register_id(env_id: str, **keywords: str) -> None:
    """Makes one id known to Gymnasium.

    Straight into the dictionary: `gymnasium.register` scans it at every call, which for a
    thousand ids costs more than all the rest of the import.
    """
    spec = EnvSpec(
        id=env_id,
        entry_point="opt_gym.gym.opt_env:OptEnv",
        vector_entry_point="opt_gym.gym.opt_vector_env:OptVectorEnv",
        kwargs=keywords,
    )
    gym.registry[spec.id] = spec

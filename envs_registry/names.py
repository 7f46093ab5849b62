"""Every environment id, as strings: importing this costs milliseconds and no JAX.

`OptTask-<family>-v0` draws everything anew; `OptTask-<family>_family_seed<k>-v0` is one
TaskSet task. The families are the files of `opt_gym/tasks`; what TaskSet published of them
is data here.
"""

from pathlib import Path

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

NORMALIZER_TABLE = Path(__file__).with_name("normalizers.csv")

PUBLISHED_SEEDS = range(100)
"""The seeds k of TaskSet's family tasks; its configs exist up to 999."""

INFEASIBLE_SEEDS: dict[str, tuple[int, ...]] = {
    "mlp": (),
    "conv_pooling": (33, 42, 43, 56, 66),
    "quadratic": (),
}
"""TaskSet's families, and the seeds whose config cannot be built: there a VALID 3x3
convolution meets a feature map smaller than 3."""

_TASKS = Path(__file__).resolve().parent.parent / "opt_gym" / "tasks"


def families() -> list[str]:
    """The built-in task families."""
    return sorted(p.stem for p in _TASKS.glob("*.py") if not p.stem.startswith("_"))


def task_names() -> list[str]:
    """Every `<name>` of `OptTask-<name>-v0`."""
    names = list(families())
    for family in families():
        infeasible = INFEASIBLE_SEEDS.get(family)
        if infeasible is not None:
            seeds = (k for k in PUBLISHED_SEEDS if k not in infeasible)
            names += [f"{family}_family_seed{k}" for k in seeds]
    return names


def env_id(task_name: str) -> str:
    """The Gymnasium id of a task name."""
    return f"OptTask-{task_name}-v0"


def register_envs() -> None:
    """Writes every id into Gymnasium's registry.

    Straight into the dictionary: `gymnasium.register` scans it at every call, which for a
    thousand ids costs more than all the rest of the import.
    """
    for name in task_names():
        spec = EnvSpec(
            id=env_id(name),
            entry_point="opt_gym.gym.env:OptEnv",
            vector_entry_point="opt_gym.gym.vector:OptVectorEnv",
            kwargs={"task": name},
        )
        gym.registry[spec.id] = spec

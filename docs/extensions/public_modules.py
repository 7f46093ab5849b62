"""Which modules are public, and which of their names: said here, and nowhere else.

The reference is made of this, and `python -m tests.public_api` keeps a snapshot of it.
"""

import ast
import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any

PACKAGES = ("agents", "envs_registry", "learned", "opt_gym")

MODULES = {
    "opt_gym": "tasks and environments as pure functions",
    "opt_gym.gym.opt_env": "what `gym.make` gives",
    "opt_gym.gym.opt_vector_env": "what `gym.make_vec` gives",
    "opt_gym.gym.mixture_vector_env": "one vector environment of several tasks",
    "opt_gym.evaluation": "runs, baselines, comparisons",
    "opt_gym.report": "reports on entrants, beside the archive",
    "opt_gym.judge.*": "scores and intervals, pure functions of losses",
    "opt_gym.twins": "tiny twins of tasks",
    "opt_gym.data.corruptions": "what noisy inputs are corrupted with",
    "opt_gym.records": "the records of tasks, environments and learned optimizers",
    "opt_gym.plugins": "how plug-ins are named, found and made",
    "opt_gym.testing": "what a plug-in must do, as checks to run",
    "opt_gym.checks": "values that are refused by name",
    "opt_gym.maths.*": "mathematics that runs in JAX and in torch",
    "opt_gym.tasks.building.*": "what task families are made of",
    "learned": "learned optimizers: make, load, save, and out into optax",
    "learned.torch": "the same in torch",
    "learned.building.*": "what architectures are made of",
    "agents": "outer-trainers, and the loop around them",
    "agents.outer_optimizers": "the usual optax transformations, with schedules and clipping",
    "agents.task_workers": "many tasks, held by processes of this machine",
    "agents.ray_workers": "unlike tasks, on machines of a Ray cluster",
    "agents.rl.sb3.sb3_vec_env": "vector environments for stable-baselines3",
    "agents.rl.sb3.sb3_policy": "PPO with a policy shared over parameters",
    "agents.rl.sb3.sb3_weights": "such a policy as a θ, and back",
    "agents.callbacks": "progress bars, logs, evaluations on the way",
    "agents.records": "the records of outer-training",
    "agents.estimators.*": "what trainers are made of",
    "envs_registry.benchmark_sets": "frozen lists of tasks",
    "envs_registry.names": "all ids",
}
"""What each is for; `.*` is the package and every file in it.

Public is what a module's `__all__` lists, or else what it defines without a leading `_`.
"""


def public_modules() -> Iterator[tuple[str, ModuleType]]:
    """(line of `MODULES`, module) of all of them."""
    for pattern in MODULES:
        for module in matching(pattern):
            yield pattern, module


def matching(pattern: str) -> Iterator[ModuleType]:
    """The modules of one line of `MODULES`; none where there is no such file."""
    name = pattern.removesuffix(".*")
    if importlib.util.find_spec(name) is None:
        return
    module = importlib.import_module(name)
    yield module
    if name != pattern:
        for inside in sorted(pkgutil.iter_modules(module.__path__)):
            if not inside.name.startswith("_"):
                yield importlib.import_module(f"{name}.{inside.name}")


def public_names(module: ModuleType) -> list[str]:
    """The public names of a module, sorted."""
    return sorted(getattr(module, "__all__", None) or defined(module))


def defined(module: ModuleType) -> set[str]:
    """The public names that a module's own lines give: functions, classes, constants."""
    names: set[str] = set()
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {
                x.id for t in targets for x in ast.walk(t) if isinstance(x, ast.Name)
            }
    return {name for name in names if not name.startswith("_")}


def is_class(value: Any) -> bool:
    """Whether it is a class of ours."""
    return inspect.isclass(value) and value.__module__.startswith(PACKAGES)


def is_function(value: Any) -> bool:
    """Whether it is a function."""
    return inspect.isfunction(inspect.unwrap(value))


def parts(cls: type) -> Iterator[tuple[str, Any]]:
    """(name, function or property): what our own classes give, not what they inherit."""
    owners = [owner for owner in cls.__mro__ if owner.__module__.startswith(PACKAGES)]
    members = {name: value for o in reversed(owners) for name, value in vars(o).items()}
    for name, value in sorted(members.items()):
        if name == "__call__" or not name.startswith("_"):
            value = getattr(value, "__func__", value)
            if inspect.isfunction(value) or isinstance(value, property):
                yield name, value

"""From a name, a config or a task to the records: `make`, `make_task`, `load_data`."""

import copy
import copyreg
import re
from functools import lru_cache
from typing import Any

import jax

from opt_gym import normalize, plugins, twins
from opt_gym.adapters import reparameterisation
from opt_gym.checks import check_choice, check_whole
from opt_gym.data.catalog import SOURCES
from opt_gym.data.corruptions import Corruption
from opt_gym.env import build
from opt_gym.numerics import record_with_fixed_numerics, with_fixed_numerics
from opt_gym.objectives import check_objective
from opt_gym.records import (
    ActionMap,
    Config,
    Data,
    Env,
    EnvSettings,
    Features,
    LearnedOptimizer,
    Normalizer,
    Task,
)
from opt_gym.runtime import strategy
from opt_gym.tasks import named

_ID = re.compile(r"^(?:opt_gym:)?(?:OptTask-)?(?P<name>.+?)(?:-v0)?$")
_SEEDED = re.compile(r"^(?P<family>.+)_family_seed(?P<seed>\d+)$")
_SEED_KEYS = ("seed", "problem_seed")
_placed: dict[tuple[int, ...], tuple[Any, Any]] = {}
_MAX_PLACED = 8


def make(
    task: str | Config | Task,
    *,
    task_seed: int | None = None,
    learned_optimizer: LearnedOptimizer | None = None,
    features: str | Features = "mlp",
    action: str | ActionMap = "update",
    objective: str = "train",
    corruption: str | tuple[Corruption, ...] = "training",
    data: str = "auto",
    normalizer: Normalizer | None = None,
    valid_every: int = 0,
    second_derivatives: bool = False,
    hide_loss: float = 0.0,
    hide_horizon: float = 0.0,
) -> Env:
    """The functional environment of one task.

    Args:
        task: an id ("OptTask-mlp-v0", "mlp", "mlp_family_seed3"), a task config, or a Task.
        task_seed: which config of a family ("OptTask-mlp-v0"); by default a feasible one.
        learned_optimizer: whose features and action map to use, instead of the next two.
        features, action: names, or records.
        objective: "train", "valid" or "noisy".
        corruption: for "noisy": a named set or names (`opt_gym.data.corruptions`).
        data: "auto" (prepared originals where there are any), "embedded" or "tfds".
        normalizer: by default looked up (`opt_gym.normalize`); nothing is ever trained here.
        valid_every: how often `Signal.valid_loss` is refreshed; 0 is never.
        second_derivatives: let backprop see how a gradient depends on φ.
        hide_loss, hide_horizon: the share of episodes in which an optimizer that only
            welcomes them is not told the loss, or the horizon.

    Raises:
        ValueError: an unknown name (near matches are named), a config that is not feasible,
            or a share that is none.
    """
    settings = EnvSettings(
        objective,
        corruption,
        data,
        valid_every,
        second_derivatives,
        hide_loss,
        hide_horizon,
    )
    if learned_optimizer is not None:
        features, action = learned_optimizer.features, learned_optimizer.action_map
    return make_env(task, features, action, settings, normalizer, task_seed)


@with_fixed_numerics
def make_env(
    task: str | Config | Task,
    features: str | Features,
    action: str | ActionMap,
    settings: EnvSettings,
    normalizer: Normalizer | None = None,
    task_seed: int | None = None,
) -> Env:
    """`make`, behind its door: names become records, and a normalizer is looked up."""
    strategy.use_compilation_cache()
    check_choice("data", settings.data, SOURCES)
    check_whole("valid_every", settings.valid_every, 0)
    task = as_task(task, task_seed)
    seen: Features = _built("features", features, Features)
    action_map: ActionMap = _built("action", action, ActionMap)
    check_objective(task, settings.objective)
    if normalizer is None:
        normalizer = normalize.lookup(
            task, settings.objective, settings.data, settings.corruption
        )
    return build(task, seen, action_map, normalizer, settings)


def _built(kind: str, plugin: Any, record: type) -> Any:
    if isinstance(plugin, str):
        return plugins.build(kind, plugin)
    if not isinstance(plugin, record):
        raise ValueError(
            f"{kind} must be a name or {record.__name__} record, got {plugin!r}"
        )
    return plugin


def as_task(task: str | Config | Task, task_seed: int | None = None) -> Task:
    """What an id, a config or a Task stands for; errors as those of `make`."""
    if not isinstance(task, Task):
        config = task_config(task, task_seed)
        try:
            return make_task(config)
        except ValueError as error:
            if not isinstance(task, str):
                raise
            raise ValueError(f"{task}: {error}") from error
    if task_seed is not None:
        raise ValueError(f"task_seed={task_seed} picks a config; a Task is one already")
    return task


@with_fixed_numerics
def make_task(config: Config) -> Task:
    """The task of a config, `{"family": name, ...}`.

    With the key "reparameterised" ({"level": ..., "low": ..., "high": ...}) its weights are
    stored in another scale: see `opt_gym.adapters.reparameterisation`.

    Raises:
        ValueError: no dict; no or an unknown family; a key that is missing, unknown or has a
            value that cannot be (the message names it).
    """
    if not isinstance(config, dict):
        raise ValueError(
            "a task config is a dict with the key 'family'; task_config gives that of an id, "
            f"got {config!r}"
        )
    try:
        config = copy.deepcopy(config)  # the task's own
    except RecursionError:
        raise ValueError("the task config is nested too deeply") from None
    if "family" not in config:
        raise ValueError(
            f"a task config needs the key 'family', one of {plugins.names('task')}; "
            f"got the keys {sorted(config)}"
        )
    plain, settings = reparameterisation.split(config)
    task = plugins.spec("task", plain["family"]).make(plain)
    if settings is not None:
        task = reparameterisation.reparameterised(task, **settings)
    return record_with_fixed_numerics(task)


def _reduced(task: Task) -> tuple[Any, tuple]:
    """How pickle makes a task again: from its config."""
    family = task.config.get("family")
    plugins.check_told("task", family, task, lambda: make_task(task.config))
    return make_task, (task.config,)


copyreg.pickle(Task, _reduced)  # pyright: ignore[reportArgumentType]


def task_config(task: str | Config, task_seed: int | None = None) -> Config:
    """The config behind an id or a name; a config is returned as it is.

    `OptTask-<family>-v0` draws everything anew: what TaskSet seeds (a quadratic's matrix)
    follows the reset key there, so its config has null for its seed. `<name>_tiny` is the
    twin of what `<name>` stands for (`opt_gym.twins`).

    Raises:
        ValueError: an unknown name, a task_seed that contradicts it, or a twin of a task
            that has none.
    """
    if isinstance(task, dict):
        if task_seed is not None:
            raise ValueError(f"task_seed={task_seed} picks a config, but one was given")
        return task
    if not isinstance(task, str):
        raise ValueError(f"a task is a name, a config (a dict) or a Task, got {task!r}")
    parsed = _ID.match(task)
    name = parsed["name"] if parsed else task
    if name.endswith(named.TINY_SUFFIX) and name not in plugins.names("task"):
        return copy.deepcopy(_twin(name.removesuffix(named.TINY_SUFFIX), task_seed))
    if name in named.TASKS:
        if task_seed is not None:
            raise ValueError(f"{task!r} is one task; task_seed={task_seed} picks none")
        return copy.deepcopy(named.TASKS[name])
    return _family_config(name, task, task_seed)


@lru_cache(maxsize=1024)
def _twin(name: str, task_seed: int | None) -> Config:
    """Of a task. To find its widths takes 45 ms, and names are looked up again and again."""
    return twins.twin(task_config(name, task_seed))


def _family_config(name: str, task: str, task_seed: int | None) -> Config:
    """Of "<family>" or "<family>_family_seed<k>"; `task` is what somebody wrote for it."""
    seeded = _SEEDED.match(name)
    if seeded and task_seed is not None:
        raise ValueError(
            f"{task!r} names its seed; task_seed={task_seed} contradicts it"
        )
    family = seeded["family"] if seeded else name
    if family not in plugins.names("task") and not plugins.is_refused("task", family):
        known = [*plugins.names("task"), *named.TASKS]
        raise ValueError(plugins.unknown("task", task, known))
    if task_seed is not None and task_seed < 0:
        raise ValueError(f"task_seed must be >= 0, got {task_seed}")
    seed = int(seeded["seed"]) if seeded else task_seed or 0
    config = plugins.spec("task", family).sample_config(seed)
    if not seeded:
        config |= {key: None for key in _SEED_KEYS if key in config}
    return {"family": family, **config}


@with_fixed_numerics
def load_data(env: Env) -> Data:
    """The data of `env`, on the device; loaded and placed once for all that share it."""
    host = env.task.load_data(env.settings.data)
    identity = tuple(id(leaf) for leaf in jax.tree.leaves(host))
    if identity not in _placed:
        while len(_placed) >= _MAX_PLACED:
            _placed.pop(next(iter(_placed)))
        # Splits may share arrays. The host's are kept beside, so that their ids stay theirs.
        once = {id(leaf): jax.device_put(leaf) for leaf in jax.tree.leaves(host)}
        placed = jax.tree.map(lambda leaf: once[id(leaf)], host)
        _placed[identity] = (host, placed)
    return _placed[identity][1]

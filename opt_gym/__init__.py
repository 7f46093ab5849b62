"""Learning to optimize as a decision process: `import opt_gym; gym.make("OptTask-…-v0")`.

Importing this registers the environments' ids and imports no JAX; everything below is
imported when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from envs_registry import names as _names
from envs_registry.names import register

if TYPE_CHECKING:
    from opt_gym.adapters.flax_task import task_from_flax
    from opt_gym.adapters.foreign import from_optax
    from opt_gym.episode import replay, start, unroll
    from opt_gym.evaluation import evaluate
    from opt_gym.factory import load_data, make, make_task, task_config
    from opt_gym.gym.flat import flat
    from opt_gym.normalize import NORMALIZER_TABLE
    from opt_gym.runtime.strategy import use_all_cores

_HOMES = {
    "NORMALIZER_TABLE": "normalize",
    "evaluate": "evaluation",
    "flat": "gym.flat",
    "from_optax": "adapters.foreign",
    "load_data": "factory",
    "make": "factory",
    "make_task": "factory",
    "replay": "episode",
    "start": "episode",
    "task_config": "factory",
    "task_from_flax": "adapters.flax_task",
    "unroll": "episode",
    "use_all_cores": "runtime.strategy",
}

__all__ = [  # noqa: RUF022 — in the order a newcomer meets them
    "make",
    "make_task",
    "task_config",
    "task_from_flax",
    "load_data",
    "start",
    "unroll",
    "replay",
    "flat",
    "evaluate",
    "from_optax",
    "use_all_cores",
    "register",
    "NORMALIZER_TABLE",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'opt_gym' has no attribute {name!r}")
    return getattr(importlib.import_module(f"opt_gym.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])


_names.register_envs()

"""Learning to optimize as a decision process: `import opt_gym; gym.make("OptTask-…-v0")`.

Importing this registers the environments' ids and imports no JAX; everything below is
imported when it is first used.
"""

from typing import TYPE_CHECKING

from envs_registry import names as _names
from envs_registry.names import register
from opt_gym.lazy_names import lazy_names as _lazy_names

if TYPE_CHECKING:
    from opt_gym.adapters.flax_task import task_from_flax
    from opt_gym.adapters.foreign import from_optax
    from opt_gym.episode import replay, start, unroll
    from opt_gym.evaluation import evaluate
    from opt_gym.factory import load_data, make, make_task, task_config
    from opt_gym.gym.flat import flat
    from opt_gym.normalize import NORMALIZER_TABLE
    from opt_gym.runtime.strategy import use_all_cores
    from opt_gym.version import __version__

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
    "__version__",
]


__getattr__, __dir__ = _lazy_names(
    globals(),
    {
        "adapters.flax_task": ("task_from_flax",),
        "adapters.foreign": ("from_optax",),
        "episode": ("replay", "start", "unroll"),
        "evaluation": ("evaluate",),
        "factory": ("load_data", "make", "make_task", "task_config"),
        "gym.flat": ("flat",),
        "normalize": ("NORMALIZER_TABLE",),
        "runtime.strategy": ("use_all_cores",),
        "version": ("__version__",),
    },
)

_names.register_envs()

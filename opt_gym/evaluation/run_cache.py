"""Results on disk: one `.npz` file for the runs of one θ on one task, found by a digest.

The digest covers all that a result depends on: the environment (task config, normalizer,
...), the data, θ, the settings, and the source code that computes it, so that a result of
older code is never taken for one of this. No pickle.
"""

import hashlib
import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from opt_gym import plugins
from opt_gym.data.digest import digest_data
from opt_gym.records import Env, LearnedOptimizer

_PACKAGE = Path(__file__).resolve().parent.parent
WITHOUT_INFLUENCE = (
    "archive/",
    "cli/",
    "gym/",
    "judge/",
    "report/",
    "task_statistics/",
    "testing/",
    "evaluation/__init__.py",
    "evaluation/baselines.py",
    "evaluation/comparison.py",
    "evaluation/curves.py",
    "evaluation/evaluations.py",
    "evaluation/house_style.py",
    "evaluation/measure_normalizers.py",
    "evaluation/opt_list_order.py",
    "evaluation/plots.py",
    "evaluation/scores.py",
    "evaluation/search_spaces.py",
)
"""What only uses results, or makes θ: nothing that computes a run imports it, which a test
holds true. All other source files of `opt_gym` are in the digest."""

_BUILDING = "building"
"""The folder beside an architecture's that holds what several of them are built of."""


def is_cacheable(learned_optimizer: LearnedOptimizer, env: Env) -> bool:
    """Whether names and settings tell everything that a run is made of.

    A function that somebody replaced would be taken for the original. A foreign optimizer may
    say what tells it, as `adapters.optax_text` does.
    """
    if "foreign" in learned_optimizer.config:
        return plugins.is_told(env.task)
    return plugins.is_told(env) and plugins.is_told(learned_optimizer)


def digest(
    env: Env,
    learned_optimizer: LearnedOptimizer,
    theta: PyTree,
    settings: dict[str, Any],
) -> str:
    """What identifies the runs of one θ on one task: 32 hex digits."""
    leaves = jax.tree_util.tree_leaves_with_path(theta)
    weights = hashlib.sha256()
    for path, leaf in leaves:
        array = np.ascontiguousarray(leaf)
        weights.update(
            f"{jax.tree_util.keystr(path)}{array.dtype}{array.shape}".encode()
        )
        weights.update(array.tobytes())
    content = {
        "env": env.config,
        "data": digest_data(env.task.load_data(env.settings.data)),
        "optimizer": [learned_optimizer.name, learned_optimizer.config],
        "theta": weights.hexdigest(),
        "settings": settings,
        "code": _code_digest(_folders(env, learned_optimizer)),
        "jax": jax.__version__,
    }
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _folders(env: Env, learned_optimizer: LearnedOptimizer) -> tuple[Path, ...]:
    """Where the plug-ins lie that a run is made of, those from outside included."""
    chosen = (
        ("task", env.task.config.get("family")),
        ("features", env.features.name),
        ("action", env.action_map.name),
        ("architecture", learned_optimizer.name),
    )
    return tuple(
        sorted({_folder_of(kind, n) for kind, n in chosen if n in plugins.names(kind)})
    )


def _folder_of(kind: str, name: str) -> Path:
    module = sys.modules.get(plugins.module_of(kind, name))
    path = getattr(module, "__file__", None)
    return Path(path).resolve().parent if path else _PACKAGE


@cache
def _code_digest(folders: tuple[Path, ...]) -> str:
    files = [
        path
        for path in _PACKAGE.rglob("*.py")
        if not path.relative_to(_PACKAGE).as_posix().startswith(WITHOUT_INFLUENCE)
    ]
    content = hashlib.sha256()
    for folder in folders:
        if not folder.is_relative_to(_PACKAGE):
            files += folder.glob("*.py")
            files += folder.parent.joinpath(_BUILDING).glob("*.py")
    for path in sorted(set(files)):
        content.update(path.name.encode())
        content.update(path.read_bytes())
    return content.hexdigest()

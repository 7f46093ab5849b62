"""θ files: safetensors, with everything needed to use θ in the header. No pickle.

The header (JSON under the key "opt_gym") holds the format version, architecture and config,
features and action map with their constants, the trained horizon, and what the training cost.
A file that is damaged, cut off or foreign gives a ValueError that says so.
"""

import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from opt_gym import plugins
from opt_gym.files import write_atomically
from opt_gym.plugins import unknown
from opt_gym.records import LearnedOptimizer

FORMAT = 1
_BUNDLED = Path(__file__).with_name("bundled")


def save(
    path: str | os.PathLike[str],
    learned_optimizer: LearnedOptimizer,
    theta: PyTree,
    *,
    training: dict[str, Any] | None = None,
) -> Path:
    """Writes θ and what it needs, atomically.

    Args:
        path: of the file; `.safetensors` is customary.
        learned_optimizer: the architecture θ belongs to, with its `trained_horizon`.
        theta: its weights.
        training: JSON about how θ came to be (outer steps, inner steps, seconds, tasks).

    Raises:
        ValueError: θ does not have the shapes of the architecture.
    """
    _check_shapes(learned_optimizer, theta, "theta")
    header = {
        "format": FORMAT,
        "architecture": [learned_optimizer.name, learned_optimizer.config],
        "features": [
            learned_optimizer.features.name,
            learned_optimizer.features.config,
        ],
        "action_map": [
            learned_optimizer.action_map.name,
            learned_optimizer.action_map.config,
        ],
        "trained_horizon": learned_optimizer.trained_horizon,
        "training": training or {},
    }
    tensors = {name: np.asarray(leaf) for name, leaf in _named(theta)}
    content = to_bytes(tensors, metadata={"opt_gym": json.dumps(header)})
    return write_atomically(Path(path), content)


def load(path_or_name: str | os.PathLike[str]) -> tuple[LearnedOptimizer, PyTree]:
    """The learned optimizer and θ of a file, or of a bundled name.

    Its clock stops at the horizon θ was trained for (`time_clamp`), unless the file says
    otherwise.

    Raises:
        ValueError: not a file of ours, damaged, of a newer format, or one whose tensors do
            not fit the architecture it names.
        FileNotFoundError: neither a file nor a bundled name (these are listed).
    """
    path = _find(path_or_name)
    header, tensors = _read(path)
    name, config = header["architecture"]
    learned_optimizer = plugins.build("architecture", name, config)
    theirs = (header["features"], header["action_map"])
    ours = (
        [learned_optimizer.features.name, learned_optimizer.features.config],
        [learned_optimizer.action_map.name, learned_optimizer.action_map.config],
    )
    if json.dumps(theirs) != json.dumps(ours):
        raise ValueError(
            f"{path}: θ was trained with features and action map {theirs}, this version's "
            f"{name!r} has {ours}"
        )
    theta = _restore(path, learned_optimizer, tensors)
    horizon = header["trained_horizon"]
    if horizon is not None and config.get("time_clamp", 0) is None:
        # Beyond it, times would show what θ has never seen.
        clamped = {**config, "time_clamp": horizon}
        learned_optimizer = plugins.build("architecture", name, clamped)
    return learned_optimizer._replace(trained_horizon=horizon), theta


def read_header(path_or_name: str | os.PathLike[str]) -> dict[str, Any]:
    """The header of a θ file; errors as `load`."""
    return _read(_find(path_or_name))[0]


def bundled_names() -> list[str]:
    """The θ that come with the package."""
    return sorted(path.stem for path in _BUNDLED.glob("*.safetensors"))


def _find(path_or_name: str | os.PathLike[str]) -> Path:
    path = Path(path_or_name)
    if path.is_file():
        return path
    bundled = _BUNDLED / f"{path_or_name}.safetensors"
    if bundled.is_file():
        return bundled
    what = unknown("θ file or bundled name", str(path_or_name), bundled_names())
    raise FileNotFoundError(what)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged or not a safetensors file: {error}"
        ) from error
    try:
        header = json.loads(metadata["opt_gym"])
        version = header["format"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is a safetensors file, but not a θ file") from error
    if version != FORMAT:
        raise ValueError(f"{path} has format {version}, this version reads {FORMAT}")
    missing = {"architecture", "features", "action_map", "trained_horizon"} - set(
        header
    )
    if missing:
        raise ValueError(f"{path}: the header lacks {sorted(missing)}")
    return header, tensors


def _named(theta: PyTree) -> list[tuple[str, Any]]:
    paths, _ = jax.tree_util.tree_flatten_with_path(theta)
    return [(jax.tree_util.keystr(p, simple=True, separator="."), x) for p, x in paths]


def _expected(learned_optimizer: LearnedOptimizer) -> PyTree:
    return jax.eval_shape(learned_optimizer.init_theta, jax.random.key(0))


def _check_shapes(
    learned_optimizer: LearnedOptimizer, theta: PyTree, where: str
) -> None:
    expected = {
        name: tuple(x.shape) for name, x in _named(_expected(learned_optimizer))
    }
    found = {name: tuple(np.shape(x)) for name, x in _named(theta)}
    if expected != found:
        differs = sorted(set(expected.items()) ^ set(found.items()))
        raise ValueError(
            f"{where} does not fit the architecture {learned_optimizer.name!r} "
            f"{learned_optimizer.config}: {differs}"
        )


def _restore(
    path: Path, learned_optimizer: LearnedOptimizer, tensors: dict[str, np.ndarray]
) -> PyTree:
    expected = _expected(learned_optimizer)
    shapes = {name: tuple(x.shape) for name, x in _named(expected)}
    found = {name: tuple(x.shape) for name, x in tensors.items()}
    if shapes != found:
        differs = sorted(set(shapes.items()) ^ set(found.items()))
        raise ValueError(f"{path}: tensors do not fit its architecture: {differs}")
    leaves = [jax.numpy.asarray(tensors[name]) for name, _ in _named(expected)]
    return jax.tree.unflatten(jax.tree.structure(expected), leaves)

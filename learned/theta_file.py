"""θ files: safetensors, with everything needed to use θ in the header. No pickle.

The header (JSON under the key "opt_gym") holds the format version, architecture and config,
features and action map with their constants, the trained horizon, what the training cost, and
a digest of all that and of θ. A file that is damaged, cut off, changed or foreign gives a
ValueError that says so.
"""

import contextlib
import hashlib
import json
import os
import re
import socket
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from opt_gym import plugins, policy
from opt_gym.plugins import unknown
from opt_gym.records import Config, LearnedOptimizer
from opt_gym.runtime.files import write_atomically

FORMAT = 2
HUB_FILE = "theta.safetensors"
"""What a repository on the Hugging Face Hub holds."""

REPOSITORY = r"[\w.-]+/[\w.-]+"
"""How a name of the Hub looks, as a regular expression."""

GENERAL, FREE = "general", "general_free"
"""The bundled θ that stand where nobody names one: with a horizon, and without."""

_PATIENCE = 3.0
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
        ValueError: θ does not fit the architecture or is not of finite real numbers
            (`opt_gym.policy.as_theta`), or `training` is not JSON.
    """
    theta = policy.as_theta(learned_optimizer, theta)
    _check_json(training)
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
        "trained_size": learned_optimizer.trained_size,
        "training": training or {},
    }
    tensors = _tensors(theta)
    header["digest"] = _digest_file(header, tensors)
    content = to_bytes(tensors, metadata={"opt_gym": json.dumps(header)})
    return write_atomically(Path(path), content)


def load(path_or_name: str | os.PathLike[str]) -> tuple[LearnedOptimizer, PyTree]:
    """The learned optimizer and θ of a file, a bundled name, or a Hugging Face repository.

    `path_or_name` is the first of these that it can be. A name "owner/repository" that is no
    file is looked up on the Hub, where its file `theta.safetensors` is read; a copy that was
    fetched before is used first.

    Its clock stops at the horizon θ was trained for (`opt_gym.policy.trained_for`), unless
    the file says otherwise.

    Raises:
        ValueError: not a file of ours, damaged, of a newer format, or one whose tensors do
            not fit the architecture it names.
        FileNotFoundError: neither a file nor a bundled name (these are listed).
        ImportError: a repository, and huggingface_hub is not installed.
        ConnectionError: a repository that has not been fetched before, and no connection.
    """
    path = find_file(path_or_name)
    header, tensors = _read(path)
    learned_optimizer = _build(path, header)
    theta = _restore(path, learned_optimizer, tensors)
    trained = header["trained_horizon"], header.get("trained_size")
    return policy.trained_for(learned_optimizer, *trained), theta


def load_default(horizon: Any) -> tuple[LearnedOptimizer, PyTree]:
    """The bundled θ for a training whose number of steps is `horizon`, or None: not known."""
    return load(FREE if horizon is None else GENERAL)


def digest(learned_optimizer: LearnedOptimizer, theta: PyTree) -> str:
    """16 hex digits that tell one θ from another: of architecture and weights."""
    hasher = hashlib.sha256(learned_optimizer.name.encode())
    _hash_tensors(hasher, _tensors(theta))
    return hasher.hexdigest()[:16]


def read_header(path_or_name: str | os.PathLike[str]) -> dict[str, Any]:
    """The header of a θ file; errors as `load`."""
    return _read(find_file(path_or_name))[0]


def bundled_names() -> list[str]:
    """The θ that come with the package."""
    return sorted(path.stem for path in _BUNDLED.glob("*.safetensors"))


def find_file(path_or_name: str | os.PathLike[str]) -> Path:
    """The file that `load` reads; errors as there."""
    path = Path(path_or_name)
    if path.is_file():
        return path
    bundled = _BUNDLED / f"{path_or_name}.safetensors"
    if bundled.is_file():
        return bundled
    looks_local = path.suffix == ".safetensors" or path.parent.is_dir()
    if re.fullmatch(REPOSITORY, str(path_or_name)) and not looks_local:
        return _from_hub(str(path_or_name))
    what = unknown("θ file or bundled name", str(path_or_name), bundled_names())
    raise FileNotFoundError(what)


def _from_hub(repository: str) -> Path:
    """The repository's θ file in the Hub's cache on this machine."""
    try:
        import huggingface_hub
        from huggingface_hub import constants
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise ImportError(
            f"{repository!r} is no file here; to load it from the Hugging Face Hub: "
            "pip install 'opt-gym[hub]'"
        ) from error
    fetch = partial(huggingface_hub.hf_hub_download, repository, HUB_FILE)
    with contextlib.suppress(LocalEntryNotFoundError):
        return Path(fetch(local_files_only=True))
    endpoint = constants.ENDPOINT
    if constants.HF_HUB_OFFLINE or not _answers(endpoint):
        raise ConnectionError(
            f"{repository!r} is neither a file nor in the Hub's cache on this machine, and "
            f"{endpoint} cannot be reached"
        )
    try:
        return Path(fetch(etag_timeout=_PATIENCE))
    except HfHubHTTPError as error:
        raise FileNotFoundError(
            f"the Hub has no {HUB_FILE} in {repository!r}: {error}"
        ) from error


def _answers(endpoint: str) -> bool:
    """Whether somebody listens there: one try, without the Hub's retries."""
    url = urlsplit(endpoint)
    port = url.port or {"http": 80, "https": 443}.get(url.scheme, 443)
    try:
        with socket.create_connection((url.hostname or "", port), timeout=_PATIENCE):
            return True
    except OSError:
        return False


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged or not a safetensors file: {error}"
        ) from error
    except (AttributeError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path} has tensors of numbers that numpy does not know: {error}"
        ) from error
    try:
        header = json.loads(metadata["opt_gym"])
        version = header["format"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is a safetensors file, but not a θ file") from error
    if version != FORMAT:
        raise ValueError(f"{path} has format {version}, this version reads {FORMAT}")
    known = {"architecture", "features", "action_map", "trained_horizon", "digest"}
    missing = known - set(header)
    if missing:
        raise ValueError(f"{path}: the header lacks {sorted(missing)}")
    if header["digest"] != _digest_file(header, tensors):
        raise ValueError(
            f"{path} was changed after it was written: its digest does not fit"
        )
    return header, tensors


def _architecture(name: str, config: Config) -> LearnedOptimizer:
    """What a header names; one that is not known may come from elsewhere."""
    try:
        return plugins.build("architecture", name, config)
    except ValueError as error:
        if name in plugins.names("architecture"):
            raise
        raise ValueError(
            f"{error}. Where a package brings it, install that; where a script does, "
            "opt_gym.register its SPEC first"
        ) from error


def _build(path: Path, header: dict[str, Any]) -> LearnedOptimizer:
    """The architecture that a header names, features and action map as it says."""
    try:
        name, config = header["architecture"]
        learned_optimizer = _architecture(name, config)
        for key in ("trained_horizon", "trained_size"):
            trained = header.get(key)
            if trained is not None and not (type(trained) is int and trained > 0):
                raise ValueError(f"{key} is {trained!r}")
        theirs = (
            _whole("features", *header["features"]),
            _whole("action", *header["action_map"]),
        )
    except (TypeError, AttributeError, OverflowError, ValueError) as error:
        raise ValueError(f"{path}: the header makes no sense: {error}") from error
    ours = (
        [learned_optimizer.features.name, learned_optimizer.features.config],
        [learned_optimizer.action_map.name, learned_optimizer.action_map.config],
    )
    if json.dumps(theirs) != json.dumps(ours):
        raise ValueError(
            f"{path}: θ was trained with features and action map {theirs}, this version's "
            f"{name!r} has {ours}"
        )
    return learned_optimizer


def _whole(kind: str, name: str, config: dict[str, Any]) -> list[Any]:
    """Name and config, with the defaults of settings that came after the file."""
    return [name, plugins.with_defaults(plugins.spec(kind, name), config)]


def _digest_file(header: dict[str, Any], tensors: dict[str, np.ndarray]) -> str:
    said = {key: value for key, value in header.items() if key != "digest"}
    hasher = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    _hash_tensors(hasher, tensors)
    return hasher.hexdigest()


def _check_json(training: Any) -> None:
    try:
        json.dumps(training)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"training must be JSON: {error}") from error


def _hash_tensors(hasher: Any, tensors: dict[str, np.ndarray]) -> None:
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name])
        hasher.update(f"{name} {tensor.dtype.str} {tensor.shape}".encode())
        hasher.update(tensor.tobytes())


def _tensors(theta: PyTree) -> dict[str, np.ndarray]:
    return {name: np.asarray(leaf) for name, leaf in policy.named_leaves(theta)}


def _restore(
    path: Path, learned_optimizer: LearnedOptimizer, tensors: dict[str, np.ndarray]
) -> PyTree:
    expected = policy.theta_like(learned_optimizer)
    shapes = {name: tuple(x.shape) for name, x in tensors.items()}
    differs = policy.shape_differences(policy.shapes_of(expected), shapes)
    if differs:
        raise ValueError(f"{path}: tensors do not fit its architecture: {differs}")
    names = [name for name, _ in policy.named_leaves(expected)]
    leaves = [jnp.asarray(tensors[name]) for name in names]
    return jax.tree.unflatten(jax.tree.structure(expected), leaves)

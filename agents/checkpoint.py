"""Checkpoints of an outer-training run: whole, checked, and resumed bit for bit.

One safetensors file a checkpoint: every array of the trainer's state, and a JSON header with
the outer step, the run's seed, a digest of its config, versions, the device count and a
checksum of the arrays. The last two are kept; a damaged newest one is set aside, and the
one before is taken. No pickle.
"""

import hashlib
import json
import logging
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from opt_gym.runtime.files import write_atomically
from opt_gym.runtime.key_arrays import is_key

FORMAT = 2
KEPT = 2
_PATTERN = "checkpoint-*.safetensors"
_log = logging.getLogger(__name__)


class Checkpoint(NamedTuple):
    """A state that was read back, and the header it came with."""

    state: PyTree
    header: dict[str, Any]


def save(
    folder: Path, state: PyTree, *, outer_step: int, seed: int, config: dict[str, Any]
) -> Path:
    """Writes a checkpoint and drops all but the last two.

    Args:
        folder: of the run.
        state: of the trainer, after `outer_step` steps.
        outer_step, seed, config: what a resumed run must agree with.
    """
    tensors = {f"{i:05d}": _as_numpy(x) for i, x in enumerate(jax.tree.leaves(state))}
    header = {
        "format": FORMAT,
        "outer_step": outer_step,
        "seed": seed,
        "config": digest(config),
        "environment": environment(),
        "sha256": _sha256(tensors),
    }
    content = to_bytes(tensors, metadata={"opt_gym": json.dumps(header)})
    path = write_atomically(
        folder / f"checkpoint-{outer_step:08d}.safetensors", content
    )
    for old in _newest_first(folder)[KEPT:]:
        old.unlink(missing_ok=True)
    return path


def load(
    folder: Path, template: Callable[[int], PyTree], config: dict[str, Any]
) -> Checkpoint | None:
    """The newest checkpoint that can be read; None where there is none at all.

    Args:
        folder: of the run.
        template: outer step -> a state of the same trainer, for its structure.
        config: of the trainer.

    Raises:
        ValueError: all of them are damaged, or the newest belongs to another run.
    """
    damaged: dict[Path, str] = {}
    for path in _newest_first(folder):
        try:
            header, tensors = _read(path)
        except ValueError as error:
            damaged[path] = str(error)
            _log.warning("%s; falling back to the checkpoint before", error)
            continue
        if header["config"] != digest(config):
            raise ValueError(f"{path} belongs to a run with another configuration")
        state = _restore(path, template(header["outer_step"]), tensors)
        if jax.process_index() == 0:
            for bad in damaged:  # so that it is not one of the last two
                bad.rename(bad.with_suffix(".damaged"))
        return Checkpoint(state, header)
    if damaged:
        reasons = "; ".join(damaged.values())
        raise ValueError(f"no checkpoint in {folder} can be read: {reasons}")
    return None


def newest_header(folder: Path) -> dict[str, Any] | None:
    """The header of the newest readable checkpoint; None where there is none.

    Needs no JAX device: a resuming program reads the device count here before JAX starts.
    """
    for path in _newest_first(folder):
        try:
            return _read(path)[0]
        except ValueError:
            continue
    return None


def digest(config: dict[str, Any]) -> str:
    """The first 16 hex digits of the SHA-256 of a config's JSON."""
    text = json.dumps(config, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def environment() -> dict[str, Any]:
    """What "bit for bit" depends on beside the code."""
    return {
        "python": platform.python_version(),
        "jax": jax.__version__,
        "jaxlib": version("jaxlib"),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "platform": jax.default_backend(),
        "devices": jax.device_count(),
    }


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob(_PATTERN), reverse=True)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {})["opt_gym"])
            names = list(file.keys())
            tensors = {name: file.get_tensor(name) for name in names}
        if header["format"] != FORMAT:
            raise ValueError(f"format {header['format']}, this version reads {FORMAT}")
        if header["sha256"] != _sha256(tensors):
            raise ValueError("its numbers are not those that were written")
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged or not a checkpoint ({error})") from error
    return header, tensors


def _sha256(tensors: dict[str, np.ndarray]) -> str:
    hasher = hashlib.sha256()
    for name in sorted(tensors):
        hasher.update(np.ascontiguousarray(tensors[name]).data)
    return hasher.hexdigest()


def _restore(path: Path, template: PyTree, tensors: dict[str, np.ndarray]) -> PyTree:
    leaves, structure = jax.tree.flatten(template)
    if len(leaves) != len(tensors):
        raise ValueError(
            f"{path} holds {len(tensors)} arrays, the run has {len(leaves)}"
        )
    restored = []
    for i, leaf in enumerate(leaves):
        array, like = tensors[f"{i:05d}"], _as_numpy(leaf)
        if (array.shape, array.dtype) != (like.shape, like.dtype):
            raise ValueError(
                f"{path}: array {i} is {array.dtype}{array.shape}, "
                f"the run has {like.dtype}{like.shape}"
            )
        restored.append(_like(leaf, array))
    return jax.tree.unflatten(structure, restored)


def _as_numpy(leaf: Any) -> np.ndarray:
    return np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)


def _like(leaf: Any, array: np.ndarray) -> Any:
    if is_key(leaf):
        return jax.random.wrap_key_data(jnp.asarray(array))
    return jnp.asarray(array)

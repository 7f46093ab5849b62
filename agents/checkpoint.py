"""Checkpoints of an outer-training run: whole, checked, and resumed bit for bit.

One safetensors file a checkpoint: every array of the trainer's state, and a JSON header with
the outer step, the run's seed, a digest of its config, versions and the device count; a
checksum over both. The last two that can be read are kept; a damaged newest one is set aside,
and the one before is taken. No pickle.

Format 2, of version 0.1, is read: its checksum covers the arrays alone, its digest of a config
every bit of the floats in it, which were others on another processor.
"""

import hashlib
import json
import logging
import platform
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree
from safetensors import safe_open
from safetensors.numpy import save as to_bytes

from opt_gym.runtime.files import remove_temporaries, renamed, write_atomically
from opt_gym.runtime.json_digest import json_digest
from opt_gym.runtime.key_arrays import is_key
from opt_gym.runtime.rounding import rounded

FORMAT = 3
READ = (2, 3)
KEPT = 2
DIGITS = 6
"""Of a float in a config, in its digest: a drawn one, and a loss, differ in the last bits
from one processor to another."""

_PATTERN = "checkpoint-*.safetensors"
_log = logging.getLogger(__name__)


class Checkpoint(NamedTuple):
    """A state that was read back, and the header it came with."""

    state: PyTree
    header: dict[str, Any]


def save(
    folder: Path, state: PyTree, *, outer_step: int, seed: int, config: dict[str, Any]
) -> Path:
    """Writes a checkpoint, and drops what is older than the last two that can be read.

    Args:
        folder: of the run.
        state: of the trainer, after `outer_step` steps.
        outer_step, seed, config: what a resumed run must agree with.
    """
    tensors = {f"{i:05d}": _as_numpy(x) for i, x in enumerate(jax.tree.leaves(state))}
    header = json.dumps(
        {
            "format": FORMAT,
            "outer_step": outer_step,
            "seed": seed,
            "config": digest(config),
            "environment": environment(),
        }
    )
    metadata = {"opt_gym": header, "sha256": _sha256(header, tensors)}
    content = to_bytes(tensors, metadata=metadata)
    path = write_atomically(folder / _name(outer_step), content)
    _prune(folder, outer_step)
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
        ValueError: none of them can be read, or the newest belongs to another run.
    """
    damaged: list[Path] = []
    for path, header, tensors in _readable(folder, damaged):
        if header["config"] != _digest_of(header["format"], config):
            raise ValueError(
                f"{path} belongs to a run with another configuration"
                + " (or to this one on another processor: format 2 cannot tell)"
                * (header["format"] == 2)
            )
        state = _restore(path, template(header["outer_step"]), tensors)
        if jax.process_index() == 0:
            for bad in damaged:  # so that it is not one of the last two
                renamed(bad, bad.with_suffix(".damaged"))
        return Checkpoint(state, header)
    return None


def newest_header(folder: Path) -> dict[str, Any] | None:
    """The header of the newest readable checkpoint; None where there is no checkpoint.

    Needs no JAX device: a resuming program reads the device count here before JAX starts.

    Raises:
        ValueError: there are some, and none of them can be read.
    """
    return next((header for _, header, _ in _readable(folder, [])), None)


def set_aside(folder: Path) -> list[Path]:
    """Renames all checkpoints of a folder, so that a run can begin anew; their new names."""
    return [renamed(path, path.with_suffix(".aside")) for path in _newest_first(folder)]


def tidy(folder: Path) -> None:
    """Removes what writers left that were killed; nobody else may be writing."""
    remove_temporaries(folder, _PATTERN)


def digest(config: dict[str, Any]) -> str:
    """The first 16 hex digits of the SHA-256 of a config's JSON, floats at `DIGITS`."""
    return json_digest(rounded(config, DIGITS), default=str)


def _digest_of(form: int, config: dict[str, Any]) -> str:
    return digest(config) if form > 2 else json_digest(config, default=str)


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


def _name(outer_step: int) -> str:
    return f"checkpoint-{outer_step:08d}.safetensors"


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob(_PATTERN), reverse=True)


def _readable(folder: Path, damaged: list[Path]) -> Iterator[tuple[Path, Any, Any]]:
    """(path, header, arrays) of those that can be read, the newest first.

    Args:
        folder: of the run.
        damaged: where the others before them are written down.

    Raises:
        ValueError: there are some, and none of them can be read.
    """
    reasons, some = [], False
    for path in _newest_first(folder):
        try:
            header, tensors = _read(path)
        except ValueError as error:
            damaged.append(path)
            reasons.append(str(error))
            _log.warning("%s; falling back to the checkpoint before", error)
            continue
        some = True
        yield path, header, tensors
    if reasons and not some:
        raise ValueError(
            f"no checkpoint in {folder} can be read: {'; '.join(reasons)}; to begin anew, "
            "opt-gym resume --restart sets them aside"
        )


def _prune(folder: Path, outer_step: int) -> None:
    """Drops checkpoints that are older than the last `KEPT` that can be read.

    Only those before `outer_step`, which was just written: a greater number is of a run that
    went further, and none of ours.
    """
    known = 1
    for path in _newest_first(folder):
        if path.name >= _name(outer_step):
            continue
        if known >= KEPT:
            with suppress(OSError):  # it is gone, or is none of ours, such as a folder
                path.unlink()
            continue
        try:
            _read(path)
        except ValueError:
            continue
        known += 1


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            text = metadata["opt_gym"]
            tensors = {name: file.get_tensor(name) for name in list(file.keys())}
        header = json.loads(text)
        form = header["format"]
        if form not in READ:
            raise ValueError(f"format {form}, this version reads {READ}")
        checked = text if form > 2 else ""
        known = metadata["sha256"] if form > 2 else header["sha256"]
        if known != _sha256(checked, tensors):
            raise ValueError("it is not what was written")
        if path.name != _name(header["outer_step"]):
            raise ValueError(f"it is of outer step {header['outer_step']}")
    except Exception as error:  # whatever the damage
        raise ValueError(f"{path} is damaged or not a checkpoint ({error})") from error
    return header, tensors


def _sha256(header: str, tensors: dict[str, np.ndarray]) -> str:
    """Of the header and of all arrays; of a header, of their names and shapes, too."""
    hasher = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        if header:
            hasher.update(f"{name} {array.dtype} {array.shape}".encode())
        hasher.update(array.data)
    return hasher.hexdigest()


def _restore(path: Path, template: PyTree, tensors: dict[str, np.ndarray]) -> PyTree:
    leaves, structure = jax.tree.flatten(template)
    stored = iter([tensors[name] for name in sorted(tensors) if tensors[name].size])
    # Arrays without elements have nothing to be read, and format 2 has fewer of them.
    wanted = sum(leaf.size > 0 for leaf in map(_as_numpy, leaves))
    given = sum(array.size > 0 for array in tensors.values())
    if given != wanted:
        raise ValueError(f"{path} holds {given} arrays, the run has {wanted}")
    restored = []
    for i, leaf in enumerate(leaves):
        like = _as_numpy(leaf)
        array = next(stored) if like.size else like
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

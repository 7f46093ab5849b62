"""What lies in a file that others publish: a flat tree of arrays. No pickle is ever loaded.

    msgpack of Flax (`theta.state`, `params` of learned_optimization): a tree by names
    safetensors (PyLO): names with dots; a folder's are read together

A leaf is named by all that leads to it, with slashes between: "rnn_params/linear/w".
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as from_safetensors

Leaves = dict[str, np.ndarray]

_PICKLES = tuple(bytes([0x80, version]) for version in range(2, 6))
_ZIP = b"PK\x03\x04"  # what torch.save writes: pickles in an archive


def read_leaves(path: Path) -> Leaves:
    """The arrays of a file, or of all `.safetensors` in a folder and the folders in it.

    Raises:
        FileNotFoundError: neither a file nor a folder with such files.
        ValueError: a pickle, a damaged file, or another kind of file.
    """
    if path.is_dir():
        files = sorted(path.rglob("*.safetensors"))
        if not files:
            raise FileNotFoundError(f"{path} is a folder without .safetensors files")
        return _together(files)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file")
    content = path.read_bytes()
    if content.startswith((*_PICKLES, _ZIP)):
        raise ValueError(
            f"{path} is a pickle, or holds some: they can run code and are never loaded; "
            "save its arrays as .safetensors or as msgpack of Flax"
        )
    try:
        if path.suffix == ".safetensors":
            return from_safetensors(content)
        return dict(_flat(_without_wrapping(_from_msgpack(content))))
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path} is damaged, or neither safetensors nor msgpack of Flax: {error}"
        ) from error


def _together(files: list[Path]) -> Leaves:
    found: Leaves = {}
    for file in files:
        leaves = read_leaves(file)
        if twice := sorted(set(found) & set(leaves)):
            raise ValueError(f"{file} has what another file has too: {twice}")
        found |= leaves
    return found


def _from_msgpack(content: bytes) -> Any:
    import msgpack
    from flax import serialization

    try:
        return serialization.msgpack_restore(content)
    except (msgpack.exceptions.UnpackException, AttributeError) as error:
        raise ValueError(f"not msgpack: {error!r}") from error


def _without_wrapping(tree: Any) -> Any:
    """θ alone, of what was saved with names and counts beside it (`ParameterCheckpoint`)."""
    while isinstance(tree, dict):
        trees = [value for value in tree.values() if isinstance(value, dict)]
        others = [value for value in tree.values() if not isinstance(value, dict)]
        is_wrapping = others and not any(isinstance(x, np.ndarray) for x in others)
        if len(trees) != 1 or not is_wrapping:
            return tree
        (tree,) = trees
    return tree


def _flat(tree: Any, name: str = "") -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _flat(value, f"{name}/{key}" if name else str(key))
    elif isinstance(tree, np.ndarray | np.generic):
        yield name, np.asarray(tree)
    else:
        raise ValueError(f"{name or 'it'} is a {type(tree).__name__}, not an array")

"""Weights trained beforehand, which come with the package: what fine-tuning starts from.

A base is a file of safetensors in `opt_gym/tasks/pretrained`: the tensors of φ by their places
("0", "1", ...), and in the header the config of the task that they were trained on and what
the training was. `examples/pretrain.py` makes them.
"""

import json
import os
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from opt_gym.records import Config
from opt_gym.runtime.files import write_atomically

FOLDER = Path(__file__).parents[1] / "pretrained"
_KEY = "opt_gym_base"


class Base(NamedTuple):
    """What was trained.

    Attributes:
        config: of the task.
        params: φ after training on it.
        training: JSON about that.
    """

    config: Config
    params: tuple[np.ndarray, ...]
    training: dict[str, Any]


def names() -> list[str]:
    """Of all that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


@cache
def load(name: str) -> Base:
    """The base called `name`, one of `names`."""
    with safe_open(FOLDER / f"{name}.safetensors", framework="numpy") as file:
        header = json.loads((file.metadata() or {})[_KEY])
        count = len(list(file.keys()))
        params = tuple(file.get_tensor(str(place)) for place in range(count))
    return Base(header["config"], params, header["training"])


def write(path: str | os.PathLike[str], base: Base) -> Path:
    """Keeps a `base` in the file at `path`."""
    tensors = {str(place): array for place, array in enumerate(base.params)}
    header = {"config": base.config, "training": base.training}
    content = save(tensors, metadata={_KEY: json.dumps(header)})
    return write_atomically(Path(path), content)

"""Checks our task families against golden files made with TaskSet's original code.

`python -m envs_registry.parity DIR` prints one line a family: configs matched/total, losses
matched/total, gradients matched/total, worst relative error. The exit status is 1 where
anything differs and 2 where there is nothing to check.

A golden folder holds `<family>_family.json`, {seed: published config}, and
`numeric/<family>_family.json`, {"<family>_family_seed<k>": loss and gradients at parameters
and a batch that follow from names and shapes alone}. Any seeds will do.
"""

import json
import math
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from opt_gym import plugins
from opt_gym.records import Batch, Config, Task

CONFIG_TOLERANCE = 1e-13
NUMERIC_TOLERANCE = 1e-4
NUM_EXAMPLES = 4
NUM_LISTED = 4
"""A golden gradient lists its first so many entries."""

COMPILER_OPTIONS = {"xla_backend_optimization_level": 0}
"""Every config is compiled and runs once: this halves the time of convolutions."""

Case = tuple[Task, Any, Batch]
"""A task, its ψ and the golden batch."""


class Figure(NamedTuple):
    """How many of something matched, and the worst relative error seen (nan is worst)."""

    matched: int = 0
    total: int = 0
    worst: float = 0.0

    def add(self, error: float, tolerance: float) -> "Figure":
        """With one more comparison in it."""
        worst = error if math.isnan(error) else max(self.worst, error)
        return Figure(self.matched + (error <= tolerance), self.total + 1, worst)

    def __str__(self) -> str:
        return f"{self.matched}/{self.total}"


class Result(NamedTuple):
    """What was found of one family; `refused` counts configs that cannot be built."""

    family: str
    configs: Figure = Figure()
    losses: Figure = Figure()
    gradients: Figure = Figure()
    refused: Figure = Figure()

    def passed(self) -> bool:
        """Whether everything matched."""
        figures = (self.configs, self.losses, self.gradients, self.refused)
        return all(figure.matched == figure.total for figure in figures)

    def __str__(self) -> str:
        worst = max(self.losses.worst, self.gradients.worst)
        line = (
            f"{self.family}: configs {self.configs}, losses {self.losses}, "
            f"gradients {self.gradients}, worst relative error {worst:.1e}"
        )
        if self.refused.total:
            line += f" (infeasible, refused {self.refused})"
        return line if self.passed() else line + "  DIFFERS"


def generate(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The golden files' reproducible float32 normals, which follow from a name."""
    rng = np.random.RandomState(zlib.crc32(name.encode()))
    return rng.standard_normal(shape).astype(np.float32)


def image_case(make: Callable[[Config], Task], config: Config, meta: dict) -> Case:
    """Four random images; the size is that after augmentation, and ψ is not used."""
    shape, num_classes = tuple(meta["image_shape"]), meta["num_classes"]
    rng = np.random.RandomState(1234)
    images = rng.randint(0, 256, (NUM_EXAMPLES, *shape)).astype(np.float32) / 255
    labels = rng.randint(0, num_classes, NUM_EXAMPLES).astype(np.int32)
    return make(config), (), Batch(images, labels)


def quadratic_case(make: Callable[[Config], Task], config: Config, meta: dict) -> Case:
    """A matrix A that follows from its name, and no noise on it."""
    dims = config["dims"]
    instance = generate("A", (dims, dims))
    return make({**config, "noise": None}), instance, Batch(None, None)


CASES = {
    "quadratic": quadratic_case,
    "mlp": image_case,
    "conv_pooling": image_case,
}
"""How a family makes a golden entry's task, ψ and batch."""


def check_folder(folder: Path, seeds: range | None = None) -> list[Result | str]:
    """A result per family that has golden files and a plug-in, a line for the others.

    Args:
        folder: the golden folder, or the folder that holds it as `golden`.
        seeds: only these; None: whatever the folder has.

    Raises:
        FileNotFoundError: no golden files there.
    """
    if (folder / "golden").is_dir():
        folder = folder / "golden"
    names = {
        path.stem.removesuffix("_family")
        for path in (
            *folder.glob("*_family.json"),
            *folder.glob("numeric/*_family.json"),
        )
    }
    if not names:
        raise FileNotFoundError(f"no <family>_family.json in {folder}")
    ours = plugins.names("task")
    return [
        check_family(folder, name, seeds)
        if name in ours
        else f"{name}: not implemented"
        for name in sorted(names, key=lambda name: (name not in ours, name))
    ]


def check_family(folder: Path, family: str, seeds: range | None = None) -> Result:
    """Compares configs, losses and gradients of one family with its golden files."""
    spec = plugins.spec("task", family)
    golden: dict[str, Config] = _read(folder / f"{family}_family.json", seeds)
    numeric: dict[str, Any] = _read(folder / "numeric" / f"{family}_family.json", seeds)
    result = Result(family)
    for seed, config in golden.items():
        error = difference(config, spec.config(int(seed)))
        configs = result.configs.add(error, CONFIG_TOLERANCE)
        result = result._replace(configs=configs)
    for seed, entry in numeric.items():
        config = golden.get(seed) or spec.config(int(seed))
        if "error" in entry:
            refused = result.refused.add(0.0 if _refuses(spec, config) else math.inf, 0)
            result = result._replace(refused=refused)
            continue
        loss, gradients = _errors(spec, config, entry)
        result = result._replace(
            losses=result.losses.add(loss, NUMERIC_TOLERANCE),
            gradients=result.gradients.add(gradients, NUMERIC_TOLERANCE),
        )
    return result


def difference(golden: Any, ours: Any) -> float:
    """The largest relative difference of two JSON values' floats; infinite elsewhere."""
    if isinstance(golden, dict) and isinstance(ours, dict):
        if golden.keys() != ours.keys():
            return math.inf
        return max((difference(golden[key], ours[key]) for key in golden), default=0.0)
    if isinstance(golden, list) and isinstance(ours, list):
        if len(golden) != len(ours):
            return math.inf
        pairs = zip(golden, ours, strict=True)
        return max((difference(*pair) for pair in pairs), default=0.0)
    if isinstance(golden, float) and isinstance(ours, float):
        return _relative(golden, ours, abs(golden))
    return 0.0 if golden == ours and type(golden) is type(ours) else math.inf


def gradient_error(golden: dict[str, Any], gradient: np.ndarray) -> float:
    """The largest relative error of a gradient's norm, sum and first entries.

    The sum is measured against the norm where that is larger, an entry against the root
    mean square: where entries cancel, or one is small, rounding is all that is left of it.
    """
    flat = gradient.astype(np.float64).ravel()
    norm = golden["l2"]
    errors = [
        _relative(norm, np.sqrt(np.sum(flat**2)), norm),
        _relative(golden["sum"], flat.sum(), max(abs(golden["sum"]), norm)),
    ]
    typical = norm / math.sqrt(flat.size)
    first = flat[:NUM_LISTED]
    if len(golden["first"]) != len(first):
        return math.inf
    for entry, value in zip(golden["first"], first, strict=True):
        errors.append(_relative(entry, value, max(abs(entry), typical)))
    return float(np.max(errors))


def _relative(golden: float, ours: float, scale: float) -> float:
    if golden == ours:
        return 0.0
    return float(abs(golden - ours) / scale) if scale > 0 else math.inf


def _read(path: Path, seeds: range | None) -> dict[str, Any]:
    """{seed: value} of a golden file, {} where there is none."""
    if not path.exists():
        return {}
    values = {
        key.rpartition("seed")[2]: v for key, v in json.loads(path.read_text()).items()
    }
    return {k: v for k, v in values.items() if seeds is None or int(k) in seeds}


def _refuses(spec: Any, config: Config) -> bool:
    try:
        spec.make(config)
    except ValueError:
        return True
    return False


def _errors(spec: Any, config: Config, entry: dict[str, Any]) -> tuple[float, float]:
    """Relative errors of the loss and of the worst gradient."""
    if spec.name not in CASES:
        raise ValueError(f"no way to make golden cases of {spec.name!r} in CASES")
    task, instance, batch = CASES[spec.name](spec.make, config, entry["meta"])
    values = [
        generate(name, tuple(s)) * np.float32(f) for name, s, f in entry["params"]
    ]
    key = jax.random.key(0)
    # No data: the shapes of φ follow from the config.
    shapes, _ = jax.eval_shape(task.init, key, {})
    if [v.shape for v in values] != [leaf.shape for leaf in jax.tree.leaves(shapes)]:
        return math.inf, math.inf
    params = jax.tree.unflatten(jax.tree.structure(shapes), values)
    differentiate = jax.value_and_grad(task.loss, argnums=1, has_aux=True)
    step = jax.jit(differentiate, compiler_options=COMPILER_OPTIONS)
    (loss, _), gradients = step(key, params, instance, batch)
    worst = np.max(
        [
            gradient_error(golden, np.asarray(ours))
            for golden, ours in zip(
                entry["grads"], jax.tree.leaves(gradients), strict=True
            )
        ]
    )
    return _relative(entry["loss"], float(loss), abs(entry["loss"])), float(worst)


def main(arguments: list[str]) -> int:
    """The command; returns the exit status."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python -m envs_registry.parity DIR", file=sys.stderr)
        return 2
    try:
        results = check_folder(Path(arguments[0]))
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 2
    for result in results:
        print(result)
    found = [result for result in results if isinstance(result, Result)]
    return 0 if all(result.passed() for result in found) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Checks our tasks and optimizers against golden files made with TaskSet's original code.

`python -m envs_registry.parity DIR` prints one line for each family, for the fixed tasks and
for each optimizer: configs matched/total, losses matched/total, gradients matched/total,
worst relative error. The exit status is 1 where anything differs and 2 where there is
nothing to check.

A golden folder holds some of: `<family>_family.json`, {seed: published config};
`numeric/<family>_family.json` and `numeric/fixed.json`, {task name: loss and gradients at
parameters, noise and a batch that follow from names and shapes alone};
`optimizers/<space>.json` and `optimizer_trajectories.json` (see `parity_optimizers`). Any
seeds will do.
"""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from envs_registry.parity.cases import make_case
from envs_registry.parity.golden import (
    CONFIG_TOLERANCE,
    Case,
    Figure,
    difference,
    relative,
)
from envs_registry.parity.update_rules import check_optimizers
from opt_gym import plugins
from opt_gym.records import Config
from opt_gym.tasks import named

NUMERIC_TOLERANCE = 1e-4
ROUNDING = 1e-6
NUM_LISTED = 4
"""A golden gradient lists its first so many entries."""

COMPILER_OPTIONS = {"xla_backend_optimization_level": 0}
"""Every config is compiled and runs once: this halves the time of convolutions."""


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


def check_folder(
    folder: Path, keep: Callable[[int], bool] = lambda number: True
) -> list[Any]:
    """A result per family, of the fixed tasks and per optimizer that the folder has.

    Args:
        folder: the golden folder, or the folder that holds it as `golden`.
        keep: of a family, only the seeds for which this holds; of the fixed tasks, only
            those numbers in their list.

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
    ours = plugins.names("task")
    results: list[Any] = [
        check_family(folder, name, keep) if name in ours else f"{name}: not implemented"
        for name in sorted(names, key=lambda name: (name not in ours, name))
    ]
    if (folder / "numeric" / "fixed.json").exists():
        results.append(check_fixed(folder, keep))
    results += check_optimizers(folder)
    if not results:
        raise FileNotFoundError(f"no <family>_family.json or other golden in {folder}")
    return results


def check_family(
    folder: Path, family: str, keep: Callable[[int], bool] = lambda number: True
) -> Result:
    """Compares configs, losses and gradients of one family with its golden files."""
    spec = plugins.spec("task", family)
    golden: dict[str, Any] = _read(folder / f"{family}_family.json", keep)
    numeric: dict[str, Any] = _read(folder / "numeric" / f"{family}_family.json", keep)
    published = getattr(
        sys.modules[spec.make.__module__], "published", lambda config: config
    )
    result = Result(family)
    for seed, config in golden.items():
        error = difference(config, published(spec.sample_config(int(seed))))
        configs = result.configs.add(error, CONFIG_TOLERANCE)
        result = result._replace(configs=configs)
    for seed, entry in numeric.items():
        result = _compare(
            result, {"family": family, **spec.sample_config(int(seed))}, entry
        )
    return result


def check_fixed(
    folder: Path, keep: Callable[[int], bool] = lambda number: True
) -> Result:
    """Compares losses and gradients of the fixed tasks; a name we lack is a config lost."""
    golden = json.loads((folder / "numeric" / "fixed.json").read_text())
    result = Result("fixed tasks")
    for number, (name, entry) in enumerate(golden.items()):
        if keep(number):
            config = named.PUBLISHED.get(name)
            configs = result.configs.add(math.inf if config is None else 0.0, 0.0)
            result = result._replace(configs=configs)
            if config is not None:
                result = _compare(result, config, entry)
    return result


def gradient_error(
    golden: dict[str, Any], gradient: np.ndarray, largest: float = 0.0
) -> float:
    """The largest relative error of a gradient's norm, sum and first entries.

    The sum is measured against the norm where that is larger, an entry against the root
    mean square: where entries cancel, or one is small, rounding is all that is left of it.
    So it is with the whole tensor where its norm is a millionth of `largest`, the largest
    norm of a tensor of φ (a bias in front of a batch normalization): ours must then be as
    good as nothing too.
    """
    flat = gradient.astype(np.float64).ravel()
    norm = golden["l2"]
    if norm < ROUNDING * largest:
        return float(np.sqrt(np.sum(flat**2)) / largest)
    errors = [
        relative(norm, np.sqrt(np.sum(flat**2)), norm),
        relative(golden["sum"], flat.sum(), max(abs(golden["sum"]), norm)),
    ]
    typical = norm / math.sqrt(flat.size)
    first = flat[:NUM_LISTED]
    if len(golden["first"]) != len(first):
        return math.inf
    for entry, value in zip(golden["first"], first, strict=True):
        errors.append(relative(entry, value, max(abs(entry), typical)))
    return float(np.max(errors))


def _read(path: Path, keep: Callable[[int], bool]) -> dict[str, Any]:
    """{seed: value} of a golden file, {} where there is none."""
    if not path.exists():
        return {}
    values = {
        key.rpartition("seed")[2]: v for key, v in json.loads(path.read_text()).items()
    }
    return {k: v for k, v in values.items() if keep(int(k))}


def _compare(result: Result, config: Config, entry: dict[str, Any]) -> Result:
    if "error" in entry:
        refused = result.refused.add(0.0 if _refuses(config) else math.inf, 0)
        return result._replace(refused=refused)
    loss, gradients = _errors(make_case(config, entry), entry)
    return result._replace(
        losses=result.losses.add(loss, NUMERIC_TOLERANCE),
        gradients=result.gradients.add(gradients, NUMERIC_TOLERANCE),
    )


def _refuses(config: Config) -> bool:
    try:
        plugins.spec("task", config["family"]).make(config)
    except ValueError:
        return True
    return False


def _errors(case: Case, entry: dict[str, Any]) -> tuple[float, float]:
    """Relative errors of the loss and of the worst gradient."""
    if case.shapes != [tuple(shape) for _, shape, _ in entry["params"]]:
        return math.inf, math.inf
    step = jax.jit(jax.value_and_grad(case.loss), compiler_options=COMPILER_OPTIONS)
    # The arrays of a case are arguments: closed over, they would be compiled in.
    loss, gradients = step(case.params, case.arrays)
    largest = max(golden["l2"] for golden in entry["grads"])
    worst = np.max(
        [
            gradient_error(golden, np.asarray(ours), largest)
            for golden, ours in zip(
                entry["grads"], jax.tree.leaves(gradients), strict=True
            )
        ]
    )
    return relative(entry["loss"], float(loss), abs(entry["loss"])), float(worst)


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
    checked = [result for result in results if not isinstance(result, str)]
    return 0 if all(result.passed() for result in checked) else 1

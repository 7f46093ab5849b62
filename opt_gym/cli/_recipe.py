"""What `opt-gym train` writes down: `run.json`, from which a run goes on anywhere."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from opt_gym.runtime.files import write_atomically

RECIPE_FILE = "run.json"


class Recipe(NamedTuple):
    """What `opt-gym train` was told, as `run.json` keeps it; `train` says what each means.

    Tasks that were files are there as {"name": ..., "config": ...}: a run can be resumed
    where the files are not.
    """

    tasks: list[Any] | None = None
    trainer: str = "pes"
    architecture: str = "nominal"
    outer_steps: int = 2400
    seed: int = 0
    seeds: int = 1
    outer_optimizer: str = "adam"
    learning_rate: float = 1e-2
    clip_norm: float = 1.0
    clip_coordinate: float = 0.0
    options: dict[str, str] | None = None
    architecture_options: dict[str, str] | None = None
    start: str | None = None
    objective: str = "train"
    second_derivatives: bool = False
    tasks_per_step: int = 1
    task_weights: Sequence[float] = ()
    max_programs: int = 24
    refresh_every: int = 50
    reparameterise: list[str] | None = None
    evaluate_on: list[Any] | None = None
    evaluate_every: int = 250
    evaluate_seeds: int = 3
    tensorboard: bool = False
    ray_workers: int = 0
    data: str = "auto"


def write_recipe(out: Path, recipe: Recipe) -> None:
    """Writes `run.json` into the folder of a run."""
    content = json.dumps(recipe._asdict(), indent=1, default=list) + "\n"
    write_atomically(out / RECIPE_FILE, content.encode())


def check_free(out: Path) -> None:
    """Raises ValueError for a folder that holds a run."""
    if (out / RECIPE_FILE).exists():
        raise ValueError(f"{out} holds a run already: resume it, or name another")


def read_recipe(out: Path) -> Recipe:
    """The recipe of a run; what an older version did not write has its default.

    Raises:
        ValueError: there is none, or it cannot be read, or is of a newer version.
    """
    path = out / RECIPE_FILE
    if not path.exists():
        raise ValueError(f"{out} holds no run: there is no {path.name} in it")
    try:
        recipe = Recipe(**json.loads(path.read_text()))
        for name, value in recipe._asdict().items():
            _check_kind(name, value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is no recipe of this version: {error}") from error
    return recipe


def _check_kind(name: str, value: Any) -> None:
    """Raises ValueError for a value that the command line could not have given."""
    default = Recipe._field_defaults[name]
    kinds: dict[type, Any] = {bool: bool, int: int, float: int | float, str: str}
    if default is None:
        fits = value is None or isinstance(value, list | dict | str)
    elif isinstance(default, tuple):
        fits = isinstance(value, list | tuple)
    else:
        fits = isinstance(value, kinds[type(default)])
        fits = fits and isinstance(value, bool) == isinstance(default, bool)
    if not fits:
        raise ValueError(f"{name} is {value!r}")


def with_configs(recipe: Recipe) -> Recipe:
    """The recipe with the contents of .json files in place of their names.

    Raises:
        ValueError: a file that holds no config.
        FileNotFoundError: there is none.
    """
    from opt_gym.cli._tasks import with_config

    def known(tasks: list[Any] | None) -> list[Any] | None:
        return tasks and [with_config(task) for task in tasks]

    return recipe._replace(
        tasks=known(recipe.tasks), evaluate_on=known(recipe.evaluate_on)
    )

"""What `opt-gym train` writes down: `run.json`, from which a run goes on anywhere."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, get_type_hints

from opt_gym.runtime.files import write_atomically
from opt_gym.runtime.json_digest import json_digest
from opt_gym.setting_kinds import fits

RECIPE_FILE, THETA_FILE = "run.json", "theta.safetensors"
CHECKSUM = "checksum"
"""Of the recipe: one flipped bit of a learning rate is another run."""

THETA_FIELDS = ("start", "outer_optimizer")
"""What may be a θ file: the folder of a run has its own copy."""


class TaskFile(TypedDict):
    """A task that was a .json file."""

    name: str
    config: dict[str, Any]


Tasks = list[str | TaskFile]


class Recipe(NamedTuple):
    """What `opt-gym train` was told, as `run.json` keeps it; `train` says what each means.

    Tasks that were files are there as {"name": ..., "config": ...}, and θ files lie beside
    it: a run can be resumed where the files are not.
    """

    tasks: Tasks | None = None
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
    hide_loss: float = 0.0
    hide_horizon: float = 0.0
    tasks_per_step: int = 1
    task_weights: Sequence[float] = ()
    max_programs: int = 24
    refresh_every: int = 50
    reparameterise: list[str] | None = None
    evaluate_on: Tasks | None = None
    evaluate_every: int = 250
    evaluate_seeds: int = 3
    tensorboard: bool = False
    ray_workers: int = 0
    workers: int = 0
    grow_by: int = 0
    data: str = "auto"


def write_recipe(out: Path, recipe: Recipe) -> None:
    """Writes `run.json` into the folder of a run."""
    fields = {**recipe._asdict(), "task_weights": list(recipe.task_weights)}
    content = json.dumps({**fields, CHECKSUM: json_digest(fields)}, indent=1)
    write_atomically(out / RECIPE_FILE, f"{content}\n".encode())


def folders(out: Path, recipe: Recipe) -> dict[int, Path]:
    """Where the run of each seed lies."""
    seeds = range(recipe.seed, recipe.seed + recipe.seeds)
    if len(seeds) == 1:
        return {recipe.seed: out}
    return {seed: out / f"seed{seed}" for seed in seeds}


def check_free(out: Path, recipe: Recipe) -> None:
    """Raises ValueError where a run has begun: it must be resumed, not mixed with another.

    A recipe that got nowhere, for one that something was wrong in it, is none.
    """
    for folder in (out, *folders(out, recipe).values()):
        begun = [*folder.glob("checkpoint-*.safetensors")]
        begun += [folder / name for name in (THETA_FILE, "log.csv")]
        begun = [path for path in begun if path.is_file()]
        if begun:
            raise ValueError(
                f"{out} holds a run already ({begun[0]}): resume it, or name another"
            )


def read_recipe(out: Path) -> Recipe:
    """The recipe of a run; what an older version did not write has its default.

    Raises:
        ValueError: there is none, or it cannot be read, was changed, or is of a newer version.
    """
    path = out / RECIPE_FILE
    if not path.exists():
        raise ValueError(f"{out} holds no run: there is no {path.name} in it")
    try:
        fields = json.loads(path.read_text())
        written = fields.pop(CHECKSUM, None)
        recipe = Recipe(**fields)
        for name, kind in get_type_hints(Recipe).items():
            if not fits(getattr(recipe, name), kind):
                raise ValueError(f"{name} is {getattr(recipe, name)!r}")
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no recipe of this version: {error}") from error
    if written not in (None, json_digest(fields)):
        raise ValueError(
            f"{path} is not what was written: damaged, or edited; if you meant it, take out "
            f"its line {CHECKSUM!r} (more outer steps: opt-gym resume --outer-steps)"
        )
    return recipe


def with_thetas(out: Path, recipe: Recipe) -> Recipe:
    """The recipe, its θ files copied into the folder of the run.

    Raises:
        OSError: a file that cannot be copied.
    """
    for name in THETA_FIELDS:
        given = getattr(recipe, name)
        if given is not None and Path(given).is_file():
            shutil.copyfile(given, out / _own(name))
            recipe = recipe._replace(**{name: _own(name)})
    return recipe


def located(out: Path, recipe: Recipe) -> Recipe:
    """The recipe with the paths of the θ files that lie beside it."""
    copied = [name for name in THETA_FIELDS if getattr(recipe, name) == _own(name)]
    return recipe._replace(**{name: str(out / _own(name)) for name in copied})


def _own(name: str) -> str:
    """The run's own copy of what a field names."""
    return f"./{name}.safetensors"


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

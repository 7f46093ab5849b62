"""What `opt-gym train` writes down: `run.json`, from which a run goes on anywhere."""

import hashlib
import json
import shutil
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from opt_gym.runtime.files import write_atomically

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
    data: str = "auto"


def write_recipe(out: Path, recipe: Recipe) -> None:
    """Writes `run.json` into the folder of a run."""
    fields = {**recipe._asdict(), "task_weights": list(recipe.task_weights)}
    content = json.dumps({**fields, CHECKSUM: _checksum(fields)}, indent=1)
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
        for name, kind in typing.get_type_hints(Recipe).items():
            if not _fits(getattr(recipe, name), kind):
                raise ValueError(f"{name} is {getattr(recipe, name)!r}")
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no recipe of this version: {error}") from error
    if written not in (None, _checksum(fields)):
        raise ValueError(
            f"{path} is not what was written: damaged, or edited; if you meant it, take out "
            f"its line {CHECKSUM!r} (more outer steps: opt-gym resume --outer-steps)"
        )
    return recipe


def _checksum(fields: dict[str, Any]) -> str:
    text = json.dumps(fields, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value that came from JSON is of an annotated kind."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return True
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, one) for one in inner)
    if origin in (list, Sequence):
        return isinstance(value, list | tuple) and all(
            _fits(x, inner[0]) for x in value
        )
    if origin is dict:
        return isinstance(value, dict) and all(
            _fits(x, inner[1]) for x in value.values()
        )
    if typing.is_typeddict(kind):
        hints = typing.get_type_hints(kind)
        same = isinstance(value, dict) and value.keys() == hints.keys()
        return same and all(_fits(value[key], hints[key]) for key in hints)
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    return isinstance(value, int | float if kind is float else kind)


def with_thetas(out: Path, recipe: Recipe) -> Recipe:
    """The recipe, its θ files copied into the folder of the run.

    Raises:
        OSError: a file that cannot be copied.
    """
    for name in THETA_FIELDS:
        given = getattr(recipe, name)
        if given is not None and Path(given).is_file():
            own = out / f"{name}.safetensors"
            shutil.copyfile(given, own)
            recipe = recipe._replace(**{name: f"./{own.name}"})
    return recipe


def located(out: Path, recipe: Recipe) -> Recipe:
    """The recipe with the paths of the θ files that lie beside it."""
    own = {name: f"./{name}.safetensors" for name in THETA_FIELDS}
    return recipe._replace(
        **{
            name: str(out / f"{name}.safetensors")
            for name in THETA_FIELDS
            if getattr(recipe, name) == own[name]
        }
    )


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

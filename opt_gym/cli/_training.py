"""How a run is made of a recipe."""

import functools
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from opt_gym.cli import _numbers
from opt_gym.cli._recipe import THETA_FILE, Recipe, folders


def check(recipe: Recipe) -> None:
    """Raises ValueError for what can be seen to be wrong before anything is written."""
    import opt_gym
    from opt_gym.cli._tasks import expand

    opt_gym.use_all_cores()  # before JAX starts
    if recipe.start is not None and recipe.architecture_options:
        raise ValueError("--start brings its own architecture: no options for it")
    if recipe.workers and recipe.ray_workers:
        raise ValueError(
            "tasks are spread by --workers or by --ray-workers, not by both"
        )
    _numbers.check(recipe._asdict())
    _trainer(recipe, _optimizer(recipe)[0])
    for name in recipe.evaluate_on or ():
        expand([name])


class _Seed(NamedTuple):
    """One outer-training of a recipe; header: of its newest checkpoint, if there is one."""

    seed: int
    folder: Path
    header: dict[str, Any] | None


def run(out: Path, recipe: Recipe, restart: bool = False) -> int:
    """Runs all seeds of a recipe, each from its newest checkpoint, if there is one.

    They share one trainer and its evaluators, so that programs compile once.

    Args:
        out: the folder.
        recipe: of the run.
        restart: set checkpoints aside, and begin anew.

    Raises:
        ValueError: checkpoints of which none can be read.
    """
    import opt_gym
    from agents import checkpoint

    places = folders(out, recipe)
    for folder in places.values() if restart else ():
        for path in checkpoint.set_aside(folder):
            print(f"set aside: {path}")
    runs = [
        _Seed(seed, folder, checkpoint.newest_header(folder))
        for seed, folder in places.items()
    ]
    header = next((seed_run.header for seed_run in runs if seed_run.header), None)
    # A run is bit for bit the same only on as many devices as it was begun on.
    opt_gym.use_all_cores(header["environment"]["devices"] if header else None)
    return _run_seeds(out, recipe, runs)


def _run_seeds(out: Path, recipe: Recipe, runs: list[_Seed]) -> int:
    optimizer, theta = _optimizer(recipe)
    trainer = _trainer(recipe, optimizer)
    evaluators = _evaluators(recipe, trainer)
    with _spread(recipe, trainer) as trainer:
        for seed_run in runs:
            signal = _one_seed(seed_run, recipe, trainer, theta, evaluators)
            if signal:
                print(f"interrupted; go on with opt-gym resume {out}", file=sys.stderr)
                return 128 + signal
    return 0


def trainer_settings(recipe: Recipe) -> dict[str, Any]:
    """All settings of the trainer that a recipe gives."""
    from opt_gym import plugins

    known = plugins.spec("trainer", recipe.trainer)
    settings = plugins.with_defaults(known, parsed(recipe.options))
    if isinstance(settings.get("horizon"), list):
        settings["horizon"] = tuple(settings["horizon"])
    return settings


def _one_seed(
    seed_run: _Seed,
    recipe: Recipe,
    trainer: Any,
    theta: Any,
    evaluators: dict[str, Any],
) -> int:
    """Runs one seed and writes its θ; the signal that ended it, or 0."""
    import agents
    import learned
    import opt_gym
    from opt_gym.evaluation.comparison import provisional_note

    settings = trainer_settings(recipe)
    training = {
        "trainer": [recipe.trainer, settings],
        "tasks": [env.task.config for env in trainer.envs],
        "seed": seed_run.seed,
        "objective": recipe.objective,
        "learning_rate": recipe.learning_rate,
        "tasks_per_step": recipe.tasks_per_step,
    }

    @functools.cache  # it looks at every task
    def optimizer() -> Any:
        return trainer.trained_optimizer

    def save(path: Path, theta: Any, outer_step: int) -> Path:
        so_far = {**training, "outer_steps": outer_step}
        return learned.save(path, optimizer(), theta, training=so_far)

    name, num_tasks = trainer.learned_optimizer.name, len(trainer.envs)
    # Its checkpoint is read and its θ written all the same: it may be another run's.
    is_done = bool(seed_run.header) and (
        seed_run.header["outer_step"] >= recipe.outer_steps
    )
    print(
        f"{seed_run.folder} is done"
        if is_done
        else f"outer-training {name!r} on {num_tasks} tasks, seed {seed_run.seed}; "
        "a task's programs compile when it is first taken"
    )
    if seed_run.header is None and (seed_run.folder / "log.csv").exists():
        print(f"{seed_run.folder} holds no checkpoint: it begins at outer step 0")
    sources = [env.normalizer.source for env in trainer.envs]
    if note := provisional_note(sources.count("provisional"), len(sources)):
        print(note)
    # Workers that hold the tasks load their data themselves.
    data: list[Any] = [() for _ in trainer.envs]
    if not recipe.workers:
        data = [opt_gym.load_data(env) for env in trainer.envs]
    result = agents.train(
        trainer,
        data,
        outer_steps=recipe.outer_steps,
        seed=seed_run.seed,
        theta=theta,
        out=seed_run.folder,
        resume=seed_run.header is not None,
        callbacks=()
        if is_done
        else _callbacks(recipe, seed_run.folder, save, evaluators),
    )
    path = save(seed_run.folder / THETA_FILE, result.theta, result.outer_step)
    print(f"{path} holds θ after {result.outer_step} outer steps")
    return result.signal


@contextmanager
def _spread(recipe: Recipe, trainer: Any) -> Iterator[Any]:
    """The trainer, its tasks spread over worker processes if the recipe says so."""
    if recipe.workers:
        from agents.task_workers import task_workers

        # Looking for a task's normalizer takes its data, which only its worker needs.
        known = tuple((env.task.config, env.normalizer) for env in trainer.envs)
        make, bar = partial(_made_again, recipe, known), _CompilingBar()
        with task_workers(make, recipe.workers, bar) as workers:
            yield workers.spread(trainer)
    elif recipe.ray_workers:
        from agents.ray_workers import ray_workers

        make = partial(_trainer_and_data, recipe)
        with ray_workers(make, recipe.ray_workers) as workers:
            yield workers.spread(trainer)
    else:
        yield trainer


class _CompilingBar:
    """Says "compiling 7 of 120" until all are."""

    def __init__(self) -> None:
        self._bar: Any = None

    def __call__(self, ready: int, of: int) -> None:
        from tqdm import tqdm

        if self._bar is None:
            form = "compiling {n} of {total} |{bar}| {elapsed}"
            self._bar = tqdm(total=of, leave=False, bar_format=form, position=1)
        self._bar.update(ready - self._bar.n)
        if ready == of:
            self._bar.close()


def _made_again(recipe: Recipe, known: Sequence[tuple[Any, Any]] | None = None) -> Any:
    """What a worker process makes; `known` are configs and normalizers of the tasks."""
    return _trainer(recipe, _optimizer(recipe)[0], known)


def _trainer_and_data(recipe: Recipe) -> tuple[Any, list[Any]]:
    """What a worker process makes."""
    import opt_gym

    trainer = _made_again(recipe)
    return trainer, [opt_gym.load_data(env) for env in trainer.envs]


def _optimizer(recipe: Recipe) -> tuple[Any, Any]:
    """(learned optimizer, θ to start from, or None for a random one)."""
    import learned

    if recipe.start is not None:
        return learned.load(recipe.start)
    options = parsed(recipe.architecture_options)
    return learned.make(recipe.architecture, **options), None


def _trainer(
    recipe: Recipe, optimizer: Any, known: Sequence[tuple[Any, Any]] | None = None
) -> Any:
    import agents
    import opt_gym

    envs = [
        opt_gym.make(
            task,
            learned_optimizer=optimizer,
            objective=recipe.objective,
            second_derivatives=recipe.second_derivatives,
            hide_loss=recipe.hide_loss,
            hide_horizon=recipe.hide_horizon,
            data=recipe.data,
            normalizer=normalizer,
        )
        for task, normalizer in known or _tasks(recipe)
    ]
    mix = agents.task_mix(
        envs,
        recipe.task_weights,
        per_step=recipe.tasks_per_step,
        max_programs=0 if recipe.workers else recipe.max_programs,
        refresh_every=recipe.refresh_every,
        grow_by=recipe.grow_by,
    )
    takes_one = agents.takes_outer_optimizer(recipe.trainer)
    return agents.make(
        recipe.trainer,
        envs=mix,
        learned_optimizer=optimizer,
        outer_optimizer=_outer_optimizer(recipe) if takes_one else None,
        **trainer_settings(recipe),
    )


def _tasks(recipe: Recipe) -> list[tuple[Any, None]]:
    """The tasks of a recipe, whose normalizers are not known yet."""
    from envs_registry.benchmark_sets import SMALL_MLP_TRAIN
    from opt_gym.cli._tasks import expand

    given = expand(recipe.tasks or SMALL_MLP_TRAIN[:8]).values()
    return [(task, None) for task in _reparameterised(given, recipe.reparameterise)]


def _reparameterised(tasks: Iterable[Any], levels: list[str] | None) -> list[Any]:
    """Every task once with each level of task augmentation; "none" is the task itself."""
    from opt_gym import factory
    from opt_gym.adapters.reparameterisation import KEY

    return [
        task
        if level == "none"
        else {**factory.task_config(task), KEY: {"level": level}}
        for level in levels or ["none"]
        for task in tasks
    ]


def _outer_optimizer(recipe: Recipe) -> Any:
    import optax

    import agents
    import learned
    from agents.outer_optimizers import USUAL, clipped, outer_optimizer

    name, rate = recipe.outer_optimizer, recipe.learning_rate
    steps = recipe.outer_steps * agents.updates_per_step(
        recipe.trainer, recipe.tasks_per_step, **trainer_settings(recipe)
    )
    if name in USUAL:
        optimizer = outer_optimizer(name, rate, steps)
    else:
        tx = learned.to_optax(*learned.load(name), horizon=steps)
        optimizer = optax.chain(tx, optax.scale(rate))
    return clipped(optimizer, norm=recipe.clip_norm, coordinate=recipe.clip_coordinate)


def _evaluators(recipe: Recipe, trainer: Any) -> dict[str, Any]:
    """What evaluates θ on each of the held-out sets."""
    from opt_gym.cli._tasks import expand
    from opt_gym.evaluation.evaluations import evaluator
    from opt_gym.evaluation.runs import EvaluationSettings

    settings = EvaluationSettings(
        trainer.horizon or 1000,
        recipe.evaluate_seeds,
        objective=recipe.objective,
        data=recipe.data,
    )
    return {
        task if isinstance(task, str) else task["name"]: evaluator(
            trainer.learned_optimizer, expand([task]), settings
        )
        for task in recipe.evaluate_on or ()
    }


def _callbacks(
    recipe: Recipe, folder: Path, save: Any, evaluators: dict[str, Any]
) -> list[Any]:
    from agents.callbacks import HeldOut, ProgressBar, TensorBoardLog

    callbacks: list[Any] = [ProgressBar()]
    if recipe.tensorboard:
        callbacks.append(TensorBoardLog(folder / "tensorboard"))
    if evaluators:
        every = recipe.evaluate_every
        callbacks.append(HeldOut(evaluators, folder, save, every, told=_tell))
    return callbacks


def _tell(line: str) -> None:
    from tqdm import tqdm

    with tqdm.external_write_mode():
        print(line)


def parsed(options: dict[str, str] | None) -> dict[str, Any]:
    """Values in JSON, or as Python writes numbers, True, False and None; the rest is text.

    Whether a setting takes such a value is checked where the plug-in is known.
    """
    words = {"True": True, "False": False, "None": None}

    def value(text: str) -> Any:
        for read in (json.loads, words.__getitem__, int, float):
            with suppress(ValueError, KeyError, RecursionError):
                return read(text)
        return text

    return {key: value(text) for key, text in (options or {}).items()}

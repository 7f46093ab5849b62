"""`opt-gym train` and `opt-gym resume`: outer-trains a learned optimizer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from opt_gym.cli import _recipe, _training


def train(
    out: Path,
    tasks: list[str] | None = None,
    trainer: str = "pes",
    architecture: str = "nominal",
    outer_steps: int = 2400,
    seed: int = 0,
    seeds: int = 1,
    outer_optimizer: str = "adam",
    learning_rate: float = 1e-2,
    clip_norm: float = 1.0,
    clip_coordinate: float = 0.0,
    options: dict[str, str] | None = None,
    architecture_options: dict[str, str] | None = None,
    start: str | None = None,
    objective: Literal["train", "valid", "noisy"] = "train",
    second_derivatives: bool = False,
    hide_loss: float = 0.0,
    hide_horizon: float = 0.0,
    tasks_per_step: int = 1,
    task_weights: Sequence[float] = (),
    max_programs: int = 24,
    refresh_every: int = 50,
    reparameterise: list[Literal["none", "global", "tensor", "parameter"]]
    | None = None,
    evaluate_on: list[str] | None = None,
    evaluate_every: int = 250,
    evaluate_seeds: int = 3,
    tensorboard: bool = False,
    ray_workers: int = 0,
    workers: int = 0,
    grow_by: int = 0,
    data: Literal["auto", "embedded", "tfds"] = "auto",
) -> int:
    """Outer-trains a learned optimizer on a set of tasks.

    Ctrl-C, or SIGTERM, leaves a checkpoint and θ so far; `opt-gym resume OUT` goes on, bit
    for bit. Every distinct task costs seconds of compilation.

    Try:
      opt-gym train --out runs/first --tasks small_mlp_family_seed0 small_mlp_family_seed1
      opt-gym train --out runs/first --tasks small_mlp/train --tasks-per-step 4 --seeds 3
      opt-gym train --out runs/es --trainer es --options sigma 0.03 horizon 200
      opt-gym train --out runs/small --evaluate-on small_mlp/development
      opt-gym train --out runs/many --tasks taskset-tiny-v1/train --tasks-per-step 16
        --workers 6 --grow-by 4
      opt-gym train --out runs/learned --outer-optimizer nominal_small --learning-rate 1

    Args:
        out: folder for checkpoints, log.csv and theta.safetensors; with several seeds, a
            folder in it for each.
        tasks: names, ids, families (a seed is drawn anew for each episode), frozen lists or
            .json files; the first eight of small_mlp/train by default.
        trainer: one of `opt-gym list trainers`.
        architecture: one of `opt-gym list architectures`.
        outer_steps: in all.
        seed: of the (first) run and of its initial θ.
        seeds: runs, one after another, with seeds seed, seed + 1, ...
        outer_optimizer: adam, adamw, rmsprop or sgd, with 20 steps of warm-up and a cosine to
            a twentieth of the rate; or a θ file or bundled name: a learned optimizer, whose
            updates the learning rate multiplies.
        learning_rate: of the outer optimizer.
        clip_norm, clip_coordinate: bounds of the gradients' norm and coordinates; 0 for none.
        options: of the trainer, with values in JSON: sigma 0.03 horizon [50,1000].
        architecture_options: the same for the architecture.
        start: a θ file or bundled name to start from, instead of a random θ; it brings its
            architecture.
        objective: whose loss counts: on training, validation or corrupted inputs.
        second_derivatives: let backprop see how a gradient depends on the weights.
        hide_loss, hide_horizon: the share of episodes in which an architecture that only
            welcomes them is not told the loss, or the horizon.
        tasks_per_step: tasks whose gradients an outer step averages.
        task_weights: how often each task is taken; all in turn by default.
        max_programs: tasks that are live (compiled, their unrolls kept) at a time, the others
            wait; 0 for all.
        refresh_every: outer steps after which the oldest of these gives way to the next, and
            its unrolls end; it has had refresh_every x tasks_per_step windows of trunc_length.
        reparameterise: task augmentation: weights are stored in another scale, drawn anew
            for every episode, for all of them, per tensor or per parameter; each task is
            taken once with every level named here.
        evaluate_on: tasks or frozen lists to evaluate θ on: evaluations.csv, best.safetensors.
        evaluate_every: outer steps between evaluations.
        evaluate_seeds: episodes of each of their tasks.
        tensorboard: log for TensorBoard, too.
        ray_workers: processes, here or in a Ray cluster, that share the tasks of an outer
            step, each on one core; 0 for none.
        workers: processes on this machine that each hold a share of the tasks, with their
            programs and unrolls, up to 30 each; all tasks are live, whatever max_programs
            says. Checkpoints have no unrolls then: a resumed run begins new ones. 0 for none.
        grow_by: tasks that are live in the first outer step, and that become so with every
            later one: training begins while the others compile; 0: all at once.
        data: where data sets come from.
    """
    given = {key: value for key, value in locals().items() if key != "out"}
    from agents.run_lock import locked

    recipe = _recipe.with_configs(_recipe.Recipe(**given))
    _recipe.check_free(out, recipe)
    _training.check(recipe)
    with locked(out):
        _recipe.check_free(out, recipe)  # another process may have been quicker
        recipe = _recipe.with_thetas(out, recipe)
        _recipe.write_recipe(out, recipe)
        return _training.run(out, _recipe.located(out, recipe))


def resume(
    out: Annotated[Path, tyro.conf.Positional],
    restart: bool = False,
    outer_steps: int | None = None,
) -> int:
    """Goes on with what `opt-gym train` began, bit for bit.

    Args:
        out: the folder that `opt-gym train --out` was given.
        restart: begin anew; checkpoints that are there are set aside, not deleted.
        outer_steps: in all, instead of as many as the run was begun with; a schedule of the
            learning rate is that of the new number.
    """
    from agents.run_lock import locked

    recipe = _recipe.read_recipe(out)
    if outer_steps is not None:
        recipe = recipe._replace(outer_steps=outer_steps)
    _training.check(_recipe.located(out, recipe))
    with locked(out):
        _recipe.write_recipe(out, recipe)
        return _training.run(out, _recipe.located(out, recipe), restart=restart)

"""`opt-gym evaluate`: a learned optimizer beside tuned baselines."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro


def evaluate(
    optimizer: Annotated[str, tyro.conf.Positional],
    tasks: list[str],
    horizon: list[int] | None = None,
    num_seeds: int = 5,
    objective: Literal["train", "valid", "noisy"] = "train",
    data: Literal["auto", "embedded", "tfds"] = "auto",
    baselines: bool = True,
    training_tasks: list[str] | None = None,
    out: Path | None = None,
    cache: bool = True,
) -> int:
    """Compares a learned optimizer with Adam at the best of 14 learning rates.

    Two Adams: one rate for all tasks, the best on the training tasks; and the best rate of
    every single task, chosen in hindsight on the runs it is judged by. Reports the normalized
    loss (1 is the initial loss, 0 the best that any of the 14 reached), averaged over all
    inner steps, with 95 % intervals. Results are cached; an interrupted evaluation goes on.

    Try:
      opt-gym evaluate runs/first/theta.safetensors --tasks small_mlp/held_out --out results
      opt-gym evaluate theta.safetensors --tasks small_mlp/held_out --horizon 1000 5000
      opt-gym evaluate sgd --tasks mlp_family_seed3 --no-baselines

    Args:
        optimizer: a θ file, a bundled name, or an architecture (with its initial θ: for
            hand-designed optimizers their default hyperparameters).
        tasks: names, ids, frozen lists or .json files.
        horizon: inner steps; several numbers for several comparisons. 1000 by default.
        num_seeds: episodes of each task, the same for every optimizer.
        objective: whose loss counts: on training, validation or corrupted inputs.
        data: where data sets come from.
        baselines: run the two Adams.
        training_tasks: where the one rate for all is chosen; small_mlp/train by default.
        out: folder for curves.csv and one picture a horizon.
        cache: keep results in the user's cache folder, and use those that are there.
    """
    import opt_gym

    opt_gym.use_all_cores()
    from opt_gym import strategy
    from opt_gym.cli._tasks import expand
    from opt_gym.evaluation.baselines import (
        GLOBAL_ADAM,
        PER_TASK_ADAM,
        evaluate_baselines,
    )
    from opt_gym.evaluation.comparison import compare, format_summaries, format_tasks
    from opt_gym.evaluation.records import Settings

    policy, theta = _load(optimizer)
    named = expand(tasks)
    settings = Settings(
        horizon=tuple(dict.fromkeys(horizon or [1000])),
        num_seeds=num_seeds,
        objective=objective,
        data=data,
    )
    folder = strategy.cache_folder() / "evaluations" if cache else None
    runs = opt_gym.evaluate(
        policy, named, theta, cache=folder, progress=_progress, **settings._asdict()
    )
    reference = None
    if baselines:
        adams, choices = evaluate_baselines(
            [GLOBAL_ADAM, PER_TASK_ADAM],
            named,
            expand(training_tasks or ["small_mlp/train"]),
            settings,
            folder,
            _progress,
        )
        runs += adams
        reference = GLOBAL_ADAM.title
        rate = choices[0].setting(next(iter(named)))["learning_rate"]
        print(f"{reference}: learning rate {rate:g}, the best on the training tasks\n")
    for steps in dict.fromkeys(one.horizon for one in runs):
        print(f"mean normalized loss over {steps:,} inner steps, per task")
        print(format_tasks(runs, policy.name, steps), end="\n\n")
    print("all tasks")
    print(format_summaries(compare(runs, reference), reference or ""))
    if out is not None:
        _write(out, runs, policy.name)
    return 0


def _load(optimizer: str) -> tuple[Any, Any]:
    """(learned optimizer, θ); None for the initial θ of an architecture."""
    import learned
    from learned.theta_file import bundled_names
    from opt_gym.plugins import unknown

    if Path(optimizer).exists() or optimizer in bundled_names():
        return learned.load(optimizer)
    if optimizer not in learned.names():
        known = [*bundled_names(), *learned.names()]
        what = "θ file, bundled name or architecture"
        raise ValueError(unknown(what, optimizer, known))
    return learned.make(optimizer), None


def _progress(name: str, done: int, total: int) -> None:
    print(f"  {done}/{total} {name}", file=sys.stderr)


def _write(out: Path, runs: list[Any], subject: str) -> None:
    from opt_gym.evaluation.curves import write_csv
    from opt_gym.evaluation.plots import plot_comparison

    print(f"\nwrote {write_csv(out / 'curves.csv', runs)}")
    for steps in dict.fromkeys(one.horizon for one in runs):
        path = out / f"comparison_{steps}.png"
        print(f"wrote {plot_comparison(path, runs, subject=subject, horizon=steps)}")

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
    baselines: tuple[str, ...] = ("adam_lr:14", "adam_lr:14:per_task"),
    no_baselines: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    training_tasks: list[str] | None = None,
    out: Path | None = None,
    cache: bool = True,
) -> int:
    """Compares a learned optimizer with tuned hand-designed ones.

    A baseline is space:trials, one setting for all tasks, the best of so many trials on the
    training tasks; or space:trials:per_task, the best on every single task, chosen in
    hindsight on the runs it is judged by. Spaces: adam_lr, adam_cosine_lr and sgd_lr (14
    learning rates), and TaskSet's adam1p_wide_grid, adam4p_wide_grid, adam6p_wide_grid,
    adam8p_wide_grid, nadamw_grid and adagrad_wide_grid (2,000 trials), adam_lr_grid and
    adagrad_lr_grid (17), opt_list (1,000 in published order); with _corrected behind their
    names adam8p_wide_grid, nadamw_grid and opt_list run without the faults of TaskSet's code.

    Reports the normalized loss (1 is the initial loss, 0 the best that any of adam_lr's 14
    reached), averaged over all inner steps, with 95 % intervals. Results are cached; an
    interrupted evaluation or search goes on.

    Try:
      opt-gym evaluate runs/first/theta.safetensors --tasks small_mlp/held_out --out results
      opt-gym evaluate theta.safetensors --tasks small_mlp/held_out --horizon 1000 5000
      opt-gym evaluate nominal_small --tasks mlp --baselines adam_lr:14 opt_list:10:per_task
      opt-gym evaluate sgd --tasks mlp_family_seed3 --no-baselines

    Args:
        optimizer: a θ file, a bundled name, or an architecture (with its initial θ: for
            hand-designed optimizers their default hyperparameters).
        tasks: names, ids, frozen lists or .json files.
        horizon: inner steps; several numbers for several comparisons. 1000 by default.
        num_seeds: episodes of each task, the same for every optimizer.
        objective: whose loss counts: on training, validation or corrupted inputs.
        data: where data sets come from.
        baselines: what to compare with; differences are from the first.
        no_baselines: compare with nothing.
        training_tasks: where one setting for all is chosen; small_mlp/train by default.
        out: folder for curves.csv and one picture a horizon.
        cache: keep results in the user's cache folder, and use those that are there.
    """
    import opt_gym

    opt_gym.use_all_cores()
    from opt_gym.cli._tasks import expand
    from opt_gym.evaluation.baselines import evaluate_baselines, parse_baseline
    from opt_gym.evaluation.comparison import compare, format_summaries, format_tasks
    from opt_gym.evaluation.evaluations import jobs_of, run_all
    from opt_gym.evaluation.runs import EvaluationSettings
    from opt_gym.runtime.files import cache_folder

    asked = [] if no_baselines else [parse_baseline(text) for text in baselines]
    policy, theta = _load(optimizer)
    named = expand(tasks)
    settings = EvaluationSettings(
        horizon=tuple(dict.fromkeys(horizon or [1000])),
        num_seeds=num_seeds,
        objective=objective,
        data=data,
    )
    folder = cache_folder() / "evaluations" if cache else None
    runs = run_all(jobs_of(policy, named, theta), settings, folder, show_progress)
    baseline_runs, choices = evaluate_baselines(
        asked,
        named,
        expand(training_tasks or ["small_mlp/train"]),
        settings,
        folder,
        show_progress,
    )
    runs += baseline_runs
    reference = asked[0].title if asked else ""
    for choice in choices:
        if not choice.baseline.per_task:
            print(_describe(choice, next(iter(named))), end="\n\n")
    for steps in dict.fromkeys(run.horizon for run in runs):
        print(f"mean normalized loss over {steps:,} inner steps, per task")
        print(format_tasks(runs, policy.name, steps), end="\n\n")
    print("all tasks")
    print(format_summaries(compare(runs, reference or None), reference))
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


def _describe(choice: Any, task: str) -> str:
    """The setting that a baseline uses everywhere."""
    setting = ", ".join(
        f"{name.replace('_', ' ')} {value:g}"
        for name, value in choice.setting(task).items()
    )
    if choice.baseline.num_trials == 1:
        return f"{choice.baseline.title}: {setting}"
    return f"{choice.baseline.title}: {setting}, the best on the training tasks"


def show_progress(name: str, done: int, total: int) -> None:
    """One line on stderr a task."""
    print(f"  {done}/{total} {name}", file=sys.stderr)


def _write(out: Path, runs: list[Any], subject: str) -> None:
    from opt_gym.evaluation.curves import write_csv
    from opt_gym.evaluation.plots import plot_comparison

    print(f"\nwrote {write_csv(out / 'curves.csv', runs)}")
    for steps in dict.fromkeys(run.horizon for run in runs):
        path = out / f"comparison_{steps}.png"
        print(f"wrote {plot_comparison(path, runs, subject=subject, horizon=steps)}")

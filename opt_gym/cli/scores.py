"""`opt-gym scores`: what a return means in an environment."""

from pathlib import Path
from typing import Literal


def scores(
    tasks: list[str] | None = None,
    learned_optimizer: str = "nominal_small",
    horizon: int = 200,
    num_seeds: int = 3,
    data: Literal["auto", "embedded", "tfds"] = "auto",
    out: Path | None = None,
    cache: bool = True,
) -> int:
    """Prints the return of no action, noise, the best SGD and Adam, a learned optimizer.

    A return is minus the mean normalized loss of an episode: about -1 is what doing nothing
    gets, 0 the loss of Adam's best. SGD and Adam have the best of 14 learning rates of every
    task, chosen in hindsight; an environment counts as solved from that Adam's return on.

    Try:
      opt-gym scores --tasks small_mlp/held_out --horizon 1000
      opt-gym scores --learned-optimizer runs/first/theta.safetensors

    Args:
        tasks: names, ids, frozen lists or .json files; one of each family by default.
        learned_optimizer: a θ file or bundled name.
        horizon: inner steps of an episode.
        num_seeds: episodes of each task, the same for all.
        data: where data sets come from.
        out: a file for the table, too (Markdown).
        cache: keep results in the user's cache folder, and use those that are there.
    """
    import opt_gym

    opt_gym.use_all_cores()
    import learned
    from opt_gym.cli._tasks import expand
    from opt_gym.cli.evaluate import show_progress
    from opt_gym.evaluation.runs import EvaluationSettings
    from opt_gym.evaluation.scores import format_scores, score
    from opt_gym.runtime.files import cache_folder, write_atomically

    optimizer, theta = learned.load(learned_optimizer)
    settings = EvaluationSettings(
        horizon, num_seeds, num_points=2, num_batches=1, data=data
    )
    per_task = score(
        expand(tasks) if tasks else one_of_each_family(),
        optimizer,
        theta,
        settings,
        cache_folder() / "evaluations" if cache else None,
        show_progress,
    )
    table = format_scores(per_task, learned_optimizer)
    print(table)
    if out is not None:
        write_atomically(out, f"{table}\n".encode())
    return 0


def one_of_each_family() -> list[str]:
    """The first task of each family in taskset-small-v1: finite, and quick."""
    from envs_registry.benchmark_sets import BENCHMARK_SETS
    from envs_registry.names import family_of

    first: dict[str, str] = {}
    for part in ("train", "held_out_families"):
        for task in BENCHMARK_SETS[f"taskset-small-v1/{part}"]:
            first.setdefault(family_of(task), task)
    return [first[family] for family in sorted(first)]

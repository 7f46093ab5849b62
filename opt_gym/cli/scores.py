"""`opt-gym scores`: what a return means in an environment."""

from pathlib import Path
from typing import Literal

TASKS = (
    "quadratic_family_seed0",
    "losg_tasks_family_seed0",
    "small_mlp_family_seed200",
    "mlp_family_seed3",
    "mlp_ae_family_seed0",
    "mlp_vae_family_seed0",
    "conv_pooling_family_seed0",
    "conv_fc_family_seed0",
    "nvp_family_seed0",
    "maf_family_seed0",
    "rnn_text_classification_family_seed0",
    "char_rnn_language_model_family_seed0",
)
"""One of each kind."""


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

    A return is minus the mean normalized loss of an episode: -1 is what doing nothing gets,
    0 is perfect. SGD and Adam have the best of 14 learning rates of every task, chosen in
    hindsight; an environment counts as solved from that Adam's return on.

    Try:
      opt-gym scores --tasks small_mlp/held_out --horizon 1000
      opt-gym scores --learned-optimizer runs/first/theta.safetensors

    Args:
        tasks: names, ids, frozen lists or .json files; one of each kind by default.
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
    from opt_gym.evaluation.records import Settings
    from opt_gym.evaluation.scores import format_scores, score
    from opt_gym.files import cache_folder

    optimizer, theta = learned.load(learned_optimizer)
    settings = Settings(horizon, num_seeds, num_points=2, num_batches=1, data=data)
    found = score(
        expand(tasks or list(TASKS)),
        optimizer,
        theta,
        settings,
        cache_folder() / "evaluations" if cache else None,
        show_progress,
    )
    table = format_scores(found, learned_optimizer)
    print(table)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(table + "\n")
    return 0

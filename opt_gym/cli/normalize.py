"""`opt-gym normalize`: measures where a task's normalized loss is 1 and 0."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro


def normalize(
    tasks: Annotated[list[str], tyro.conf.Positional],
    objective: Literal["train", "valid", "noisy"] = "train",
    corruption: str = "training",
    data: Literal["auto", "embedded", "tfds"] = "auto",
    num_seeds: int = 5,
    learning_rates: list[float] | None = None,
    workers: int = 0,
    limit: float | None = None,
    table: Path | None = None,
    again: bool = False,
) -> int:
    """Measures normalizers: trains Adam at 14 learning rates for 1,000 inner steps.

    The normalized loss of a task is 1 at its initial loss and 0 at the best loss that any of
    the rates reached. Takes about 10 to 20 seconds for a small task; what the same runs tell
    of the validation loss is written, too. A row is written as a task ends, and tasks that
    the table has already are skipped, so it can be interrupted and repeated.

    Try:
      opt-gym normalize mlp_family_seed3
      opt-gym normalize small_mlp/held_out --objective valid
      opt-gym normalize conv_fc_family_seed0 --num-seeds 1 --learning-rates 1e-5 1e-4 3e-4
        1e-3 3e-3 1e-2 1e-1               half the rates, for a slow task
      opt-gym normalize small_mlp/train --workers 2 --limit 300

    Args:
        tasks: names, ids, frozen lists or .json files.
        objective: whose loss: on training, validation or corrupted inputs.
        corruption: for "noisy": a set of corruptions.
        data: where data sets come from.
        num_seeds: episodes of each learning rate.
        learning_rates: at least 7 of the 14. The row says which, and its costs do not serve
            as those of a search over all 14.
        workers: processes, each on a core of its own: the quickest for many tasks. 0: this
            process, all cores on one task.
        limit: seconds for one task, then it is left out; needs workers.
        table: the file to write; by default the one in your cache folder.
        again: measure even what the table has.
    """
    import opt_gym

    if limit is not None and not workers:
        raise ValueError("--limit needs --workers: a task is stopped with its process")
    opt_gym.use_all_cores()
    from opt_gym import normalize as tables
    from opt_gym.cli._tasks import expand
    from opt_gym.evaluation.measure_normalizers import NormalizerJob, check_rates

    path = table or tables.user_table()
    settings = {
        "objective": objective,
        "source": data,
        "corruption": corruption,
        "num_seeds": num_seeds,
        "learning_rates": check_rates(learning_rates or tables.LEARNING_RATES),
    }
    jobs = [
        NormalizerJob(
            name,
            chosen if isinstance(chosen, dict) else None,
            None if again else path,
            settings,
        )
        for name, chosen in expand(tasks).items()
    ]
    failures = _measure(path, jobs, workers, limit)
    return 2 if failures else 0


def _measure(path: Path, jobs: list[Any], workers: int, limit: float | None) -> int:
    """Runs the jobs, writes their rows and says what came of them; how many failed."""
    from tqdm import tqdm

    from opt_gym.normalize import write_rows
    from opt_gym.runtime.worker_processes import run_jobs

    failures = 0
    function = "opt_gym.evaluation.measure_normalizers:measure_job"
    outcomes = run_jobs(function, jobs, workers=workers, limit=limit)
    with tqdm(outcomes, total=len(jobs), unit="task", disable=len(jobs) < 2) as bar:
        for outcome in bar:
            name, rows = outcome.job.name, outcome.result
            if outcome.error:
                failures += 1
                said = outcome.error.removeprefix(f"{name}: ")
                bar.write(f"opt-gym: {name}: {said}", file=sys.stderr)
            elif not rows:
                bar.write(f"{name}  in {path} already")
            else:
                write_rows(path, rows)
                bar.write(f"{name}  {_said(rows[0])}")
    return failures


def _said(row: dict[str, str]) -> str:
    from opt_gym.normalize import LEARNING_RATES

    costs = [float(cost) for cost in row["adam_mean_cost"].split()]
    rates = [float(rate) for rate in row.get("learning_rates", "").split()]
    best = costs.index(min(costs))
    return (
        f"1 at {row['initial']}, 0 at {row['best']}; best rate "
        f"{(rates or LEARNING_RATES)[best]:g} of {len(costs)}, "
        f"mean normalized loss {costs[best]:.4f}"
    )

"""`opt-gym normalize`: measures where a task's normalized loss is 1 and 0."""

import sys
import time
from pathlib import Path
from typing import Annotated, Literal

import tyro


def normalize(
    tasks: Annotated[list[str], tyro.conf.Positional],
    objective: Literal["train", "valid", "noisy"] = "train",
    corruption: str = "training",
    data: Literal["auto", "embedded", "tfds"] = "auto",
    num_seeds: int = 5,
    table: Path | None = None,
    again: bool = False,
) -> int:
    """Measures normalizers: trains Adam at 14 learning rates for 1,000 inner steps.

    The normalized loss of a task is 1 at its initial loss and 0 at the best loss that any of
    the 14 rates reached. Takes about 10 to 20 seconds for a small task; tasks that the table
    has already are skipped, so it can be interrupted and repeated.

    Try:
      opt-gym normalize mlp_family_seed3
      opt-gym normalize small_mlp/held_out --objective valid

    Args:
        tasks: names, ids, frozen lists or .json files.
        objective: whose loss: on training, validation or corrupted inputs.
        corruption: for "noisy": a set of corruptions.
        data: where data sets come from.
        num_seeds: episodes of each learning rate.
        table: the file to write; by default the one in your cache folder.
        again: measure even what the table has.
    """
    import opt_gym

    opt_gym.use_all_cores()
    from opt_gym import normalize as procedure
    from opt_gym import strategy
    from opt_gym.cli._tasks import expand

    strategy.use_compilation_cache()
    path = table or procedure.user_table()
    failures = 0
    for name, chosen in expand(tasks).items():
        task = opt_gym.make_task(opt_gym.task_config(chosen))
        key = procedure.row_key(
            task.config, objective, task.load_data(data), corruption
        )
        if not again and key in procedure.read_table(path):
            print(f"{name}  in {path} already")
            continue
        began = time.monotonic()
        try:
            found = procedure.measure(
                task, objective, data, corruption, name=name, num_seeds=num_seeds
            )
        except ValueError as error:
            failures += 1
            print(f"opt-gym: {error}", file=sys.stderr)
            continue
        procedure.write_rows(path, [found.row])
        best = int(found.costs.argmin())
        print(
            f"{name}  1 at {found.normalizer.initial:.6g}, "
            f"0 at {found.normalizer.best:.6g}; best rate "
            f"{procedure.LEARNING_RATES[best]:g}, mean normalized loss "
            f"{found.costs[best]:.4f}  ({time.monotonic() - began:.0f} s)",
            flush=True,
        )
    return 2 if failures else 0

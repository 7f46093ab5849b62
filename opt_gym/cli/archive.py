"""`opt-gym archive`: measures the baselines that `opt-gym report` compares with."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro


def archive(
    tasks: Annotated[list[str], tyro.conf.Positional],
    groups: list[str] | None = None,
    data: Literal["auto", "embedded", "tfds"] = "auto",
    workers: int = 0,
    limit: float | None = None,
    hours: float | None = None,
    out: Path | None = None,
) -> int:
    """Measures baselines on tasks, for who judges optimizers on data of his own.

    The package comes with an archive of its suites' tasks. Where your data are others, or the
    tasks your own, this measures the same: groups of settings, in order, written as each task
    ends, so that it can be interrupted and repeated. `opt-gym report` finds them.

    Try:
      opt-gym archive my_task.json --groups adam one_trial
      opt-gym archive small_mlp/held_out --data tfds --workers 2 --hours 1

    Args:
        tasks: names, ids, frozen lists or .json files.
        groups: of settings; by default those that every task of a suite has.
        data: where data sets come from.
        workers: processes, each on a core of its own. 0: this process.
        limit: seconds for one group on one task, then it is left out; needs workers.
        hours: after which no new job is begun.
        out: folder; by default one in your cache folder.
    """
    import opt_gym

    if limit is not None and not workers:
        raise ValueError("--limit needs --workers: a job is stopped with its process")
    opt_gym.use_all_cores()
    from opt_gym.archive import archive_files
    from opt_gym.archive.groups import GROUPS, SUITE_GROUPS
    from opt_gym.archive.measuring import measure
    from opt_gym.cli._tasks import expand
    from opt_gym.plugins import unknown

    for group in groups or ():
        if group not in GROUPS:
            raise ValueError(unknown("group of settings", group, list(GROUPS)))
    configs = {
        name: chosen if isinstance(chosen, dict) else None
        for name, chosen in expand(tasks).items()
    }
    failures = 0
    seconds = float("inf") if hours is None else 3600 * hours
    folder = out or archive_files.user_folder()
    for step in measure(
        configs,
        groups or SUITE_GROUPS,
        folder,
        source=data,
        workers=workers,
        limit=limit,
        seconds=seconds,
    ):
        failures += bool(step.error)
        said = step.error or "measured"
        print(
            f"{step.group} {step.done}/{step.of}  {step.task}  {said}", file=sys.stderr
        )
    print(f"the archive is {folder}")
    return 2 if failures else 0

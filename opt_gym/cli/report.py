"""`opt-gym report`: how good optimizers are, on a suite, beside the archive's baselines."""

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

QUICK_LIMIT = 240.0
"""Seconds of a job of a quick report."""


def report(
    entrants: Annotated[list[str], tyro.conf.Positional],
    suite: str = "small",
    out: Path = Path("report"),
    quick: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    horizons: list[int] | None = None,
    num_seeds: int | None = None,
    data: Literal["auto", "embedded", "tfds"] = "auto",
    measure_baselines: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    timing: bool = True,
    workers: int | None = None,
    ray: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    limit: float | None = None,
    memory: float | None = None,
    cache: bool = True,
) -> int:
    """Judges optimizers on a suite of tasks: one page that a sceptic accepts.

    An entrant is a θ file or a bundled name, an architecture, an optax optimizer
    (optax:adamw(learning_rate=cosine 3e-3,weight_decay=1e-4); rates may be constant, cosine,
    warmup or warmup_cosine), or a .py file that defines `optimizer`: an optax transformation,
    or a function of the horizon that makes one. Only entrants are run; Adam, what needs no
    tuning and what was tuned come from the archive of the package.

    Writes report.html (one file, no network), every figure as PNG and SVG, every number as
    CSV and in report.json. What was run is kept in the cache: interrupted, it goes on.
    Suites: small (12 small networks, minutes), taskset-small-v1 (40 tasks, development),
    taskset-small-v2 (40 tasks kept for tests: a θ is entered twice at most); `opt-gym list
    suites` has all.

    Try:
      opt-gym report nominal_small --suite small --out report
      opt-gym report theta.safetensors "optax:lion(1e-4)" --suite taskset-small-v1 --quick
      opt-gym report nominal_medium --suite taskset-small-v1 --horizons 1 5

    Args:
        entrants: who is judged; several stand side by side.
        suite: which tasks.
        out: folder.
        quick: a first answer in minutes: a few of the tasks, one seed.
        horizons: factors of 1,000 inner steps; 1 by default.
        num_seeds: of every task, as many as the archive's at most (5); the suite's by default.
        data: where data sets come from.
        measure_baselines: measure what the archive lacks, for your data: long.
        timing: time steps beside AdamW's afterwards, on three tasks.
        workers: processes, each on a core of its own; as many as there are cores by default.
            0: this process.
        ray: run on the Ray cluster of the environment.
        limit: seconds for an entrant on a task, then it counts as failed.
        memory: GiB for the same.
        cache: keep runs in the user's cache folder, and use those that are there.
    """
    import opt_gym

    began = " ".join(map(shlex.quote, ["opt-gym", *sys.argv[1:]]))
    chosen = _suite(suite, quick)
    judged = [_entrant(text) for text in entrants]
    opt_gym.use_all_cores()
    from opt_gym.checks import check_whole
    from opt_gym.normalize import REFERENCE_HORIZON
    from opt_gym.report import looks
    from opt_gym.report.assembly import judge
    from opt_gym.report.running import RunSettings
    from opt_gym.report.writing import check_installed, write
    from opt_gym.runtime import ray_jobs, worker_processes
    from opt_gym.runtime.files import cache_folder

    check_installed()
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out must be a folder, {out} is a file")
    for factor in horizons or ():
        check_whole("horizons", factor, 1)
    seeds = chosen.num_seeds if num_seeds is None else num_seeds
    settings = RunSettings(
        horizons=tuple(f * REFERENCE_HORIZON for f in dict.fromkeys(horizons or [1])),
        num_seeds=seeds,
        source=data,
        cache=cache_folder() / "evaluations" if cache else None,
    )
    if measure_baselines:
        _measure_baselines(chosen, data, workers)
    looks.check(chosen, judged)
    bar = _Bar()
    outcome = judge(
        chosen,
        judged,
        settings,
        workers=_cores() if workers is None else workers,
        limit=QUICK_LIMIT if quick and limit is None else limit,
        memory=memory,
        timed=timing,
        spread=ray_jobs.run_jobs if ray else worker_processes.run_jobs,
        progress=bar,
    )
    bar.close()
    for line in looks.write_down(chosen, judged):
        print(line)
    paths = write(out, outcome, command=began)
    print(f"wrote {paths[0]} and {len(paths) - 1} files beside it")
    return 0


def _suite(name: str, quick: bool) -> Any:
    from envs_registry.judge_suites import SUITES
    from opt_gym.plugins import unknown

    if name not in SUITES:
        raise ValueError(unknown("suite", name, list(SUITES)))
    return SUITES[name].quick if quick else SUITES[name]


def _entrant(text: str) -> Any:
    from opt_gym.cli._entrants import entrant

    return entrant(text)


def _cores() -> int:
    from opt_gym.runtime.cores import usable_cores

    return len(usable_cores())


def _measure_baselines(suite: Any, data: str, workers: int | None) -> None:
    """Measures the groups that neither archive has, into the user's."""
    from opt_gym.archive import archive_files
    from opt_gym.archive.groups import SUITE_GROUPS
    from opt_gym.archive.measuring import measure

    tasks = {
        name: task if isinstance(task, dict) else None
        for own in suite.parts.values()
        for name, task in own.items()
    }
    steps = measure(
        tasks,
        SUITE_GROUPS,
        archive_files.user_folder(),
        known=archive_files.folders(),
        source=data,
        workers=_cores() if workers is None else workers,
    )
    for step in steps:
        said = f"  {step.error}" if step.error else ""
        print(
            f"baselines: {step.group} {step.done}/{step.of} {step.task}{said}",
            file=sys.stderr,
        )


class _Bar:
    """A bar of all jobs with the time left; a failed one is named above it."""

    def __init__(self) -> None:
        self._bar: Any = None

    def __call__(self, finished: Any, done: int, total: int) -> None:
        from tqdm import tqdm

        if self._bar is None:
            self._bar = tqdm(total=total, unit="run", dynamic_ncols=True)
        job = finished.job
        if finished.error:
            self._bar.write(
                f"opt-gym: {job.entrant.name} on {job.name}: {finished.error}",
                file=sys.stderr,
            )
        self._bar.set_postfix_str(job.name)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

"""What many settings of one optimizer cost on a task: a search over thousands of trials.

One compiled program runs a round of at most 25 trials, θ being its argument, and is called
again for the next; what a round found is kept when it ends, so that an interrupted search
goes on there. All that is kept of a run is its mean cost: one file for each (task,
optimizer, settings), with a row for each θ that was ever tried. So a larger search runs only
what a smaller one left out, and `opt_list` finds what `nadamw_grid` has done.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, PyTree

from opt_gym import factory
from opt_gym.evaluation import run_cache
from opt_gym.evaluation.jobs import (
    EvaluationJob,
    TellProgress,
    check_settings,
    env_of,
    prepare_jobs,
)
from opt_gym.evaluation.program import (
    Program,
    Schedule,
    build_program,
    compile_now,
    schedule,
)
from opt_gym.evaluation.runs import EvaluationSettings
from opt_gym.records import Data
from opt_gym.runtime.array_files import read_arrays, write_arrays

MAX_TRIALS_A_ROUND = 25
"""An interrupt loses one round: 25 trials x 5 seeds x 1,000 steps are about 10 s of a small
network on 2 cores. Fewer would leave cores idle at the end of each."""

_NUM_POINTS = 2
"""The fewest that a program can have; none of them is evaluated."""

TrialCosts = dict[bytes, Float[np.ndarray, " seeds"]]
"""Mean ℓ̃ of every seed, by the bytes of θ."""


class _Search(NamedTuple):
    """A job and what is left of it.

    Attributes:
        rows: [trials, θ], θ of every trial as one vector.
        file: where costs are kept, None where they are not.
        known: costs found so far; grows as rounds end.
        missing: the trials to run, `size` of them a round.
        program: of one round; None where nothing is missing.
    """

    job: EvaluationJob
    data: Data
    rows: Float[np.ndarray, "trials theta"]
    file: Path | None
    known: TrialCosts
    missing: tuple[int, ...]
    size: int
    program: Program | None


def search(
    jobs: Sequence[EvaluationJob],
    settings: EvaluationSettings,
    cache: Path | None = None,
    progress: TellProgress | None = None,
) -> list[Float[np.ndarray, "trials seeds"]]:
    """Mean ℓ̃ of every variant of every job, in order; nothing else is measured.

    Args:
        jobs: optimizers on tasks; a variant is a trial.
        settings: with one horizon.
        cache: a folder to keep costs in and to find them.
        progress: called after each round of trials.

    Raises:
        ValueError: settings that cannot be, or several horizons.
    """
    check_settings(settings)
    if not isinstance(settings.horizon, int):
        raise ValueError(f"a search has one horizon, got {settings.horizon}")
    plan = schedule([settings.horizon], _NUM_POINTS, measure=False)
    return [
        _run(prepared, plan, settings.num_seeds, progress)
        for prepared in prepare_jobs(jobs, lambda job: _prepare(job, settings, cache))
    ]


def _prepare(
    job: EvaluationJob, settings: EvaluationSettings, cache: Path | None
) -> _Search:
    env = env_of(job, settings)
    data = factory.load_data(env)
    file, known = None, {}
    if cache is not None and run_cache.is_cacheable(job.optimizer, env):
        # Nothing else in the settings has an influence on a cost.
        asked = {
            key: getattr(settings, key) for key in ("horizon", "num_seeds", "seed")
        }
        digest = run_cache.digest(env, job.optimizer, (), {"search": asked})
        file = cache / f"costs_{digest}.npz"
        known = _read(file)
    rows = _rows(job)
    # Of equal trials one is run.
    trials = {row.tobytes(): trial for trial, row in reversed([*enumerate(rows)])}
    missing = sorted(trial for row, trial in trials.items() if row not in known)
    size, program = 0, None
    if missing:
        num_rounds = math.ceil(len(missing) / MAX_TRIALS_A_ROUND)
        size = math.ceil(len(missing) / num_rounds)
        fewest = settings._replace(
            num_points=_NUM_POINTS, num_batches=1, final_batches=1
        )
        program = build_program(env, job.optimizer, fewest, num_variants=size)
        compile_now(program, _theta_of(job, missing[:size], size), data)
    return _Search(job, data, rows, file, known, tuple(missing), size, program)


def _run(
    prepared: _Search, plan: Schedule, num_seeds: int, progress: TellProgress | None
) -> Float[np.ndarray, "trials seeds"]:
    job, data, rows, file, known, missing, size, program = prepared
    done = len(rows) - len(missing)
    while program is not None and missing:
        trials, missing = missing[:size], missing[size:]
        curves = program.run(_theta_of(job, trials, size), data, plan)
        costs = curves.mean_cost.reshape(size, num_seeds)[: len(trials)]
        for trial, cost in zip(trials, costs, strict=True):
            known[rows[trial].tobytes()] = cost
        if file is not None:
            # Another process may have added to it meanwhile.
            known.update(_read(file))
            _write(file, known)
        done += len(trials)
        if progress is not None:
            progress(f"{job.name}, trials of {job.optimizer.name}", done, len(rows))
    return np.stack([known[row.tobytes()] for row in rows])


def _theta_of(job: EvaluationJob, trials: Sequence[int], size: int) -> PyTree:
    """θ of some trials, filled up to `size` with the first of them again."""
    chosen = np.resize(np.asarray(trials), size)
    return jax.tree.map(lambda leaf: np.asarray(leaf)[chosen], job.theta)


def _rows(job: EvaluationJob) -> Float[np.ndarray, "trials theta"]:
    leaves = [np.asarray(leaf, np.float32) for leaf in jax.tree.leaves(job.theta)]
    return np.concatenate(
        [leaf.reshape(len(job.labels), -1) for leaf in leaves], axis=1
    )


def _read(file: Path) -> TrialCosts:
    record = read_arrays(file) or {}
    rows, costs = record.get("theta", ()), record.get("mean_cost", ())
    return {row.tobytes(): cost for row, cost in zip(rows, costs, strict=True)}


def _write(file: Path, known: TrialCosts) -> None:
    rows = np.stack([np.frombuffer(row, np.float32) for row in known])
    costs = np.stack([*known.values()])
    write_arrays(file, {"theta": rows, "mean_cost": costs})

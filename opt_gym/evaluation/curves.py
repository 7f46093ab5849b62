"""Curves as CSV: one row an evaluation point of a run."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from opt_gym.evaluation.runs import Runs
from opt_gym.runtime.files import write_table

COLUMNS = (
    "task",
    "optimizer",
    "horizon",
    "seed",
    "inner_step",
    "seconds",
    "train_loss",
    "valid_loss",
    "test_loss",
    "accuracy",
)


def write_csv(path: Path, runs: Sequence[Runs]) -> Path:
    """Writes the curves of all runs to `path`, atomically, and returns it.

    seconds is wall time without evaluations; valid is the split `valid_outer`; accuracy is on
    test. A loss that is not finite is written `inf`; an accuracy a task does not have is
    left empty.
    """
    return write_table(path, COLUMNS, (row for run in runs for row in _rows(run)))


def _rows(run: Runs) -> Iterator[list[Any]]:
    for seed in range(run.train_loss.shape[0]):
        points = zip(run.inner_steps, run.seconds, strict=True)
        for point, (step, seconds) in enumerate(points):
            losses = (run.train_loss, run.valid_loss, run.test_loss)
            yield [
                run.task,
                run.optimizer,
                run.horizon,
                seed,
                int(step),
                float(seconds),
                *(_loss(loss[seed, point]) for loss in losses),
                _accuracy(run.accuracy[seed, point]),
            ]


def _loss(value: float) -> str:
    return f"{value:.6g}" if np.isfinite(value) else "inf"


def _accuracy(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.4g}"

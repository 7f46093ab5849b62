"""Curves as CSV: one row an evaluation point of a run."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from opt_gym.evaluation.records import Runs
from opt_gym.files import write_atomically

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
    """Writes the curves of all runs, atomically.

    seconds is wall time without evaluations; valid is the split `valid_outer`; accuracy is on
    test. A loss that is not finite is written `inf`; an accuracy a task does not have is
    left empty.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in runs:
        for seed in range(one.train_loss.shape[0]):
            for point, (step, seconds) in enumerate(
                zip(one.inner_steps, one.seconds, strict=True)
            ):
                losses = (one.train_loss, one.valid_loss, one.test_loss)
                writer.writerow(
                    [
                        one.task,
                        one.optimizer,
                        one.horizon,
                        seed,
                        int(step),
                        f"{seconds:.6g}",
                        *(_loss(loss[seed, point]) for loss in losses),
                        _accuracy(one.accuracy[seed, point]),
                    ]
                )
    return write_atomically(path, text.getvalue().encode())


def _loss(value: float) -> str:
    return f"{value:.6g}" if np.isfinite(value) else "inf"


def _accuracy(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.4g}"

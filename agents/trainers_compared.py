"""Outer-trainers side by side: the same tasks, the same number of inner steps."""

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxtyping import PyTree

from agents.loop import initial_theta, train
from agents.records import OuterTrainer, Progress
from opt_gym.records import Data

Measure = Callable[[PyTree], float]
"""θ -> its outer-loss, always on the same episodes."""


class TrainerContestant(NamedTuple):
    """A trainer, what it is called, and how its θ are measured."""

    name: str
    trainer: OuterTrainer
    measure: Measure


class Point(NamedTuple):
    """θ of one run after so many inner steps; seconds are those of training alone."""

    trainer: str
    seed: int
    inner_steps: int
    seconds: float
    outer_loss: float


def run_seed(
    contestant: TrainerContestant,
    data: Sequence[Data],
    *,
    inner_steps: int,
    num_points: int,
    seed: int,
) -> list[Point]:
    """One run, measured at the start and whenever another share of the budget is used.

    Args:
        contestant: who runs.
        data: one per env of its trainer.
        inner_steps: the budget; the outer step that uses it up is the last.
        num_points: measurements beside that at the start.
        seed: of the run.
    """
    name, trainer, measure = contestant
    points, used, measuring = [], 0.0, 0.0

    def add(theta: PyTree, seconds: float) -> None:
        nonlocal measuring
        began = time.monotonic()
        loss = measure(theta)
        points.append(Point(name, seed, int(used), seconds - measuring, loss))
        measuring += time.monotonic() - began

    def watch(progress: Progress) -> None:
        nonlocal used
        used += progress.report.inner_steps
        if used >= inner_steps * len(points) / num_points:
            add(trainer.theta(progress.state), progress.seconds)

    theta = initial_theta(trainer, seed)
    add(theta, 0.0)
    measuring = 0.0
    train(
        trainer,
        data,
        outer_steps=10**9,
        seed=seed,
        theta=theta,
        callbacks=[watch],
        until=lambda progress: used >= inner_steps,
    )
    return points


def format_points(points: Sequence[Point]) -> str:
    """A table in Markdown: each trainer's last outer-losses over seeds, and its time."""
    lines = [
        "| trainer | outer-loss at first | at the end (median, min–max) | seconds | "
        "inner steps/s |",
        "|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(point.trainer for point in points):
        own = [point for point in points if point.trainer == name]
        seeds = {point.seed for point in own}
        first = [next(p for p in own if p.seed == seed) for seed in seeds]
        last = [[p for p in own if p.seed == seed][-1] for seed in seeds]
        losses = [point.outer_loss for point in last]
        seconds = statistics.median(point.seconds for point in last)
        rate = statistics.median(p.inner_steps / max(p.seconds, 1e-9) for p in last)
        lines.append(
            f"| {name} | {statistics.median(p.outer_loss for p in first):.4f} | "
            f"{statistics.median(losses):.4f} ({min(losses):.4f}–{max(losses):.4f}) | "
            f"{seconds:.0f} | {rate:,.0f} |"
        )
    return "\n".join(lines)


def plot_points(path: Path, points: Sequence[Point], title: str) -> Path:
    """Outer-loss against inner steps: a line a trainer (median), a band over seeds."""
    import numpy as np

    from opt_gym.evaluation.house_style import (
        OTHER_COLORS,
        SUBJECT_COLOR,
        write_picture,
    )

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        colors = (SUBJECT_COLOR, *OTHER_COLORS)
        for place, name in enumerate(dict.fromkeys(p.trainer for p in points)):
            curves = _curves([p for p in points if p.trainer == name])
            color = colors[place % len(colors)]
            line: Any = ("-", "--", ":")[place // len(colors)]
            x, losses = np.median(curves[..., 0], 0), curves[..., 1]
            axes.plot(x, np.median(losses, 0), line, color=color, label=name, lw=1.6)
            low, high = losses.min(0), losses.max(0)
            axes.fill_between(x, low, high, color=color, alpha=0.12, lw=0)
        axes.set_xlabel("inner steps of outer-training")
        axes.set_ylabel("outer-loss (mean normalized loss)")
        if all(p.outer_loss > 0 for p in points):
            axes.set_yscale("log")
        axes.set_title(title, loc="left")
        figure.legend(loc="outside right upper", frameon=False)

    return write_picture(path, (8, 4.5), draw)


def _curves(points: Sequence[Point]) -> Any:
    """[seeds, points, (inner steps, outer-loss)], cut to the shortest run."""
    import numpy as np

    runs = [
        [(p.inner_steps, p.outer_loss) for p in points if p.seed == seed]
        for seed in dict.fromkeys(p.seed for p in points)
    ]
    shortest = min(len(run) for run in runs)
    return np.array([run[:shortest] for run in runs], float)

"""Does an optimizer get better when it is trained on more tasks, at the same price?

    python -m examples.talk.more_tasks
    python -m examples.talk.more_tasks --out results/talk/more_tasks    # table and figure alone

`general` is outer-trained by PES on 1, 3, 10, 30 and 100 tiny twins of TaskSet, always for the
same number of inner steps. Every outer seed draws a chain of its own: its 3 tasks contain its
1, and so on; with one task it is the task that makes the difference. Measured on twins of the
same families that nobody trained on, and on families that nobody did.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tyro

import opt_gym
from envs_registry.benchmark_sets import BENCHMARK_SETS
from examples.bundle import TINY, trained
from examples.studies import completed, es_phase, printed, scores_on
from opt_gym.evaluation.house_style import OTHER_COLORS, SUBJECT_COLOR, write_figure

ARCHITECTURE = "general"
POOL = BENCHMARK_SETS[f"{TINY}/train"]
LISTS = {
    "same families": BENCHMARK_SETS[f"{TINY}/development"],
    "other families": BENCHMARK_SETS["modern-tiny-v1/held_out_families"],
}


class Row(NamedTuple):
    """One θ on one list; losses are normalized, lower is better."""

    size: int
    seed: int
    tasks: str
    mean: float
    iqm: float
    final: float
    diverged: int
    runs: int


def main(
    out: Path = Path("runs/talk/more_tasks"),
    sizes: Sequence[int] = (1, 3, 10, 30, 100),
    seeds: int = 3,
    inner_steps: float = 3e6,
    num_tasks: int = 24,
    num_seeds: int = 5,
    horizon: int = 1000,
) -> list[Row]:
    """Trains, measures, and writes `table.csv` and `figure.png`.

    Args:
        out: folder; what is there is not done again.
        sizes: of the sets of tasks.
        seeds: outer-trainings of each size.
        inner_steps: of each training.
        num_tasks: of each list, at most, are measured on.
        num_seeds: inner seeds of each task.
        horizon: steps of an evaluation.
    """
    opt_gym.use_all_cores()

    def rows(size: int, seed: int) -> list[Row]:
        folder = out / f"{size}_tasks_seed{seed}"
        phase = es_phase(chain(seed)[:size], inner_steps)
        theta = trained(folder, ARCHITECTURE, phase, seed)
        how = {"horizon": horizon, "num_seeds": num_seeds}
        return [
            Row(size, seed, name, *scores_on(theta, tasks[:num_tasks], **how))
            for name, tasks in LISTS.items()
        ]

    keys = [(size, seed) for seed in range(seeds) for size in sizes]
    table = completed(out / "table.csv", Row, keys, rows)
    write_figure(out / "figure", (7.5, 3.2), lambda figure: draw(figure, table))
    print(printed(table))
    return table


def chain(seed: int) -> list[str]:
    """The twins in this seed's order."""
    return [POOL[i] for i in np.random.RandomState(seed).permutation(len(POOL))]


def draw(figure: Any, table: Sequence[Row]) -> None:
    """A panel a list: every seed, and the median of each size."""
    for axes, name in zip(
        figure.subplots(1, len(LISTS), sharey=True), LISTS, strict=True
    ):
        rows = [row for row in table if row.tasks == name]
        sizes = sorted({row.size for row in rows})
        medians = [
            np.median([row.mean for row in rows if row.size == size]) for size in sizes
        ]
        axes.plot(sizes, medians, color=SUBJECT_COLOR)
        axes.plot(
            [row.size for row in rows],
            [row.mean for row in rows],
            "o",
            color=OTHER_COLORS[0],
            markersize=4,
        )
        axes.set(xscale="log", title=name, xlabel="tasks it was trained on")
        axes.set_xticks(sizes, [str(size) for size in sizes])
    figure.axes[0].set_ylabel("mean normalized loss")


if __name__ == "__main__":
    tyro.cli(main)

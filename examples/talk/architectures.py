"""Architectures side by side: what each has learned after how many steps, and after what time.

    python -m examples.talk.architectures
    python -m examples.talk.architectures --out results/talk/architectures    # table and figure

The optimizers of the talk (an LSTM for every weight, of 2016; an LSTM a tensor, an MLP for
every weight, and both, of 2020) and two of ours, outer-trained by PES on the same small
networks that classify 8x8 digits, for the same number of inner steps, each with the step sizes
of its bundled recipe. Held-out networks are measured on the way.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tyro

import opt_gym
from envs_registry.benchmark_sets import SMALL_MLP_TRAIN
from examples.bundle import Phase, json_of, trained
from examples.studies import (
    columns_of,
    completed,
    es_phase,
    printed,
    seconds_a_step,
)
from opt_gym.evaluation.house_style import (
    LINES,
    OTHER_COLORS,
    SUBJECT_COLOR,
    write_figure,
)

HELD_OUT = "small_mlp/development"
NUM_POINTS = 10


class Case(NamedTuple):
    """An architecture, and how it is trained."""

    architecture: str
    config: dict[str, Any]
    learning_rate: float
    sigma: float


_LARGER = {"step_multiplier": 0.01, "exp_multiplier": 0.1}
CASES = {
    "L2LBGDGD": Case("lstm", {"scale": 0.03}, 0.01, 0.03),
    "LSTM": Case("hierarchical", {"variant": "lstm", **_LARGER}, 0.003, 0.03),
    "FF": Case("hierarchical", {"variant": "ff", **_LARGER}, 0.003, 0.03),
    "LSTM_FF": Case("hierarchical", _LARGER, 0.003, 0.03),
    "nominal": Case("nominal", {}, 0.004, 0.1),
    "general": Case("general", {}, 0.004, 0.1),
}


class Row(NamedTuple):
    """θ on the held-out networks after so many outer steps; lower is better.

    seconds: of training alone, the median step times their number.
    """

    name: str
    seed: int
    outer_step: int
    seconds: float
    mean: float
    final: float


def main(
    out: Path = Path("runs/talk/architectures"),
    names: Sequence[str] = tuple(CASES),
    seeds: int = 3,
    inner_steps: float = 3e6,
    num_tasks: int = 12,
    held_out: str = HELD_OUT,
    num_seeds: int = 3,
) -> list[Row]:
    """Trains, measures, and writes `table.csv` and `figure.png`.

    Args:
        out: folder; what is there is not done again.
        names: some of `CASES`.
        seeds: outer-trainings of each.
        inner_steps: of each training.
        num_tasks: networks that are trained on.
        held_out: list of networks, or one, that is measured on.
        num_seeds: inner seeds of each of these.
    """
    opt_gym.use_all_cores()

    def rows(name: str, seed: int) -> list[Row]:
        folder = out / f"{name}_seed{seed}"
        phase = phase_of(CASES[name], num_tasks, inner_steps)
        phase |= {"evaluate_on": [held_out], "evaluate_seeds": num_seeds}
        trained(folder, CASES[name].architecture, phase, seed)
        return [Row(name, seed, *point) for point in points(folder)]

    keys = [(name, seed) for seed in range(seeds) for name in names]
    table = completed(out / "table.csv", Row, keys, rows)
    write_figure(out / "figure", (8.0, 3.6), lambda figure: draw(figure, table))
    print(printed(table))
    return table


def phase_of(case: Case, num_tasks: int, inner_steps: float) -> Phase:
    """How one is trained, measured ten times on the way."""
    tasks = SMALL_MLP_TRAIN[:num_tasks]
    phase = es_phase(tasks, inner_steps, sigma=case.sigma, balanced=False)
    return phase | {
        "learning_rate": case.learning_rate,
        "architecture_options": json_of(**case.config),
        "evaluate_every": max(1, phase["outer_steps"] // NUM_POINTS),
    }


def points(folder: Path) -> list[tuple[int, float, float, float]]:
    """(outer step, seconds of training, mean, final) of a run's evaluations."""
    a_step = seconds_a_step(columns_of(folder / "log.csv"))
    with (folder / "evaluations.csv").open(newline="") as file:
        return [
            (
                int(line["outer_step"]),
                round(a_step * int(line["outer_step"]), 1),
                float(line["mean_cost"]),
                float(line["final_cost"]),
            )
            for line in csv.DictReader(file)
        ]


def draw(figure: Any, table: Sequence[Row]) -> None:
    """Held-out loss against steps and against time: medians, and the range over seeds."""
    colors = (*OTHER_COLORS, SUBJECT_COLOR)
    panels = figure.subplots(1, 2, sharey=True)
    for place, name in enumerate(dict.fromkeys(row.name for row in table)):
        own = [row for row in table if row.name == name]
        steps = sorted({row.outer_step for row in own})
        at = [[row for row in own if row.outer_step == step] for step in steps]
        losses = [[row.mean for row in rows] for rows in at]
        times = [np.median([row.seconds for row in rows]) for rows in at]
        color, line = colors[place % len(colors)], LINES[place % len(LINES)]
        for axes, x in zip(panels, (steps, times), strict=True):
            middle = [np.median(one) for one in losses]
            axes.plot(x, middle, linestyle=line, color=color, label=name)
            low, high = ([end(one) for one in losses] for end in (min, max))
            axes.fill_between(x, low, high, color=color, alpha=0.12, lw=0)
    panels[0].set(xlabel="outer steps", ylabel="mean normalized loss, held out")
    panels[1].set(xlabel="seconds of outer-training", xscale="log")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False)


if __name__ == "__main__":
    tyro.cli(main)

"""Does an optimizer that was trained on noisy inputs make models that stand other noise?

    python -m examples.talk.noise
    python -m examples.talk.noise --out results/talk/noise    # table and figure alone

`nominal` is outer-trained by PES on small networks that classify 8x8 digits, once for the loss
on clean training images and once for that on corrupted ones ("noisy": normal noise, salt and
pepper, less contrast). The networks themselves are always trained on clean images. What they
lose is then measured on clean ones, on these corruptions, and on such as nobody was trained on:
stronger ones, blur and occlusion.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tyro

import opt_gym
from envs_registry.benchmark_sets import SMALL_MLP_HELD_OUT, SMALL_MLP_TRAIN
from examples.bundle import trained
from examples.studies import completed, es_phase, printed, runs_of
from opt_gym.evaluation.house_style import OTHER_COLORS, SUBJECT_COLOR, write_figure

ARCHITECTURE = "nominal"
OBJECTIVES = {"clean": "train", "noisy": "noisy"}
INPUTS = {"clean": "", "corruptions of training": "training", "others": "held_out"}
"""What losses are measured on, by the name of a set of corruptions."""


class Row(NamedTuple):
    """Of one θ: final losses of the networks it trained, and their accuracy on clean tests."""

    trained_for: str
    seed: int
    inputs: str
    final_loss: float
    accuracy: float


def main(
    out: Path = Path("runs/talk/noise"),
    seeds: int = 3,
    inner_steps: float = 3e6,
    num_tasks: int = 12,
    num_seeds: int = 5,
    horizon: int = 1000,
) -> list[Row]:
    """Trains, measures, and writes `table.csv` and `figure.png`.

    Args:
        out: folder; what is there is not done again.
        seeds: outer-trainings for each objective.
        inner_steps: of each training.
        num_tasks: networks that are trained on, and that are measured on, at most 12.
        num_seeds: inner seeds of each network that is measured.
        horizon: steps of an evaluation.
    """
    opt_gym.use_all_cores()

    def rows(trained_for: str, seed: int) -> list[Row]:
        phase = es_phase(SMALL_MLP_TRAIN[:num_tasks], inner_steps)
        phase["objective"] = OBJECTIVES[trained_for]
        theta = trained(out / f"{trained_for}_seed{seed}", ARCHITECTURE, phase, seed)
        how = {"horizon": horizon, "num_seeds": num_seeds}
        tasks = SMALL_MLP_HELD_OUT[:num_tasks]
        return [
            Row(trained_for, seed, inputs, *finals(theta, tasks, chosen, **how))
            for inputs, chosen in INPUTS.items()
        ]

    keys = [(name, seed) for seed in range(seeds) for name in OBJECTIVES]
    table = completed(out / "table.csv", Row, keys, rows)
    write_figure(out / "figure", (6.0, 3.2), lambda figure: draw(figure, table))
    print(printed(table))
    return table


def finals(
    theta: Path, tasks: Sequence[str], corruption: str, **how: Any
) -> tuple[float, float]:
    """(mean final loss on training images so corrupted, accuracy on clean test images)."""
    if corruption:
        how |= {"objective": "noisy", "corruption": corruption}
    runs = runs_of(theta, tasks, **how)
    loss = np.mean([np.mean(run.objective_loss[:, -1]) for run in runs])
    accuracy = np.mean([np.mean(run.accuracy[:, -1]) for run in runs])
    return round(float(loss), 4), round(float(accuracy), 4)


def draw(figure: Any, table: Sequence[Row]) -> None:
    """A point an outer seed, a bar their median."""
    axes = figure.subplots()
    for place, (name, color) in enumerate(
        zip(OBJECTIVES, (OTHER_COLORS[0], SUBJECT_COLOR), strict=True)
    ):
        for at, inputs in enumerate(INPUTS):
            losses = [
                row.final_loss
                for row in table
                if (row.trained_for, row.inputs) == (name, inputs)
            ]
            x = at + 0.4 * (place - 0.5)
            label = f"trained for the loss on {name} images" if at == 0 else None
            axes.bar(x, np.median(losses), 0.36, color=color, alpha=0.5, label=label)
            axes.plot([x] * len(losses), losses, "o", color=color, markersize=4)
    axes.set_xticks(range(len(INPUTS)), [*INPUTS])
    axes.set(ylabel="final loss of the networks", xlabel="measured on")
    axes.legend(frameon=False)


if __name__ == "__main__":
    tyro.cli(main)

"""Does an optimizer that was trained in one world work in another?

    python -m examples.talk.other_worlds
    python -m examples.talk.other_worlds --out results/talk/other_worlds    # table and figure

`general` is outer-trained by PES on tiny twins of one kind, convolutional nets on images,
fully connected nets on images, or recurrent nets on text, and used on all three: at home, on
other nets with the same data, and on other data.
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
from opt_gym.evaluation.house_style import write_figure

ARCHITECTURE = "general"
FAMILIES = {
    "convolutional": ("conv_fc", "conv_pooling"),
    "fully connected": ("mlp",),
    "recurrent": ("char_rnn_language_model", "word_rnn_language_model"),
}
"""What the worlds are made of."""


class Row(NamedTuple):
    """One θ in one world; losses are normalized, lower is better."""

    home: str
    seed: int
    world: str
    mean: float
    iqm: float
    final: float
    diverged: int
    runs: int


def main(
    out: Path = Path("runs/talk/other_worlds"),
    worlds: Sequence[str] = tuple(FAMILIES),
    seeds: int = 3,
    inner_steps: float = 3e6,
    num_tasks: int = 12,
    num_seeds: int = 5,
    horizon: int = 1000,
) -> list[Row]:
    """Trains, measures, and writes `table.csv` and `figure.png`.

    Args:
        out: folder; what is there is not done again.
        worlds: some of `FAMILIES`.
        seeds: outer-trainings in each.
        inner_steps: of each training.
        num_tasks: twins that are trained on in each world.
        num_seeds: inner seeds of each task that is measured on.
        horizon: steps of an evaluation.
    """
    opt_gym.use_all_cores()
    how = {"horizon": horizon, "num_seeds": num_seeds}

    def rows(home: str, seed: int) -> list[Row]:
        folder = out / f"{home.replace(' ', '_')}_seed{seed}"
        phase = es_phase(twins(home, "train")[:num_tasks], inner_steps)
        theta = trained(folder, ARCHITECTURE, phase, seed)
        return [
            Row(
                home, seed, world, *scores_on(theta, twins(world, "development"), **how)
            )
            for world in worlds
        ]

    keys = [(home, seed) for seed in range(seeds) for home in worlds]
    table = completed(out / "table.csv", Row, keys, rows)
    write_figure(out / "figure", (5.0, 3.6), lambda figure: draw(figure, table))
    print(printed(table))
    return table


def twins(world: str, part: str) -> list[str]:
    """Those of a world, its families in turn, "train" or "development"."""
    names = BENCHMARK_SETS[f"{TINY}/{part}"]
    of_each = [
        [name for name in names if name.startswith(f"{family}_family")]
        for family in FAMILIES[world]
    ]
    return [name for turn in zip(*of_each, strict=False) for name in turn]


def draw(figure: Any, table: Sequence[Row]) -> None:
    """Medians over outer seeds: homes down, worlds across."""
    homes = list(dict.fromkeys(row.home for row in table))
    worlds = list(dict.fromkeys(row.world for row in table))
    medians = [
        [
            np.median([r.mean for r in table if (r.home, r.world) == (home, world)])
            for world in worlds
        ]
        for home in homes
    ]
    axes = figure.subplots()
    axes.grid(visible=False)
    image = axes.imshow(medians, cmap="RdPu", aspect="auto")
    dark = np.mean([np.min(medians), np.max(medians)])
    for i, row in enumerate(medians):
        for j, value in enumerate(row):
            color = "white" if value > dark else "black"
            axes.text(j, i, f"{value:.3f}", ha="center", va="center", color=color)
    axes.set_xticks(range(len(worlds)), worlds)
    axes.set_yticks(range(len(homes)), homes)
    axes.set(xlabel="used on", ylabel="trained on")
    figure.colorbar(image, label="mean normalized loss")


if __name__ == "__main__":
    tyro.cli(main)

"""An optimizer for one kind of task: trained on ten classes, used on ten others.

    python -m examples.talk.task_specific
    python -m examples.talk.task_specific --out results/talk/task_specific    # table and figure

The small convolutional net of three hidden layers learns ten of a hundred classes, in twins of
8x8 images and batches of 16 instead of 128. `mlp` is outer-trained on some such choices of ten
by ES and backprop merged, once for the training loss and once for the validation loss, and used
on choices that it never saw, beside SGD, momentum, RMSProp, Adam, and Adam with a cosine and a
penalty on large weights, these at the best of five rates: chosen on the classes that θ was
trained on, for the loss that is shown.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tyro

import opt_gym
from examples.bundle import LARGER_STEPS, Phase, json_of, trained
from examples.studies import (
    completed,
    es_phase,
    printed,
    runs_at_rates,
    runs_of,
)
from opt_gym.evaluation.house_style import (
    LINES,
    OTHER_COLORS,
    SUBJECT_COLOR,
    write_figure,
)
from opt_gym.evaluation.runs import Runs
from opt_gym.records import Config
from opt_gym.runtime.files import write_atomically

ARCHITECTURE = "mlp"
NUM_CHOICES, NUM_TRAIN, BATCH = 10, 6, 16
NUM_PAIRS = 4
OBJECTIVES = {"taught by the training loss": "train", "by the validation loss": "valid"}
RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
LARGER_RATES = tuple(10 * rate for rate in RATES)
USUAL: dict[str, tuple[str, dict[str, Any], tuple[float, ...]]] = {
    "SGD": ("sgd", {}, LARGER_RATES),
    "momentum": ("momentum", {}, LARGER_RATES),
    "RMSProp": ("rmsprop", {}, RATES),
    "Adam": ("adam", {}, RATES),
    "Adam, penalty and cosine": (
        "nadamw",
        {"use_nesterov": 0.0, "l2_weight_decay": 1e-4},
        RATES,
    ),
}
"""By name: architecture, settings, rates."""


class Row(NamedTuple):
    """One optimizer after so many steps: means over classes and inner seeds.

    seed: of the outer-training, 0 for what is not trained; rate: 0 for what has none; shown:
    for which loss the rate was chosen, or θ taught.
    """

    optimizer: str
    seed: int
    shown: str
    rate: float
    step: int
    seconds: float
    train_loss: float
    test_loss: float
    accuracy: float


class Summary(NamedTuple):
    """What is printed of a run."""

    optimizer: str
    seed: int
    shown: str
    rate: float
    train_loss: float
    test_loss: float
    accuracy: float
    ms_a_step: float


def main(
    out: Path = Path("runs/talk/task_specific"),
    seeds: int = 3,
    inner_steps: float = 1e6,
    num_tasks: int = NUM_TRAIN,
    num_held_out: int = NUM_CHOICES - NUM_TRAIN,
    num_seeds: int = 5,
    horizon: int = 1000,
) -> list[Row]:
    """Trains, measures, and writes `table.csv` and `figure.png`.

    Args:
        out: folder; what is there is not done again.
        seeds: outer-trainings for each objective.
        inner_steps: of each training.
        num_tasks: choices of classes that are trained on, at most six.
        num_held_out: those that are measured on, at most four.
        num_seeds: inner seeds of each of these.
        horizon: steps of a run.
    """
    opt_gym.use_all_cores()
    tasks = [*map(ten_classes, range(NUM_CHOICES))]
    train, held_out = tasks[:num_tasks], tasks[NUM_TRAIN:][:num_held_out]
    files = written(out / "tasks", train)
    how = {"horizon": horizon, "num_seeds": num_seeds, "timed": True}

    def rows(name: str, seed: int, shown: str) -> list[Row]:
        if name in OBJECTIVES:
            folder = out / f"{OBJECTIVES[name]}_seed{seed}"
            phase = phase_of(files, inner_steps, OBJECTIVES[name], horizon)
            theta = trained(folder, ARCHITECTURE, phase, seed)
            return curve(runs_of(theta, held_out, **how), (name, seed, shown, 0.0))
        architecture, config, rates = USUAL[name]
        trials = runs_at_rates(architecture, rates, train, config, **how)
        rate = best_rate(trials, shown)
        runs = runs_at_rates(architecture, [rate], held_out, config, **how)
        return curve(runs[rate], (name, seed, shown, rate))

    keys = [
        *((name, s, OBJECTIVES[name]) for s in range(seeds) for name in OBJECTIVES),
        *((name, 0, shown) for name in USUAL for shown in OBJECTIVES.values()),
    ]
    table = completed(out / "table.csv", Row, keys, rows)
    write_figure(out / "figure", (9.0, 6.0), lambda figure: draw(figure, table))
    print(printed(ends(table)))
    return table


def ten_classes(number: int) -> Config:
    """The task of one choice of classes."""
    config = opt_gym.task_config(f"Conv3_cifar100_10way_seed{number}_bs128_tiny")
    config["dataset"][1]["bs"] = BATCH
    return config


def written(folder: Path, configs: Sequence[Config]) -> list[str]:
    """A file a config, as `opt-gym train` takes them."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"classes{number}.json" for number in range(len(configs))]
    for file, config in zip(files, configs, strict=True):
        write_atomically(file, json.dumps(config).encode())
    return [*map(str, files)]


def phase_of(
    tasks: Sequence[str], inner_steps: float, objective: str, horizon: int
) -> Phase:
    """ES and backprop merged, on windows of 50 steps."""
    options = {"sigma": 0.01, "horizon": [50, horizon], "num_pairs": NUM_PAIRS}
    phase = es_phase(tasks, inner_steps, **options)
    return phase | {
        "trainer": "inverse_variance",
        "objective": objective,
        "architecture_options": json_of(**LARGER_STEPS),
    }


def best_rate(trials: Mapping[float, Sequence[Runs]], shown: str) -> float:
    """That of the lowest training or validation loss over a run."""

    def loss(rate: float) -> float:
        losses = [
            run.train_loss if shown == "train" else run.valid_loss
            for run in trials[rate]
        ]
        mean = np.mean([np.mean(one) for one in losses])
        return float(mean) if np.isfinite(mean) else np.inf

    return min(trials, key=loss)


def curve(runs: Sequence[Runs], key: tuple[str, int, str, float]) -> list[Row]:
    """A row a point: means over tasks and seeds."""
    losses = [
        np.mean([np.mean(of(run), axis=0) for run in runs], axis=0)
        for of in (
            lambda run: run.train_loss,
            lambda run: run.test_loss,
            lambda run: run.accuracy,
        )
    ]
    a_step = np.median([run.seconds_per_step for run in runs])
    return [
        Row(
            *key,
            int(step),
            float(f"{a_step * step:.4g}"),
            *(float(f"{loss[i]:.4g}") for loss in losses),
        )
        for i, step in enumerate(runs[0].inner_steps)
    ]


def ends(table: Sequence[Row]) -> list[Summary]:
    """Every run at its end."""
    last = {row[:3]: row for row in table}
    return [
        Summary(
            *row[:4],
            *row[6:],
            ms_a_step=float(f"{1e3 * row.seconds / max(row.step, 1):.3g}"),
        )
        for row in last.values()
    ]


def draw(figure: Any, table: Sequence[Row]) -> None:
    """Training loss of what aims at it, test loss of what aims at validation."""
    panels = figure.subplots(2, 2, sharey="row")
    names = [*dict.fromkeys(row.optimizer for row in table)]
    aims = ("train", "train_loss", "training loss"), ("valid", "test_loss", "test loss")
    for row_of_panels, (shown, field, label) in zip(panels, aims, strict=True):
        for name in names:
            keys = {row[:3] for row in table if row[0] == name and row.shown == shown}
            for key in sorted(keys):
                own = [row for row in table if row[:3] == key and row.step > 0]
                losses = [getattr(row, field) for row in own]
                for axes, unit in zip(row_of_panels, ("step", "seconds"), strict=True):
                    x = [getattr(row, unit) for row in own]
                    axes.plot(x, losses, label=name, **look(name, names))
        row_of_panels[0].set(ylabel=label)
        for axes in row_of_panels:
            axes.set(xscale="log", yscale="log")
    for axes, unit in zip(panels[1], ("steps", "seconds"), strict=True):
        axes.set(xlabel=unit)
    found = [axes.get_legend_handles_labels() for axes in panels[:, 0]]
    handles = {lb: h for hs, lbs in found for h, lb in zip(hs, lbs, strict=True)}
    figure.legend(
        handles.values(), handles.keys(), loc="outside right upper", frameon=False
    )


def look(name: str, names: Sequence[str]) -> dict[str, Any]:
    """What is taught is thick."""
    if name in OBJECTIVES:
        line = LINES[[*OBJECTIVES].index(name)]
        return {
            "color": SUBJECT_COLOR,
            "linewidth": 1.8,
            "linestyle": line,
            "zorder": 3,
        }
    place = [other for other in names if other not in OBJECTIVES].index(name)
    return {"color": OTHER_COLORS[place % len(OTHER_COLORS)], "linewidth": 1.2}


if __name__ == "__main__":
    tyro.cli(main)

"""What changes when a user turns something: learning rate, weight decay, and what is around.

    python -m examples.what_to_tune
    python -m examples.what_to_tune --out results/what_to_tune    # table and figure alone

The bundled `general` and `general_free`, and AdamW at 3e-3 with a cosine, train eight small
models a thousand times over, with a factor of the learning rate from .1 to 10, with weight
decay, with gradients clipped by their norm, left scaled by somebody's scaler, and accumulated.
`opt_gym` makes it cheap: whatever is turned is part of θ, so one compiled program does it all.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import tyro

import learned
import opt_gym
from examples.studies import completed, printed, runs_of, stacked
from learned.decay import factor
from opt_gym.adapters.foreign import from_maker
from opt_gym.evaluation.house_style import OTHER_COLORS, SUBJECT_COLOR, write_figure
from opt_gym.evaluation.runs import Runs, normalized
from opt_gym.normalize import lookup
from opt_gym.records import LearnedOptimizer

TASKS = (
    "mlp_family_seed700_tiny",
    "conv_pooling_family_seed700_tiny",
    "mlp_vae_family_seed701_tiny",
    "char_rnn_language_model_family_seed700_tiny",
    "transformer_lm_family_seed1000_tiny",
    "vit_family_seed2005_tiny",
    "mixer_family_seed1007_tiny",
    "resnet_family_seed1001_tiny",
)
"""Tiny twins that the bundled θ were not trained on; the last four are of families unseen."""

ADAMW, USUAL_RATE = "AdamW .003", 3e-3
COLORS = {
    "general": SUBJECT_COLOR,
    "general_free": OTHER_COLORS[1],
    ADAMW: OTHER_COLORS[0],
}

TURNED: dict[str, tuple[float, ...]] = {
    "learning_rate": (0.1, 0.3, 1, 3, 10),
    "weight_decay": (0, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1),
    "clipping": (0.1, 1, 10, np.inf),
    "gradients": (1e-3, 1, 1e3),
    "accumulated": (1, 4),
}
"""What is turned, and to what: a factor of the learning rate; weight decay; the largest norm of
all gradients together; what they are multiplied by, as by a scaler that nobody undoes; and how
many batches they are averaged over before a step, of as many batches in all."""


class Turned(NamedTuple):
    """What may be turned, as it stands where nobody does."""

    learning_rate: float = 1.0
    weight_decay: float = 0.0
    clipping: float = np.inf
    gradients: float = 1.0
    accumulated: float = 1


class Row(NamedTuple):
    """One optimizer on one task; losses are normalized, means over seeds, lower is better."""

    task: str
    optimizer: str
    turned: str
    value: float
    mean: float
    final: float
    valid: float
    diverged: int
    runs: int


class Mean(NamedTuple):
    """Over tasks; `better` counts those that validate better than where nothing is turned."""

    optimizer: str
    turned: str
    value: float
    mean: float
    final: float
    valid: float
    better: int
    diverged: int


def main(
    out: Path = Path("runs/what_to_tune"),
    tasks: Sequence[str] = TASKS,
    optimizers: Sequence[str] = tuple(COLORS),
    num_seeds: int = 3,
    horizon: int = 1000,
) -> list[Mean]:
    """Measures, and writes `table.csv` and `figure.png`.

    Args:
        out: folder; what is there is not measured again.
        tasks: names.
        optimizers: some of `COLORS`.
        num_seeds: initial weights and batches of each.
        horizon: batches of a run.
    """
    opt_gym.use_all_cores()

    def rows(task: str, optimizer: str) -> list[Row]:
        scores: dict[Turned, tuple] = {}
        for every in TURNED["accumulated"]:
            settings = [one for one in every_setting() if one.accumulated == every]
            policy = turnable(optimizer, every)
            theta = policy.init_theta(jax.random.key(0))
            each = [theta | {"turned": one} for one in settings]
            runs = runs_of(
                (policy, stacked(each)),
                [task],
                variants=[*map(str, range(len(settings)))],
                horizon=horizon,
                num_seeds=num_seeds,
                num_points=2,
            )
            scores |= zip(settings, map(told, runs), strict=True)
        return [
            Row(task, optimizer, name, value, *scores[Turned(**{name: value})])
            for name, value in every_turn()
        ]

    keys = [(task, optimizer) for task in tasks for optimizer in optimizers]
    means = summarized(completed(out / "table.csv", Row, keys, rows))
    write_figure(out / "figure", (9.0, 5.0), lambda figure: draw(figure, means))
    print(printed(means))
    return means


def every_turn() -> list[tuple[str, float]]:
    """What is turned and to what, in turn."""
    return [(turned, value) for turned, values in TURNED.items() for value in values]


def every_setting() -> list[Turned]:
    """Each of them once: where nothing is turned, they are the same."""
    return [*dict.fromkeys(Turned(**{name: value}) for name, value in every_turn())]


def turnable(optimizer: str, every: float) -> LearnedOptimizer:
    """A policy whose θ holds what is turned beside its own.

    Args:
        optimizer: one of `COLORS`.
        every: batches to a step.
    """
    lopt, theta = (None, ()) if optimizer == ADAMW else learned.load(optimizer)

    def make(theta: Any, horizon: Any) -> optax.GradientTransformation:
        turned, steps = theta["turned"], -(-horizon // every)
        if lopt is None:
            own = optax.adamw(
                lambda t: (
                    turned.learning_rate * USUAL_RATE * factor("cosine", t, steps)
                ),
                weight_decay=turned.weight_decay,
            )
        else:
            own = learned.to_optax(
                lopt,
                theta["own"],
                horizon=steps if optimizer == "general" else None,
                learning_rate=turned.learning_rate,
                weight_decay=turned.weight_decay,
                warn=False,
            )
        chain = optax.chain(
            optax.scale(turned.gradients),
            optax.clip_by_global_norm(turned.clipping),
            own,
        )
        if every == 1:
            return chain
        return optax.MultiSteps(chain, int(every)).gradient_transformation()

    return from_maker(make, {"own": theta, "turned": Turned()}, optimizer)


def told(run: Runs) -> tuple[float, float, float, int, int]:
    """What a row has of a run."""
    valid = lookup(opt_gym.make_task(run.config), "valid", "embedded")
    return (
        float(f"{np.mean(run.mean_cost):.4g}"),
        float(f"{np.mean(run.costs[:, -1]):.4g}"),
        float(f"{np.mean(normalized(run.final_losses[:, 1], valid)):.4g}"),
        int(np.sum(run.diverged)),
        len(run.diverged),
    )


def summarized(table: Sequence[Row]) -> list[Mean]:
    """A line an optimizer and a value."""

    def line(optimizer: str, name: str, value: float) -> Mean:
        def rows(value: float) -> list[Row]:
            return [row for row in table if row[1:4] == (optimizer, name, value)]

        own, untouched = rows(value), rows(Turned._field_defaults[name])
        better = [a.valid < b.valid for a, b in zip(own, untouched, strict=True)]
        losses = np.mean([(row.mean, row.final, row.valid) for row in own], 0)
        mean, final, valid = (round(float(loss), 4) for loss in losses)
        diverged = sum(row.diverged for row in own)
        return Mean(optimizer, name, value, mean, final, valid, sum(better), diverged)

    optimizers = dict.fromkeys(row.optimizer for row in table)
    return [line(name, *turn) for name in optimizers for turn in every_turn()]


def draw(figure: Any, means: Sequence[Mean]) -> None:
    """A column for what is turned; above final training losses, below validation losses."""
    panels = figure.subplots(2, len(TURNED), sharey="row")
    for column, (turned, values) in enumerate(TURNED.items()):
        for line, field in enumerate(("final", "valid")):
            panel = panels[line, column]
            for name, color in COLORS.items():
                own = [m for m in means if (m.optimizer, m.turned) == (name, turned)]
                heights = [getattr(mean, field) for mean in own]
                panel.plot(
                    range(len(heights)), heights, "o-", ms=3, color=color, label=name
                )
            names = ["none" if np.isinf(value) else f"{value:g}" for value in values]
            panel.set_xticks(range(len(values)), names, rotation=45)
            panel.set_ylim(top=1.0)
        panels[1, column].set_xlabel(turned.replace("_", " "))
    panels[0, 0].set_ylabel("final training loss")
    panels[1, 0].set_ylabel("validation loss")
    figure.align_xlabels(panels[1])
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)


if __name__ == "__main__":
    tyro.cli(main)

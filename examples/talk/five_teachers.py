"""One learned optimizer, five ways to teach it: evolution, backprop, both, and reinforcement.

    python -m examples.talk.five_teachers
    python -m examples.talk.five_teachers --out results/talk/five_teachers    # tables, figure

`general`, its rates standing still since PPO can teach nothing that remembers what depends on
θ, on 24 fixed tiny twins, taught by PES, by ES over whole episodes, by truncated backprop, by
ES and backprop merged, and by PPO on the device, for the same time each: an outer step is timed
first, and their number follows. θ is measured on other twins on the way, so that teachers can
be compared at equal time and at equal inner steps. "noise" is the variance of a gradient of one
particle over the squared norm of the gradient that was used.
"""

import concurrent.futures
import json
import multiprocessing
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tyro

import opt_gym
from envs_registry.benchmark_sets import BENCHMARK_SETS
from examples.bundle import TINY, Phase, is_done, json_of, trained
from examples.studies import (
    columns_of,
    completed,
    printed,
    scores_on,
    seconds_a_step,
)
from opt_gym.evaluation.house_style import (
    LINES,
    OTHER_COLORS,
    SUBJECT_COLOR,
    write_figure,
)
from opt_gym.runtime.files import write_atomically

ARCHITECTURE = "general"
TASKS = BENCHMARK_SETS[f"{TINY}/train"][::5]
HELD_OUT = BENCHMARK_SETS[f"{TINY}/development"]
NUM_POINTS, TIMED_STEPS = 5, 12
LONG, HORIZON = [50, 1000], 1000
KEPT_WITH = "quadratic_family_seed700_tiny"
"""A cheap task: θ on the way are kept where a training evaluates something."""


class Teacher(NamedTuple):
    """A trainer, its settings, and the rate of Adam."""

    trainer: str
    options: dict[str, Any]
    learning_rate: float


TEACHERS = {
    "PES": Teacher(
        "pes", {"num_pairs": 2, "sigma": 0.1, "horizon": LONG, "balanced": True}, 4e-3
    ),
    "ES": Teacher(
        "es", {"num_pairs": 2, "sigma": 0.1, "horizon": LONG, "balanced": True}, 4e-3
    ),
    "backprop": Teacher("backprop", {"num_problems": 4, "horizon": HORIZON}, 1e-3),
    "ES and backprop": Teacher(
        "inverse_variance", {"num_pairs": 2, "sigma": 0.03, "horizon": LONG}, 4e-3
    ),
    "PPO": Teacher(
        "ppo",
        {
            "num_envs": 4,
            "num_steps": 50,
            "horizon": HORIZON,
            "num_minibatches": 4,
            "action_scale": 0.003,
        },
        1e-3,
    ),
}


class Row(NamedTuple):
    """θ after so much training; losses are normalized, lower is better.

    seconds: of training alone, the median step times their number; memory_mb: the most that
    the process held, evaluations included.
    """

    teacher: str
    seed: int
    inner_steps: int
    seconds: float
    mean: float
    final: float
    noise: float
    memory_mb: int


def main(
    out: Path = Path("runs/talk/five_teachers"),
    teachers: Sequence[str] = tuple(TEACHERS),
    seeds: int = 3,
    minutes: float = 30.0,
    num_tasks: int = 24,
    tasks_per_step: int = 8,
    held_out: Sequence[str] = HELD_OUT,
    num_seeds: int = 2,
) -> list[Row]:
    """Teaches, measures, and writes `table.csv` and `figure.png`.

    Args:
        out: folder; what is there is not done again.
        teachers: some of `TEACHERS`.
        seeds: outer-trainings by each.
        minutes: of each.
        num_tasks: twins that are trained on.
        tasks_per_step: of these in an outer step.
        held_out: twins that are measured on.
        num_seeds: inner seeds of each of these.
    """
    opt_gym.use_all_cores()

    def rows(name: str, seed: int) -> list[Row]:
        folder = out / f"{name.replace(' ', '_')}_seed{seed}"
        phase = phase_of(TEACHERS[name], TASKS[:num_tasks], tasks_per_step)
        if not is_done(folder):
            in_own_process(folder, phase, seed, minutes)
        points = measured(folder, held_out, num_seeds)
        return [Row(name, seed, *point) for point in points]

    keys = [(name, seed) for seed in range(seeds) for name in teachers]
    table = completed(out / "table.csv", Row, keys, rows)
    write_figure(out / "figure", (8.0, 3.6), lambda figure: draw(figure, table))
    print(printed(summary(table)))
    return table


def phase_of(teacher: Teacher, tasks: Sequence[str], tasks_per_step: int) -> Phase:
    """How one teaches, but for the number of steps."""
    return {
        "trainer": teacher.trainer,
        "tasks": [*tasks],
        "tasks_per_step": min(tasks_per_step, len(tasks)),
        "learning_rate": teacher.learning_rate,
        "options": json_of(theta_average=0.99, **teacher.options),
        "architecture_options": json_of(searching=False),
        "max_programs": 0,
    }


def in_own_process(folder: Path, phase: Phase, seed: int, minutes: float) -> None:
    """Trains as long as asked, and notes how much memory that took."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as process:
        if not (folder / "run.json").exists():
            trial = folder.with_name(f"{folder.name}_timed")
            process.submit(
                trained, trial, ARCHITECTURE, phase | {"outer_steps": TIMED_STEPS}, seed
            ).result()
            steps = max(
                NUM_POINTS,
                round(60 * minutes / seconds_a_step(columns_of(trial / "log.csv"))),
            )
            phase = phase | {
                "outer_steps": steps,
                "evaluate_every": -(-steps // NUM_POINTS),
                "evaluate_on": [KEPT_WITH],
                "evaluate_seeds": 1,
            }
        process.submit(trained, folder, ARCHITECTURE, phase, seed).result()
        memory = process.submit(peak_megabytes).result()
    text = json.dumps({"memory_mb": memory})
    write_atomically(folder / "memory.json", text.encode())


def peak_megabytes() -> int:
    """The most that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def measured(folder: Path, tasks: Sequence[str], num_seeds: int) -> list[tuple]:
    """The fields of `Row` behind its seed, of each θ that a run has kept."""
    log = columns_of(folder / "log.csv")
    a_step = seconds_a_step(log)
    done = np.cumsum(log["inner_steps"])
    noise = float(np.nanmedian(log["variance"] / log["grad_norm"] ** 2))
    memory = json.loads((folder / "memory.json").read_text())["memory_mb"]
    found = []
    for path in sorted(folder.glob("theta-*.safetensors")):
        step = int(path.stem.rpartition("-")[2])
        scores = scores_on(path, tasks, horizon=HORIZON, num_seeds=num_seeds)
        cost = int(done[step - 1]), round(a_step * step, 1)
        found.append((*cost, scores.mean, scores.final, float(f"{noise:.3g}"), memory))
    return found


class Line(NamedTuple):
    """A teacher in the summary: medians over seeds, at equal time and at equal inner steps."""

    teacher: str
    mean: float
    lowest: float
    highest: float
    inner_steps: int
    mean_at_equal_steps: float
    noise: float
    memory_mb: int


def summary(table: Sequence[Row]) -> list[Line]:
    """What each has reached at the end, and at the inner steps that all have done."""
    names = list(dict.fromkeys(row.teacher for row in table))
    runs = {
        name: [
            [row for row in table if (row.teacher, row.seed) == (name, seed)]
            for seed in sorted({row.seed for row in table if row.teacher == name})
        ]
        for name in names
    }
    common = min(run[-1].inner_steps for own in runs.values() for run in own)
    lines = []
    for name, own in runs.items():
        ends = [run[-1].mean for run in own]
        at_equal = [
            np.interp(common, [r.inner_steps for r in run], [r.mean for r in run])
            for run in own
        ]
        last = [run[-1] for run in own]
        lines.append(
            Line(
                name,
                round(float(np.median(ends)), 4),
                *(min(ends), max(ends)),
                int(np.median([row.inner_steps for row in last])),
                round(float(np.median(at_equal)), 4),
                float(np.median([row.noise for row in last])),
                max(row.memory_mb for row in last),
            )
        )
    return lines


def draw(figure: Any, table: Sequence[Row]) -> None:
    """Held-out loss against time and against inner steps: every seed a line."""
    colors = (SUBJECT_COLOR, *OTHER_COLORS)
    panels = figure.subplots(1, 2, sharey=True)
    for place, name in enumerate(dict.fromkeys(row.teacher for row in table)):
        for seed in sorted({row.seed for row in table if row.teacher == name}):
            own = [row for row in table if (row.teacher, row.seed) == (name, seed)]
            how = {"color": colors[place % len(colors)], "lw": 1.2}
            how |= {"linestyle": LINES[place % len(LINES)]}
            label = name if seed == 0 else None
            means = [row.mean for row in own]
            panels[0].plot([row.seconds / 60 for row in own], means, label=label, **how)
            panels[1].plot([row.inner_steps for row in own], means, **how)
    panels[0].set(xlabel="minutes", ylabel="mean normalized loss, held out")
    panels[1].set(xlabel="inner steps", xscale="log")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False)


if __name__ == "__main__":
    tyro.cli(main)

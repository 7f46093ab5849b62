"""Outer-trains one architecture from a random θ and measures it: how bundled θ are made.

    python examples/bundle.py mlp
    python examples/bundle.py general --budget 0.5

`opt-gym train` with a recipe, in one phase or several, each of which begins at the θ of the
one before; then 1,000 steps on tasks that were held out. θ, log and a model card are in
`runs/bundle/<name>`. Most recipes are of small networks that classify 8x8 digits, and take a
few minutes for four of them, half an hour for 24; they start from the published forms, only
step sizes are larger, for unrolls of 1,000 steps. `general` is trained on tiny twins of
TaskSet, for hours of both cores: a budget makes all of its phases shorter.
"""

import csv
import json
import math
import sys
import textwrap
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import tyro

import learned
import opt_gym
from envs_registry.benchmark_sets import (
    BENCHMARK_SETS,
    SMALL_MLP_HELD_OUT,
    SMALL_MLP_TRAIN,
)
from learned.theta_file import read_header
from opt_gym.checks import check_positive
from opt_gym.cli.train import resume, train
from opt_gym.evaluation import Interval
from opt_gym.evaluation.comparison import Summary, compare
from opt_gym.plugins import unknown

HORIZON = 1000
NUM_SEEDS = 3
ONE_ADAM, BEST_ADAM = 0.0229, 0.0186  # measured by examples/demo.py on the same tasks
LARGER_STEPS = {"step_multiplier": 0.01, "exp_multiplier": 0.3}
TINY = "taskset-tiny-v1"

Phase = dict[str, Any]
"""Keywords of `opt-gym train`."""


class Recipe(NamedTuple):
    """How θ of one architecture is made.

    phases: one after another; held_out: what θ is measured on; seen: what all these tasks
    are; one_adam: what Adam at one rate reaches on them, and beside: that as a sentence;
    core_hours: what the phases take here, 0 where nobody asks; architecture: where the recipe
    is not named after it; suffix: of the card's name.
    """

    phases: tuple[Phase, ...]
    held_out: tuple[str, ...] = SMALL_MLP_HELD_OUT
    seen: str = "small networks on 8x8 digits"
    one_adam: float = ONE_ADAM
    beside: str = (
        f" One Adam rate for all tasks reaches {ONE_ADAM:.4f}, the best of 14 rates of every "
        f"task {BEST_ADAM:.4f} (five seeds)."
    )
    core_hours: float = 0.0
    architecture: str = ""
    suffix: str = "_small"

    def shortened(self, core_hours: float | None) -> "Recipe":
        """With a budget: every phase has fewer outer steps, and a small one fewer tasks.

        Raises:
            ValueError: a budget that is not above 0, or of a recipe whose price is not known.
        """
        if core_hours is None:
            return self
        check_positive("budget", core_hours)
        if not self.core_hours:
            raise ValueError("this recipe takes minutes: it needs no budget")
        share = min(core_hours / self.core_hours, 1.0)
        fewer = self.phases[0]["tasks"] if share > FEW else self.phases[0]["tasks"][::3]
        phases = [
            phase
            | {"outer_steps": max(1, round(share * phase["outer_steps"]))}
            | {"tasks": fewer}
            for phase in self.phases
        ]
        return self._replace(phases=tuple(phases))


FEW = 0.4
"""Below this share of a recipe its tasks would compile for most of the time."""


def _small(
    outer_steps: int,
    config: dict[str, Any],
    *,
    sigma: float = 0.03,
    learning_rate: float = 0.01,
    num_tasks: int = 4,
    tasks_per_step: int = 1,
    num_pairs: int = 8,
    theta_average: float = 0.99,
) -> Recipe:
    """On the first networks of `small_mlp/train`, each a program to compile."""
    options = {"num_pairs": num_pairs, "sigma": sigma, "theta_average": theta_average}
    return Recipe(
        (
            {
                "tasks": [*SMALL_MLP_TRAIN[:num_tasks]],
                "tasks_per_step": tasks_per_step,
                "outer_steps": outer_steps,
                "learning_rate": learning_rate,
                "options": json_of(**options),
                "architecture_options": json_of(**config),
            },
        )
    )


def json_of(**values: Any) -> dict[str, str]:
    """Options as the command line takes them."""
    return {key: json.dumps(value) for key, value in values.items()}


def _general(config: dict[str, Any], **changes: Any) -> Recipe:
    """On every second of the 120 twins: two such trainings at once take 16 GB of memory.

    16 of them an outer step, few pairs each, for tasks vary more. What was chosen, and what was
    not, is in results/general.md. Both phases have the clock of θ as it is used, so that the
    second finds the programs of the first.
    """
    config = {"time_clamp": 1000, **config}

    def phase(outer_steps: int, learning_rate: float, **options: Any) -> Phase:
        shared = {"num_pairs": 2, "theta_average": 0.998, "balanced": True}
        return {
            "tasks": [*BENCHMARK_SETS[f"{TINY}/train"][::2]],
            "tasks_per_step": 16,
            "outer_steps": outer_steps,
            "learning_rate": learning_rate,
            "options": json_of(**shared | options),
            "architecture_options": json_of(**config),
            "workers": 4,
            "grow_by": 4,
            **changes,
        }

    return Recipe(
        (
            phase(1600, 4e-3, sigma=0.1, horizon=[50, 1000]),
            phase(400, 1e-3, sigma=0.05, horizon=[50, 5000]),
        ),
        BENCHMARK_SETS[f"{TINY}/development"],
        seen="tiny twins of TaskSet's families",
        one_adam=math.inf,
        beside="",
        core_hours=2.0,
        architecture="general",
        suffix="",
    )


RECIPES = {
    "mlp": _small(1200, LARGER_STEPS),
    "adafactor_mlp": _small(
        6000,
        LARGER_STEPS,
        num_tasks=24,
        tasks_per_step=4,
        num_pairs=4,
        theta_average=0.998,
    ),
    "star": _small(600, {"learning_rate": 0.01, **LARGER_STEPS}),
    "nn_adam": _small(1000, {"learning_rate": 0.01}, sigma=0.01, learning_rate=0.001),
    "normalized_direction": _small(600, {"learning_rate": 0.01}),
    "hierarchical": _small(
        500, {"step_multiplier": 0.01, "exp_multiplier": 0.1}, learning_rate=0.003
    ),
    "hierarchical_rnn": _small(320, {"initial_rate": 0.01}),
    "lstm": _small(320, {"scale": 0.03}),
    "velo_like": _small(500, {}, sigma=0.01, learning_rate=0.001),
    "general": _general({}),
    "general_free": _general({"reads_loss": False, "reads_horizon": False}),
    "general_valid": _general({}, objective="valid"),
}


def main(
    name: Annotated[str, tyro.conf.Positional],
    out: Path = Path("runs/bundle"),
    outer_steps: int | None = None,
    budget: float | None = None,
    seed: int = 0,
    held_out: int = 12,
) -> None:
    """Trains, evaluates and writes a card.

    Args:
        name: one of the recipes.
        out: folder; a run that was cut off there goes on from its checkpoint.
        outer_steps: of every phase, instead of the recipe's.
        budget: core-hours, instead of the recipe's.
        seed: of outer-training.
        held_out: how many of the held-out tasks to evaluate on.
    """
    if name not in RECIPES:
        raise SystemExit(unknown("recipe", name, list(RECIPES)))
    try:
        recipe = RECIPES[name].shortened(budget)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    out, architecture = out / name, recipe.architecture or name
    paths: list[Path] = []
    for number, phase in enumerate(recipe.phases):
        folder = out if len(recipe.phases) == 1 else out / f"phase{number + 1}"
        changes = {} if outer_steps is None else {"outer_steps": outer_steps}
        start = paths[-1] if paths else None
        paths.append(trained(folder, architecture, phase | changes, seed, start))
    path, seconds = paths[-1], sum(map(seconds_of, paths))
    card = out / f"{name}{recipe.suffix}.md"
    summary = measure(path, recipe.held_out[:held_out])
    headers = [*map(read_header, paths)]
    card.write_text(describe(name, headers, recipe, seconds, summary))
    print(f"\n{card.read_text()}\n{path} and {card} are yours.")


def trained(
    folder: Path,
    architecture: str,
    phase: Phase,
    seed: int = 0,
    start: Path | None = None,
) -> Path:
    """θ of an outer-training in `folder`, which goes on where it was cut off.

    Args:
        folder: of the run; where θ of all its steps is there, nothing else need be.
        architecture: by name.
        phase: keywords of `opt-gym train`.
        seed: of the training.
        start: θ it starts from, which brings its architecture.
    """
    theta = folder / "theta.safetensors"
    if is_done(folder):
        return theta
    if (folder / "run.json").exists():
        code = resume(folder)
    else:
        begun: Phase = {"architecture": architecture}
        if start is not None:
            begun = {"start": str(start), "architecture_options": None}
        code = train(folder, **{**phase, **begun}, seed=seed, data="embedded")
    if code:
        sys.exit(code)
    return theta


def is_done(folder: Path) -> bool:
    """Whether θ of all outer steps is there; checkpoints need not be."""
    theta, run = folder / "theta.safetensors", folder / "run.json"
    if not (theta.exists() and run.exists()):
        return False
    done = read_header(theta)["training"].get("outer_steps", 0)
    return done >= json.loads(run.read_text())["outer_steps"]


def seconds_of(theta: Path) -> int:
    """What all outer steps of a run took, sessions added up; 0 where its log is not there."""
    log = theta.with_name("log.csv")
    if not log.exists():
        return 0
    with log.open(newline="") as file:
        return round(max(float(line["seconds"]) for line in csv.DictReader(file)))


def measure(path: Path, tasks: tuple[str, ...]) -> Summary:
    """What θ reaches on tasks it has not seen."""
    optimizer, theta = learned.load(path)
    runs = opt_gym.evaluate(
        optimizer, tasks, theta, horizon=HORIZON, num_seeds=NUM_SEEDS, data="embedded"
    )
    return compare(runs)[0]


def describe(
    name: str, headers: list[dict[str, Any]], recipe: Recipe, seconds: int, s: Summary
) -> str:
    """The model card: θ files' headers, one a phase, seconds of training, what θ reached."""
    architecture, config = headers[-1]["architecture"]
    published = learned.make(architecture).config
    changed = {k: v for k, v in config.items() if v != published[k]}
    settings = ", ".join(f"{key} {value}" for key, value in changed.items())
    points = [
        f"Trained by `python examples/bundle.py {name}`{_lasting(seconds)}. Objective: mean "
        f"normalized {_counted(recipe)} loss.",
        *(
            _of_phase(header["training"], phase)
            for header, phase in zip(headers, recipe.phases, strict=True)
        ),
        f"On {s.num_tasks} held-out {recipe.seen}, {HORIZON:,} steps, {NUM_SEEDS} seeds: "
        f"mean normalized loss {_interval(s.mean_cost)}, interquartile mean "
        f"{s.iqm_cost.value:.4f}, final {s.final_cost:.4f}, validation loss "
        f"{s.valid_loss:.3f}, test loss {s.test_loss:.3f}; {s.num_diverged} of {s.num_runs} "
        f"runs diverged.{recipe.beside}",
        *_faults(s, recipe),
        f"It has seen {len(recipe.phases[-1]['tasks'])} {recipe.seen}. Do not expect it to "
        "work far from them, or beyond the horizon it was trained for, where the time that "
        "it is shown stands still.",
    ]
    made = settings or "as published"
    first = f"The architecture `{architecture}`, {made}, from a random θ."
    wrapped = [
        textwrap.fill(point, 96, initial_indent="- ", subsequent_indent="  ")
        for point in points
    ]
    return "\n".join(
        [f"# {name}{recipe.suffix}", "", textwrap.fill(first, 96), "", *wrapped, ""]
    )


def _lasting(seconds: int) -> str:
    return f", {seconds:,} seconds, compilation included" if seconds else ""


def _counted(recipe: Recipe) -> str:
    is_valid = recipe.phases[-1].get("objective") == "valid"
    return "validation" if is_valid else "training"


def _of_phase(training: dict[str, Any], phase: Phase) -> str:
    """What one outer-training was.

    Raises:
        SystemExit: the file is of other tasks than the recipe's.
    """
    pes, tasks = training["trainer"][1], phase["tasks"]
    if training["tasks"] != [opt_gym.task_config(task) for task in tasks]:
        raise SystemExit("θ was trained on other tasks than its recipe's")
    steps, (low, high) = training["outer_steps"], pes["horizon"]
    unrolls = 2 * pes["num_pairs"] * training["tasks_per_step"]
    return (
        f"PES on `{tasks[0]}` … `{tasks[-1]}`, horizons log-uniform {low}–{high:,}, "
        f"{steps:,} outer steps of {unrolls} unrolls x {pes['trunc_length']} inner steps "
        f"({steps * unrolls * pes['trunc_length']:,} inner steps), σ {pes['sigma']:g}, outer "
        f"rate {training['learning_rate']:g}, outer seed {training['seed']}."
    )


def _interval(x: Interval) -> str:
    if math.isnan(x.low):  # too few tasks
        return f"{x.value:.4f}"
    return f"{x.value:.4f} [{x.low:.4f}, {x.high:.4f}]"


def _faults(summary: Summary, recipe: Recipe) -> list[str]:
    """What a user should be told before anything else."""
    found = []
    if summary.mean_cost.value > recipe.one_adam:
        found.append(
            "Worse than one Adam rate for all tasks: not a replacement of Adam."
        )
    if summary.mean_cost.value > 2 * summary.iqm_cost.value:
        found.append(
            "It fails on some of the tasks: the mean is far above the middle half."
        )
    if summary.final_cost > summary.mean_cost.value:
        found.append(
            "It does not keep what it gains: losses rise towards the end of a run."
        )
    if summary.num_diverged:
        found.append("It diverges now and then.")
    return found


if __name__ == "__main__":
    tyro.cli(main)

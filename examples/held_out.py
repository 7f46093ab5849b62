"""What the outer seeds of a run reach on held-out tasks, each and pooled.

    opt-gym train --tasks small_mlp/train --tasks-per-step 4 --seeds 3 --out runs/a
    python examples/held_out.py runs/a

Every seed's θ, beside Adam at the best of 14 rates of every task, with and without a cosine,
and at one rate for all. "pooled" are the runs of all outer seeds together; intervals are over
tasks. Tables, curves.csv and a picture are left in the run's folder.
"""

import json
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

import learned
import opt_gym
from envs_registry.benchmark_sets import BENCHMARK_SETS, SMALL_MLP_TRAIN
from opt_gym.evaluation.baselines import (
    GLOBAL_ADAM,
    PER_TASK_ADAM,
    Baseline,
    evaluate_baselines,
)
from opt_gym.evaluation.comparison import compare, format_summaries
from opt_gym.evaluation.curves import write_csv
from opt_gym.evaluation.plots import plot_comparison
from opt_gym.evaluation.runs import ARRAYS, EvaluationSettings, Runs
from opt_gym.runtime.files import cache_folder

PER_TASK_COSINE = Baseline("adam_cosine_lr", 14, per_task=True)


def main(
    run: Annotated[Path, tyro.conf.Positional],
    tasks: str = "small_mlp/held_out_16",
    horizon: tuple[int, ...] = (1000, 5000),
    num_seeds: int = 5,
    objective: Literal["train", "valid"] = "train",
) -> None:
    """Evaluates and compares.

    Args:
        run: the folder of `opt-gym train --seeds`.
        tasks: a frozen list.
        horizon: inner steps; the trained one first.
        num_seeds: episodes of each task.
        objective: whose loss counts.
    """
    opt_gym.use_all_cores()
    paths = sorted(run.glob("seed*/theta.safetensors")) or [run / "theta.safetensors"]
    named = BENCHMARK_SETS[tasks]
    settings = EvaluationSettings(
        horizon, num_seeds, objective=objective, data="embedded"
    )
    cache = cache_folder() / "evaluations"
    found: list[Runs] = []
    for path in paths:
        optimizer, theta = learned.load(path)
        name = path.parent.name
        print(f"evaluating {path}", flush=True)
        found += opt_gym.evaluate(
            optimizer, named, theta, name=name, cache=cache, **settings._asdict()
        )
    runs = [*found, *pooled(found)] if len(paths) > 1 else found
    baselines = [GLOBAL_ADAM, PER_TASK_ADAM, PER_TASK_COSINE]
    adams, _ = evaluate_baselines(
        baselines, named, SMALL_MLP_TRAIN, settings, cache, None
    )
    runs += adams
    report(run, runs, horizon, tasks, objective)


def pooled(found: list[Runs]) -> list[Runs]:
    """The runs of all outer seeds as if they were one optimizer's."""
    groups: dict[tuple[str, int], list[Runs]] = {}
    for one in found:
        groups.setdefault((one.task, one.horizon), []).append(one)
    arrays = [name for name in ARRAYS if name != "inner_steps"]
    return [
        own[0]._replace(
            optimizer="pooled",
            **{
                name: np.concatenate([getattr(x, name) for x in own]) for name in arrays
            },
        )
        for own in groups.values()
    ]


def report(
    run: Path, runs: list[Runs], horizon: tuple[int, ...], tasks: str, objective: str
) -> None:
    """Tables against both per-task Adams, as text and JSON; curves and a picture."""
    text, numbers = [], []
    for steps in horizon:
        there = [one for one in runs if one.horizon == steps]
        for reference in (PER_TASK_ADAM.title, PER_TASK_COSINE.title):
            summaries = compare(there, reference)
            text.append(f"{steps:,} steps of {tasks}; reference: {reference}")
            text.append(format_summaries(summaries, "reference"))
            numbers += [{"reference": reference, **s._asdict()} for s in summaries]
    name = f"held_out_{objective}"
    (run / f"{name}.txt").write_text("\n\n".join(text) + "\n")
    (run / f"{name}.json").write_text(json.dumps(numbers, indent=1) + "\n")
    write_csv(run / f"{name}.csv", runs)
    shown = [one for one in runs if one.horizon == horizon[0]]
    subject = shown[0].optimizer
    if any(one.optimizer == "pooled" for one in shown):
        subject = "pooled"
        shown = [one for one in shown if not one.optimizer.startswith("seed")]
    plot_comparison(run / f"{name}.png", shown, subject=subject, title=f"{tasks}")
    print("\n\n".join(text))


if __name__ == "__main__":
    tyro.cli(main)

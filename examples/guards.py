"""Is a guarded optimizer never much worse than its fallback? On every task of some lists.

    python -m examples.guards
    python -m examples.guards --out results/guards    # the table alone

A θ trains by itself, beside AdamW at 3e-3, and guarded with that as its fallback, for a
thousand steps and for five times as many. Promised is a final normalized loss of at most the
fallback's + max(.02, a tenth of it), by the median of three seeds. `nominal_small`, which saw
nothing but digits, diverges or stalls on many of these tasks. How often the fallback itself
would break that promise by luck alone, three other seeds of it tell.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optax
import tyro

import learned
import opt_gym
from envs_registry.benchmark_sets import BENCHMARK_SETS
from examples.studies import completed, printed, runs_of
from learned.guarded_optax import FALLBACK_RATE
from opt_gym.adapters.foreign import from_maker
from opt_gym.evaluation.runs import normalized
from opt_gym.records import LearnedOptimizer
from opt_gym.runtime.rounding import rounded

LISTS = ("small_mlp/held_out_16", "taskset-tiny-v1/development")
LEAST, SHARE = 0.02, 0.1
"""How much worse than the fallback is allowed."""


class Row(NamedTuple):
    """One task; final normalized losses, on 20 batches, medians over seeds.

    again: the fallback's of other seeds; is_kept, is_kept_again: what is promised of guarded,
    and that of these.
    """

    theta: str
    task: str
    horizon: int
    bare: float
    guarded: float
    fallback: float
    again: float
    is_kept: str
    is_kept_again: str


def main(
    out: Path = Path("runs/guards"),
    theta: str = "nominal_small",
    lists: Sequence[str] = LISTS,
    horizons: tuple[int, ...] = (1000, 5000),
    num_tasks: int | None = None,
    num_seeds: int = 3,
) -> list[Row]:
    """Measures, and writes `table.csv`.

    Args:
        out: folder; what is there is not measured again.
        theta: file or bundled name.
        lists: names of `opt_gym`'s lists of tasks.
        horizons: steps.
        num_tasks: only so many of each list.
        num_seeds: initial weights and batches of each task.
    """
    opt_gym.use_all_cores()
    policies = policies_of(theta)

    def finals(policy: LearnedOptimizer, task: str, seed: int = 0) -> list[float]:
        runs = runs_of(
            (policy, None),
            [task],
            horizon=horizons,
            num_seeds=num_seeds,
            num_points=2,
            seed=seed,
        )
        losses = (normalized(run.final_losses[:, 0], run.normalizer) for run in runs)
        return [rounded(float(np.median(of_seeds)), 4) for of_seeds in losses]

    def rows(_: str, task: str) -> list[Row]:
        found = [finals(policy, task) for policy in policies.values()]
        found.append(finals(policies["fallback"], task, seed=1))
        return [
            Row(
                *(theta, task, steps, bare, guarded, fallback, again),
                is_kept=is_kept(guarded, fallback),
                is_kept_again=is_kept(again, fallback),
            )
            for steps, bare, guarded, fallback, again in zip(
                horizons, *found, strict=True
            )
        ]

    names = [name for one in lists for name in BENCHMARK_SETS[one][:num_tasks]]
    table = completed(out / "table.csv", Row, [(theta, name) for name in names], rows)
    print(printed(table))
    return table


def policies_of(theta: str) -> dict[str, LearnedOptimizer]:
    """Bare, guarded and the fallback, in the order of a row."""
    lopt, own = learned.load(theta)

    def bare(weights: Any, horizon: Any) -> optax.GradientTransformation:
        return learned.to_optax(lopt, weights, horizon=horizon, warn=False)

    def fallback(weights: Any, horizon: Any) -> optax.GradientTransformation:
        return optax.adamw(FALLBACK_RATE)

    def guarded(weights: Any, horizon: Any) -> optax.GradientTransformation:
        two = bare(weights, horizon), fallback(weights, horizon)
        return learned.guarded(*two, horizon=horizon)

    return {
        make.__name__: from_maker(make, own, make.__name__)
        for make in (bare, guarded, fallback)
    }


def is_kept(final: float, fallback: float) -> str:
    """Whether the promise is."""
    return "yes" if final <= fallback + max(LEAST, SHARE * fallback) else "no"


if __name__ == "__main__":
    tyro.cli(main)

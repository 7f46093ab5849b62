"""Is a guarded optimizer never much worse than its fallback? On every task of some lists.

    python -m examples.guards
    python -m examples.guards --out results/guards    # the table alone

A θ trains by itself, beside AdamW at 3e-3, and guarded with that as its fallback, for a
thousand steps and for five times as many. Promised is a final normalized loss of at most the
fallback's + max(.02, a tenth of it), by the median of three seeds. `nominal_small`, which saw
nothing but digits, diverges or stalls on many of these tasks.
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
from opt_gym.records import LearnedOptimizer
from opt_gym.runtime.rounding import rounded

LISTS = ("small_mlp/held_out_16", "taskset-tiny-v1/development")
LEAST, SHARE = 0.02, 0.1
"""How much worse than the fallback is allowed."""


class Row(NamedTuple):
    """One task; final normalized losses, medians over seeds."""

    theta: str
    task: str
    horizon: int
    bare: float
    guarded: float
    fallback: float
    is_kept: str


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

    def rows(_: str, task: str) -> list[Row]:
        finals = {
            name: [
                float(np.median(run.costs[:, -1]))
                for run in runs_of(
                    (policy, None),
                    [task],
                    horizon=horizons,
                    num_seeds=num_seeds,
                    num_points=2,
                )
            ]
            for name, policy in policies.items()
        }
        return [
            Row(
                theta,
                task,
                steps,
                rounded(a, 4),
                rounded(b, 4),
                rounded(c, 4),
                is_kept(b, c),
            )
            for steps, a, b, c in zip(horizons, *finals.values(), strict=True)
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


def is_kept(guarded: float, fallback: float) -> str:
    """Whether the promise is."""
    return "yes" if guarded <= fallback + max(LEAST, SHARE * fallback) else "no"


if __name__ == "__main__":
    tyro.cli(main)

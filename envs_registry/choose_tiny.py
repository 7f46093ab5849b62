"""How the lists of `taskset-tiny-v1` were chosen: `python -m envs_registry.choose_tiny DIR`.

Twins (`opt_gym.twins`) of the families that taskset-small trains on, from seeds in order, and
a reason for every one that is left out. Beside the lists it writes `normalizers.csv`, the rows
of what it measured: interrupted, it goes on with what is there. The lists in `sets/` are what
counts.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import opt_gym  # before the names that it registers
from envs_registry import names
from envs_registry.benchmark_sets import BENCHMARK_SETS
from envs_registry.choose_tasks import TEST_FAMILIES
from opt_gym import normalize
from opt_gym.evaluation.measure_normalizers import NormalizerJob
from opt_gym.maths.limits import LIMIT
from opt_gym.runtime.worker_processes import run_jobs
from opt_gym.tasks.named import TINY_SUFFIX

FAMILIES = tuple(f for f in names.INFEASIBLE_SEEDS if f not in TEST_FAMILIES)
COUNTS = {"train": (120, 500), "development": (24, 700)}
"""By list: how many tasks, as evenly over the families as it goes, from which seed on."""

HIGHEST_INITIAL = LIMIT
"""A loss beyond it is shown to no optimizer as it is."""

HIGHEST_BEST_COST = 0.5
"""Of the mean normalized loss of the best of Adam's rates: a task on which nothing learns
in a thousand steps teaches nothing, and drowns those that do."""

SETTINGS: dict[str, Any] = {
    "objective": "train",
    "corruption": "training",
    "source": "embedded",
    "num_seeds": 1,
    "learning_rates": (1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 1e-1),
}
WORKERS = 2
_MEASURE = "opt_gym.evaluation.measure_normalizers:measure_job"


class Verdict(NamedTuple):
    """On one twin: why it is left out, "" where it is taken."""

    list: str
    name: str
    reason: str


def choose(table: Path) -> Iterator[Verdict]:
    """Verdicts, list by list and family by family, seeds in order."""
    older = [
        opt_gym.task_config(task)
        for title, tasks in BENCHMARK_SETS.items()
        if not title.startswith("taskset-tiny")
        for task in tasks
    ]
    for title, (count, first_seed) in COUNTS.items():
        for place, family in enumerate(FAMILIES):
            missing = count // len(FAMILIES) + (place < count % len(FAMILIES))
            seed = first_seed
            while missing:
                batch = [
                    f"{family}_family_seed{k}{TINY_SUFFIX}"
                    for k in range(seed, seed + missing)
                ]
                seed += missing
                for name, reason in _reasons(batch, older, table):
                    missing -= not reason
                    yield Verdict(title, name, reason)


def _reasons(
    batch: list[str], older: list[Any], table: Path
) -> Iterator[tuple[str, str]]:
    """(name, why it is left out) of every one, in order."""
    jobs, reasons = [], {}
    for name in batch:
        try:
            config = opt_gym.task_config(name)
        except ValueError as error:
            reasons[name] = str(error)
            continue
        if config in older:
            reasons[name] = "its config is in an older list"
            continue
        jobs.append(NormalizerJob(name, None, table, SETTINGS))
    for outcome in run_jobs(_MEASURE, jobs, workers=min(WORKERS, len(jobs))):
        if outcome.error:
            reasons[outcome.job.name] = outcome.error
        elif outcome.result:
            normalize.write_rows(table, outcome.result)
    rows = normalize.read_table(table).values()
    measured = {row["name"]: row for row in rows if row["objective"] == "train"}
    for name in batch:
        yield name, reasons.get(name) or _weakness(measured[name])


def _weakness(row: dict[str, str]) -> str:
    """What speaks against a task that could be measured."""
    initial = float(row["initial"])
    if abs(initial) > HIGHEST_INITIAL:
        return f"its initial loss is {initial:.3g}, beyond {HIGHEST_INITIAL:g}"
    best = min(float(cost) for cost in row["adam_mean_cost"].split())
    if best > HIGHEST_BEST_COST:
        return f"the best of Adam's rates has {best:.2f}, above {HIGHEST_BEST_COST}"
    return ""


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    lists: dict[str, list[str]] = {title: [] for title in COUNTS}
    for title, name, reason in choose(folder / "normalizers.csv"):
        sys.stdout.write(f"{title} {name}: {reason or 'taken'}\n")
        sys.stdout.flush()
        if not reason:
            lists[title].append(name)
            path = folder / f"taskset-tiny-v1_{title}.txt"
            path.write_text("\n".join(lists[title]) + "\n")

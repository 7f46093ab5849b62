"""How frozen lists are chosen: seeds in order, and a reason for each that is left out.

`choose_tiny.py` and `choose_modern.py` say which families and how many. What a program here
prints can be checked; the lists in `sets/` are what counts.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import opt_gym  # before the names that it registers
from envs_registry.benchmark_sets import BENCHMARK_SETS
from opt_gym import normalize
from opt_gym.evaluation.measure_normalizers import NormalizerJob
from opt_gym.maths.limits import LIMIT
from opt_gym.records import Config
from opt_gym.runtime.worker_processes import run_jobs

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


class Part(NamedTuple):
    """One list: its name, how many tasks, as evenly over `families` as it goes, of which seeds.

    suffix: of every name; `objection`: (config) -> why it is left out before it is measured.
    """

    list: str
    count: int
    families: tuple[str, ...]
    first_seed: int
    suffix: str = ""
    objection: Callable[[Config], str] = lambda config: ""


def write_lists(
    folder: Path,
    parts: Iterable[Part],
    others: Callable[[str], bool],
    weakness: Callable[[dict[str, str]], str],
) -> None:
    """Prints verdicts and writes the lists, and `normalizers.csv`, what was measured for them.

    Interrupted, it goes on with what is there.

    Args:
        folder: where.
        parts: the lists.
        others: (name of a frozen list) -> whether no config may be one of it.
        weakness: of a row of the table, what speaks against its task.
    """
    folder.mkdir(parents=True, exist_ok=True)
    older = [
        opt_gym.task_config(task)
        for title, tasks in BENCHMARK_SETS.items()
        if others(title)
        for task in tasks
    ]
    for part in parts:
        taken: list[str] = []
        table = folder / "normalizers.csv"
        for name, reason in _choose(part, older, table, weakness):
            sys.stdout.write(f"{part.list} {name}: {reason or 'taken'}\n")
            sys.stdout.flush()
            if not reason:
                taken.append(name)
                older.append(opt_gym.task_config(name))
                path = folder / f"{part.list.replace('/', '_')}.txt"
                path.write_text("\n".join(taken) + "\n")


def _choose(
    part: Part, older: list[Config], table: Path, weakness: Callable[..., str]
) -> Iterator[tuple[str, str]]:
    """(name, why it is left out, "" where it is taken) family by family, seeds in order."""
    for place, family in enumerate(part.families):
        share, rest = divmod(part.count, len(part.families))
        missing, seed = share + (place < rest), part.first_seed
        while missing:
            batch: list[str] = []
            while len(batch) < missing:
                name = f"{family}_family_seed{seed}{part.suffix}"
                seed += 1
                if objection := _objection(name, part, older):
                    yield name, objection
                else:
                    batch.append(name)
            for name, reason in _measured(batch, table, weakness):
                missing -= not reason
                yield name, reason


def _objection(name: str, part: Part, older: list[Config]) -> str:
    try:
        config = opt_gym.task_config(name)
    except ValueError as error:
        return str(error)
    if config in older:
        return "its config is in an older list"
    return part.objection(config)


def _measured(
    batch: list[str], table: Path, weakness: Callable[..., str]
) -> Iterator[tuple[str, str]]:
    """(name, why it is left out) of every one, in order."""
    jobs = [NormalizerJob(name, None, table, SETTINGS) for name in batch]
    reasons = {}
    for outcome in run_jobs(_MEASURE, jobs, workers=min(WORKERS, len(jobs))):
        if outcome.error:
            reasons[outcome.job.name] = outcome.error
        elif outcome.result:
            normalize.write_rows(table, outcome.result)
    rows = normalize.read_table(table).values()
    measured = {row["name"]: row for row in rows if row["objective"] == "train"}
    for name in batch:
        yield name, reasons.get(name) or weakness(measured[name])


def teaches_nothing(row: dict[str, str]) -> str:
    """What speaks against a task that could be measured: a loss too high, or that stays."""
    initial = float(row["initial"])
    if abs(initial) > HIGHEST_INITIAL:
        return f"its initial loss is {initial:.3g}, beyond {HIGHEST_INITIAL:g}"
    best = min(float(cost) for cost in row["adam_mean_cost"].split())
    if best > HIGHEST_BEST_COST:
        return f"the best of Adam's rates has {best:.2f}, above {HIGHEST_BEST_COST}"
    return ""

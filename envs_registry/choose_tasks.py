"""How the lists of `taskset-small-v2` were chosen: `python -m envs_registry.choose_tasks DIR`.

The rule of `taskset-small-v1`, on seeds that TaskSet never published. It is kept so that the
choice can be checked; the lists in `sets/` are what counts, for seconds are a machine's.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import opt_gym  # before the names that it registers
from envs_registry import names
from envs_registry.benchmark_sets import BENCHMARK_SETS
from opt_gym.runtime.worker_processes import run_jobs
from opt_gym.task_statistics.statistics_table import Row

SEEDS = range(400, 500)
SECONDS_PER_10K = 60.0
TEST_FAMILIES = ("mlp_ae", "rnn_text_classification")
COUNTS = {"test": 2, "test_families": 10}
CHEAPEST_WORDS = 16
"""Of the costly language models on words only so many, of the fewest multiplications."""

_MEASURE = "opt_gym.task_statistics.measurement:measure_job"


def choose(order: np.random.Generator) -> Iterator[tuple[str, str]]:
    """(list, task), the tasks of every family in a random order, the first that pass."""
    older = [
        opt_gym.task_config(task) for tasks in BENCHMARK_SETS.values() for task in tasks
    ]
    for family in names.INFEASIBLE_SEEDS:
        part = "test_families" if family in TEST_FAMILIES else "test"
        missing = COUNTS[part]
        for name in _candidates(family, order):
            if not missing:
                break
            if opt_gym.task_config(name) not in older and _passes(name):
                missing -= 1
                yield f"taskset-small-v2_{part}", name


def _candidates(family: str, order: np.random.Generator) -> list[str]:
    found = [f"{family}_family_seed{seed}" for seed in SEEDS]
    if family == "word_rnn_language_model":
        found = sorted(found, key=_multiplications)[:CHEAPEST_WORDS]
    return [found[place] for place in order.permutation(len(found))]


def _multiplications(name: str) -> int:
    """Of the logits of a language model, a step's largest part."""
    config = opt_gym.task_config(name)
    data = config["dataset"][1]
    tokens = data["patch_length"] * data["batch_size"]
    return tokens * config["core"][1]["core_dim"] * config["vocab_size"]


def _passes(name: str) -> bool:
    job = (name, None, "embedded")
    (outcome,) = run_jobs(_MEASURE, [job], workers=1, limit=120.0, memory=6.0)
    row = outcome.result or Row(name, error=outcome.error)
    seconds = row.seconds_per_10k_steps
    passes = row.finite and seconds is not None and seconds < SECONDS_PER_10K
    verdict = "taken" if passes else "left out"
    sys.stdout.write(f"{name}: {verdict}, {seconds} s {row.error}\n")
    return passes


if __name__ == "__main__":
    lists: dict[str, list[str]] = {}
    for part, name in choose(np.random.default_rng(2026)):
        lists.setdefault(part, []).append(name)
        for title, tasks in lists.items():
            path = Path(sys.argv[1]) / f"{title}.txt"
            path.write_text("\n".join(tasks) + "\n")

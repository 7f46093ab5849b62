"""Chooses, on the training tasks, the settings that baselines have for all tasks.

    opt-gym archive taskset-small-v1/train --groups candidate muon_rates ... --out FOLDER
    python -m envs_registry.choose_settings FOLDER

The one-trial baseline is the best of all candidates by the mean, by the interquartile mean of
the mean cost, and by the mean final cost (of which 2 is the most that counts) over the 60
training tasks; the rate of every other optimizer is the best by the mean. Writes `chosen.json`.
"""

import json
import sys
from pathlib import Path

import numpy as np

from envs_registry.benchmark_sets import BENCHMARK_SETS
from opt_gym import factory, normalize
from opt_gym.archive import archive_files
from opt_gym.archive.groups import CANDIDATES, CHOSEN, RATES
from opt_gym.archive.measuring import empty_record
from opt_gym.archive.task_records import TaskRecord
from opt_gym.evaluation.runs import normalized
from opt_gym.judge.intervals import interquartile_mean

TRAINING = "taskset-small-v1/train"


def read_training(folder: Path) -> list[TaskRecord]:
    """The records of all training tasks.

    Raises:
        ValueError: one is missing.
    """
    records = []
    for name in BENCHMARK_SETS[TRAINING]:
        record = archive_files.find(empty_record(name, None, "embedded"), [folder])
        if record is None:
            raise ValueError(f"{folder} has nothing of {name}")
        records.append(record)
    return records


def choose(records: list[TaskRecord]) -> dict[str, dict[str, float]]:
    """Entries of θ by setting."""
    names = list(CANDIDATES)
    costs = np.array([[r.measured[n].mean_cost[0] for n in names] for r in records])
    final = np.array([_final_costs(record, names) for record in records])
    best = {
        "one_trial mean": names[int(np.argmin(costs.mean(axis=0)))],
        "one_trial iqm": names[int(np.argmin(interquartile_mean(costs, axis=0)))],
        "one_trial final": names[int(np.argmin(final.mean(axis=0)))],
    }
    chosen = {setting: CANDIDATES[name] for setting, name in best.items()}
    for optimizer in RATES:
        found = records[0].of_group(f"{optimizer}_rates")
        means = {
            name: np.mean([r.measured[name].mean_cost[0] for r in records])
            for name in found
        }
        if means:
            rate = min(means, key=lambda name: means[name]).rpartition(" ")[2]
            chosen[optimizer] = {"learning_rate": float(rate)}
    sys.stdout.writelines(f"{setting}: {name}\n" for setting, name in best.items())
    return chosen


def _final_costs(record: TaskRecord, names: list[str]) -> np.ndarray:
    task = factory.as_task(record.name)
    normalizer = normalize.lookup(task, "train", "embedded")
    losses = [record.measured[name].final_losses[0, 0] for name in names]
    return normalized(np.array(losses), normalizer)


if __name__ == "__main__":
    settings = choose(read_training(Path(sys.argv[1])))
    CHOSEN.write_text(json.dumps(settings, indent=1) + "\n")

"""Comparisons with losses of one's choice: nets, flows, what diverged and what is missing."""

import zlib

import numpy as np

from opt_gym.archive.task_records import Measured
from opt_gym.evaluation.runs import normalized
from opt_gym.records import Normalizer
from opt_gym.report.side_by_side import Comparison, Optimizer, TaskInfo

STEPS = np.unique(np.concatenate([[0], np.geomspace(1, 1000, 40).astype(int)]))
FAMILIES = {  # initial and lowest loss
    "mlp": (2.3, 0.01),
    "nvp": (3267.0, 290.0),
    "maf": (3290.0, -1400.0),
    "rnn_text_classification": (0.75, 0.5),
    "quadratic": (5e7, 1.0),
    "conv_pooling": (2.3, 1.6),
}


def task(number, part="test"):
    """One of a family, with a size."""
    family = list(FAMILIES)[number % len(FAMILIES)]
    return TaskInfo(
        name=f"{family}_family_seed{400 + number}",
        part=part,
        family=family,
        num_weights=int(300 * 1.3 ** (number % 17)),
        batch_size=8 << number % 5,
        has_floor=family != "maf",
        normalizers={"train": Normalizer(*FAMILIES[family], "given")},
    )


def measured(about, *, rate=1.0, seeds=3, lost=False, curves=True, horizon=1000):
    """Losses fall as a power of the step; lost runs are infinite in their second half."""
    normalizer = about.normalizers["train"]
    rng = np.random.default_rng(zlib.crc32(about.name.encode()))
    noise = 1 + 0.15 * rng.normal(size=(seeds, len(STEPS))) * (STEPS > 0)
    left = (1.0 + STEPS) ** -rate * np.abs(noise)
    losses = normalizer.best + (normalizer.initial - normalizer.best) * left
    if lost:
        losses[0, len(STEPS) // 2 :] = np.inf
    with np.errstate(invalid="ignore"):
        mean, spread = losses.mean(0), losses.std(0)
    drawn = {}
    if curves:
        drawn = {
            "inner_steps": STEPS,
            "mean": np.stack([mean] * 3),
            "spread": np.stack([spread] * 3),
        }
    return Measured(
        horizon=horizon,
        mean_cost=normalized(losses, normalizer).mean(1),
        final_losses=np.stack([losses[:, -1]] * 3, 1),
        final_accuracy=np.full(seeds, np.nan),
        diverged=~np.isfinite(losses[:, -1]),
        **drawn,
    )


def comparison(
    num_tasks=3, entrants=("ours",), baselines=("adam 0.01", "adam 0.1"), **fields
):
    """Everybody on every task, at rates that differ; the first baseline is the primary."""
    tasks = tuple(
        task(i, "suite/test" if i < 20 else "suite/test_families")
        for i in range(num_tasks)
    )
    everyone = [Optimizer(name, is_entrant=True) for name in entrants]
    everyone += [Optimizer(name, is_entrant=False) for name in baselines]
    results = {
        (one.name, about.name): measured(about, rate=0.9 - 0.06 * place)
        for place, one in enumerate(everyone)
        for about in tasks
    }
    given = {
        "primary": baselines[0] if baselines else "",
        "co_primary": baselines[1] if len(baselines) > 1 else "",
        "results": results,
        "errors": {},
        **fields,
    }
    return Comparison("suite", 1000, tasks, tuple(everyone), **given)


def without(given, *pairs):
    """The same, without these results."""
    return given._replace(
        results={k: v for k, v in given.results.items() if k not in pairs}
    )

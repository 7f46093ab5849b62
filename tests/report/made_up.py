"""Comparisons with numbers of one's choice."""

from opt_gym.records import Normalizer
from opt_gym.report import archive_baselines as baselines
from opt_gym.report.side_by_side import Comparison, Optimizer, TaskInfo

NORMALIZER = Normalizer(2.0, 0.0, "archive")
"""A cost is half the loss of `tests.archive.made_up`."""


def task(name, *, part="held_out", family="mlp", has_floor=True):
    normalizers = {"train": NORMALIZER, "valid": NORMALIZER}
    return TaskInfo(name, part, family, 1000, 32, has_floor, normalizers)


def comparison(results, *, tasks, entrants=("mine",), errors=None, horizon=1000):
    """Who is not an entrant is a baseline; results by (optimizer, task)."""
    names = list(dict.fromkeys([*entrants, *(name for name, _ in results)]))
    return Comparison(
        suite="small",
        horizon=horizon,
        tasks=tuple(tasks),
        optimizers=tuple(Optimizer(name, name in entrants) for name in names),
        results=results,
        errors=errors or {},
        primary=baselines.ONE_TRIAL if baselines.ONE_TRIAL in names else "",
        co_primary=baselines.BEST_COSINE if baselines.BEST_COSINE in names else "",
    )

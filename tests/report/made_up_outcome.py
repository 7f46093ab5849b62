"""Finished reports with numbers of one's choice."""

from opt_gym.archive.task_records import TaskRecord
from opt_gym.report import archive_baselines as baselines
from opt_gym.report.assembly import Known, Outcome
from opt_gym.report.entrants import Entrant
from opt_gym.report.running import RunSettings, Timing
from opt_gym.report.suites import Suite
from opt_gym.report.verdict import judged
from tests.archive.made_up import measured
from tests.report.made_up import comparison, task

ONE = baselines.ONE_TRIAL
BEST = baselines.BEST_COSINE


def make():
    """An outcome is read, never run."""
    raise AssertionError


def compared(costs, *, seeds=5, errors=None, entrants=("mine",), parts=("held_out",)):
    """Mean costs, by optimizer, one a task; None where it failed."""
    count = max(len(own) for own in costs.values())
    tasks = [
        task(f"t{n}", part=parts[n % len(parts)], family=f"f{n}") for n in range(count)
    ]
    results = {
        (name, f"t{n}"): measured(mean_cost=(cost,) * seeds)
        for name, own in costs.items()
        for n, cost in enumerate(own)
        if cost is not None
    }
    return comparison(results, tasks=tasks, entrants=entrants, errors=errors)


def outcome(
    given, *, records=None, timings=None, training=None, notes=(), status="test"
):
    """With entrants that have the names of the comparison's."""
    entrants = tuple(
        Entrant(one.name, make, "made up", "d1235", training or {})
        for one in given.entrants
    )
    return Outcome(
        suite=Suite("small", status, "a few", {}),
        settings=RunSettings(num_seeds=5),
        entrants=entrants,
        comparisons=(given,),
        known=Known(given.tasks, records or {}, tuple(notes)),
        timings=timings or {},
    )


def judged_of(made):
    return [judged(one, made.known.records) for one in made.comparisons]


def adam_record(more=None):
    """Adam's curves, and what else one wants, by setting."""
    found = {
        "adam 0.003": measured((2.0, 1.8, 1.0, 0.5, 0.2), (0.30,) * 5),
        "adam 0.01": measured((2.0, 1.5, 0.8, 0.6, 0.4), (0.28,) * 5),
        **(more or {}),
    }
    return TaskRecord("t0", "c0ffee", "0123456789abcdef", found)


def timing(name="mine", task="t0", *, seconds=4e-4, adamw=1e-4):
    return Timing(task, name, seconds, adamw, 24.0, 8.0)

"""What a report says of an entrant, in words that a sceptic accepts.

Every sentence has its numbers. An entrant is called better or worse only where the 95 %
interval over tasks like these leaves out 0. What cannot be said is said to be so.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from opt_gym.archive.task_records import TaskRecord
from opt_gym.judge.comparisons import WORSE, Paired
from opt_gym.judge.intervals import FEWEST_TASKS, Interval
from opt_gym.judge.speed import THRESHOLDS, SpeedUp
from opt_gym.report.archive_baselines import BEST_COSINE, GLOBAL_ADAM, ONE_TRIAL
from opt_gym.report.running import Timing
from opt_gym.report.scoring import Scores, TaskScores
from opt_gym.report.side_by_side import Comparison
from opt_gym.report.verdict import Judged
from opt_gym.report.words_of_limits import STAND_IN, limits_of
from opt_gym.report.words_of_numbers import (
    counted,
    interval,
    listed,
    p_value,
    percent,
    signed,
    times,
)
from opt_gym.report.words_of_seconds import cost_of

BETTER, WORSE_THAN, UNCLEAR, UNKNOWN = "better", "worse", "unclear", "unknown"


class Sentence(NamedTuple):
    """What is said, and in a word or two what of."""

    about: str
    text: str


class Finding(NamedTuple):
    """What is said of an entrant at a horizon.

    Attributes:
        entrant, horizon: whose.
        verdict: "better" or "worse" than the baseline of the primary score, "unclear" where
            no difference can be shown, "unknown" where there is nothing to compare.
        headline: one line.
        sentences: what was found.
        limits: what could not be said, and why.
    """

    entrant: str
    horizon: int
    verdict: str
    headline: str
    sentences: tuple[Sentence, ...]
    limits: tuple[str, ...]


class Background(NamedTuple):
    """What is known besides the scores.

    Attributes:
        records: the archive's, by task.
        timings: by (entrant, task).
        training: what outer-trainings were, by entrant, as θ files say it.
        status: of the suite.
        notes: of the archive.
    """

    records: Mapping[str, TaskRecord] = {}
    timings: Mapping[tuple[str, str], Timing] = {}
    training: Mapping[str, Mapping[str, Any]] = {}
    status: str = ""
    notes: Sequence[str] = ()


def findings(judged: Judged, background: Background) -> list[Finding]:
    """One an entrant."""
    return [
        _finding(judged, one.name, background) for one in judged.comparison.entrants
    ]


SIGNIFICANT = 0.05
"""The p-value below which a difference is called one."""


def verdict(paired: Paired | None) -> str:
    """By the interval of the mean and the p-value: see `Finding`.

    The interval alone is too narrow for a dozen tasks; the p-value is exact for any number.
    """
    if paired is None or not np.isfinite([paired.mean.low, paired.mean.high]).all():
        return UNKNOWN
    if paired.p_value >= SIGNIFICANT:
        return UNCLEAR
    if paired.mean.high < 0:
        return BETTER
    return WORSE_THAN if paired.mean.low > 0 else UNCLEAR


def _finding(judged: Judged, entrant: str, background: Background) -> Finding:
    comparison, scores = judged.comparison, judged.of(entrant)
    rows = judged.rows(entrant)
    timed = [one for (name, _), one in background.timings.items() if name == entrant]
    training = background.training.get(entrant, {})
    stands_in = _stand_in(comparison, background.records)
    sentences = {
        "Over a run": _primary(comparison, scores, stands_in),
        "At the end": _co_primary(comparison, scores),
        "Where it loses": _losses(comparison, rows),
        "Diverged": _robustness(scores, rows),
        "Speed": _speed(scores, rows),
        "Cost": cost_of(judged, entrant, timed, training),
    }
    return Finding(
        entrant=entrant,
        horizon=comparison.horizon,
        verdict=verdict(scores.primary),
        headline=_headline(comparison, scores, stands_in),
        # Where there is no result at all, the headline says everything.
        sentences=tuple(
            Sentence(*one) for one in sentences.items() if one[1] and scores.num_tasks
        ),
        limits=limits_of(
            judged, entrant, stands_in, background.status, bool(timed), training
        ),
    )


def _headline(comparison: Comparison, scores: Scores, stands_in: int) -> str:
    if not scores.num_tasks:
        return (
            f"no result: it failed on all of {counted(len(comparison.tasks), 'task')}"
        )
    name = _called(comparison.primary)
    if stands_in:
        name = f"the one-trial baseline ({STAND_IN} stands for it)"
    first = _short(scores.primary, "over a run", name)
    if scores.num_failed:
        first = (
            f"failed on {counted(scores.num_failed, 'task')}, which count as 2; {first}"
        )
    if not comparison.co_primary or comparison.co_primary == comparison.primary:
        return first
    second = _short(scores.co_primary, "at the end", _called(comparison.co_primary))
    return f"{first}; {second}"


def _short(paired: Paired | None, when: str, other: str) -> str:
    if paired is None:
        return f"{when} not compared with {other}"
    number = signed(paired.mean.value)
    return {
        BETTER: f"{when} better than {other} ({number})",
        WORSE_THAN: f"{when} worse than {other} ({number})",
        UNCLEAR: f"{when} no difference to {other} can be shown ({number})",
        UNKNOWN: f"{when} {number} beside {other}, on too few tasks for an interval",
    }[verdict(paired)]


def _called(name: str) -> str:
    """A baseline in a sentence."""
    if not name:
        return "a baseline, which the archive lacks"
    known = {
        ONE_TRIAL: "the one-trial baseline",
        BEST_COSINE: "the best of 14 Adams with a cosine",
    }
    return known.get(name, f"“{name}”")


def _primary(comparison: Comparison, scores: Scores, stands_in: int) -> str:
    if scores.primary is None:
        return ""
    other = _called(comparison.primary)
    if stands_in:
        other += f" ({STAND_IN} stands in)"
    return f"Mean normalized loss, beside {other}: {_difference(scores.primary)}."


def _co_primary(comparison: Comparison, scores: Scores) -> str:
    paired, other = scores.co_primary, comparison.co_primary
    if paired is None or other == comparison.primary:
        return ""
    hindsight = {one.name for one in comparison.optimizers if one.in_hindsight}
    name = _called(other)
    if other in hindsight:
        name += ", whose rate is chosen in hindsight"
    words = f"Normalized loss of the last step, beside {name}: {_difference(paired)}"
    if scores.log_ratio is not None and np.isfinite(scores.log_ratio):
        ratio = 10.0**scores.log_ratio
        words += (
            f"; its loss is {times(ratio)} theirs, geometric mean over "
            f"{counted(scores.num_ratios, 'task')} where a ratio means something"
        )
    return f"{words}."


def _difference(paired: Paired) -> str:
    found = {
        BETTER: "better",
        WORSE_THAN: "worse",
        UNCLEAR: "no difference can be shown",
        UNKNOWN: f"fewer than {FEWEST_TASKS} tasks give no interval",
    }[verdict(paired)]
    words = (
        f"{found}, mean difference {_with_interval(paired.mean)} over tasks like these, "
        f"{p_value(paired.p_value)} by flipping signs"
    )
    return (
        f"{words}; lower on {paired.wins} of {counted(paired.num_tasks, 'task')}; "
        f"interquartile mean {_with_interval(paired.iqm)}, worst tenth "
        f"{signed(paired.worst)}"
    )


def _with_interval(given: Interval) -> str:
    return f"{signed(given.value)}{interval(given)}"


def _robustness(scores: Scores, rows: Sequence[TaskScores]) -> str:
    if not scores.num_runs:
        return ""
    where = [row.task for row in rows if row.diverged]
    names = f", on {listed(where)}" if where else ""
    return (
        f"{scores.num_diverged} of {counted(scores.num_runs, 'run')}{names} (not finite, or "
        "above the initial loss at the end)."
    )


def _losses(comparison: Comparison, rows: Sequence[TaskScores]) -> str:
    """Where it loses, by the primary score."""
    known = [row for row in rows if row.difference is not None]
    if not known:
        return ""
    ordered = sorted(known, key=lambda row: -(row.difference or 0.0))
    lost = [row for row in ordered if (row.difference or 0.0) > WORSE]
    if lost:
        names = listed([f"{one.task} ({signed(one.difference)})" for one in lost], 6)
        words = f"By more than {WORSE:g} on {len(lost)} of {len(known)} tasks: {names}"
    else:
        worst = ordered[0]
        is_lower = ", still lower" if (worst.difference or 0.0) < 0 else ""
        words = (
            f"By more than {WORSE:g} on none of {counted(len(known), 'task')}; its "
            f"worst is {worst.task} ({signed(worst.difference)}{is_lower})"
        )
    return f"{words}{_worst_groups(comparison, known)}{_lost_at_end(comparison, rows)}."


def _lost_at_end(comparison: Comparison, rows: Sequence[TaskScores]) -> str:
    known = [row for row in rows if row.final_difference is not None]
    ordered = sorted(known, key=lambda row: -(row.final_difference or 0.0))
    higher = [row for row in ordered if (row.final_difference or 0.0) > 0.0]
    if not higher or comparison.co_primary == comparison.primary:
        return ""
    lost = [row for row in higher if (row.final_difference or 0.0) > WORSE]
    shown = [
        f"{one.task} ({signed(one.final_difference)})" for one in lost or higher[:1]
    ]
    how = f", by more than {WORSE:g} on {len(lost)}: " if lost else ", most on "
    return (
        f"; at the end it is higher than {_called(comparison.co_primary)} on {len(higher)} of "
        f"{counted(len(known), 'task')}{how}{listed(shown, 4)}"
    )


def _worst_groups(comparison: Comparison, rows: Sequence[TaskScores]) -> str:
    words = ""
    for kind in ("part", "family"):
        groups: dict[str, list[float]] = {}
        for task in comparison.tasks:
            found = [row.difference for row in rows if row.task == task.name]
            groups.setdefault(getattr(task, kind), []).extend(x or 0.0 for x in found)
        means = {name: float(np.mean(own)) for name, own in groups.items() if own}
        if len(means) < 2:
            continue
        worst = max(means, key=lambda name: means[name])
        words += (
            f"; its worst {kind} is {worst} ({signed(means[worst])}, mean of "
            f"{counted(len(groups[worst]), 'task')})"
        )
    return words


def _speed(scores: Scores, rows: Sequence[TaskScores]) -> str:
    if scores.speed_up is None:
        return ""
    count = sum(row.speed_up is not None for row in rows)
    words = (
        "To the entrant's final loss Adam at its best constant rate needs, in the entrant's "
        f"steps, {_median(scores.speed_up, scores.shares)} of "
        f"{counted(count, 'task')}"
    )
    if scores.cosine_speed_up is not None:
        found = _median(scores.cosine_speed_up, scores.cosine_shares)
        count = sum(row.cosine_speed_up is not None for row in rows)
        words += (
            f"; Adam with a cosine, of the runs of T/2, T, 2T and 4T the shortest that does, "
            f"{found} of {count}"
        )
    return f"{words}."


def _median(found: SpeedUp, shares: Sequence[float]) -> str:
    more = "more than " if found.censored else ""
    each = ", ".join(
        f"above {threshold:g}x on {percent(share)}"
        for threshold, share in zip(THRESHOLDS, shares, strict=True)
    )
    return f"a median of {more}{found.factor:.2g}x; {each}"


def _stand_in(comparison: Comparison, records: Mapping[str, TaskRecord]) -> int:
    """Tasks on which Adam at one rate stands for the one-trial baseline."""
    if comparison.primary != ONE_TRIAL:
        return 0
    known = [records[t.name] for t in comparison.tasks if t.name in records]
    return sum(
        GLOBAL_ADAM in one.measured and "one_trial mean" not in one.measured
        for one in known
    )

"""What an entrant costs, in words: its steps, and its outer-training."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from opt_gym.judge.comparisons import uses_to_pay
from opt_gym.report.running import Timing
from opt_gym.report.verdict import Judged
from opt_gym.report.words_of_numbers import counted, duration, plain_number

NUM_RATES = 14
"""Trials that tuning Adam takes, as the archive does it."""

_SECONDS = ("core_seconds", "seconds")
"""What a θ file calls the cost of its outer-training."""


def outer_seconds(training: Mapping[str, Any]) -> float | None:
    """What an outer-training took, where a θ file says it."""
    for key in _SECONDS:
        value = training.get(key)
        if isinstance(value, int | float) and value > 0:
            return float(value)
    return None


def cost_of(
    judged: Judged,
    entrant: str,
    timed: Sequence[Timing],
    training: Mapping[str, Any],
) -> str:
    """A step beside AdamW's, and how many trainings pay for the outer-training."""
    words = []
    if timed:
        ratios = [one.seconds / one.adamw for one in timed]
        spread = (
            f"{plain_number(min(ratios))} to {plain_number(max(ratios))} times"
            if len(ratios) > 1
            else f"{plain_number(ratios[0])} times"
        )
        mine = np.median([one.state_bytes for one in timed])
        theirs = np.median([one.adamw_bytes for one in timed])
        words.append(
            f"A step takes {spread} as long as AdamW's (median "
            f"{plain_number(float(np.median(ratios)))}, {counted(len(timed), 'task')} timed "
            f"on this machine), and it remembers {mine:.0f} bytes a weight (AdamW "
            f"{theirs:.0f})."
        )
    seconds = outer_seconds(training)
    if seconds is not None:
        kind = " of one core" if "core_seconds" in training else ""
        words.append(f"Its outer-training took {duration(seconds)}{kind}")
        words[-1] += _payment(judged, entrant, timed, seconds) + "."
    return " ".join(words)


def _payment(
    judged: Judged, entrant: str, timed: Sequence[Timing], seconds: float
) -> str:
    """After how many uses it has paid, on the median timed task."""
    horizon = judged.comparison.horizon
    uses: dict[int, list[float]] = {NUM_RATES: [], 1: []}
    for one in timed:
        scores = judged.per_task.get((entrant, one.task))
        if scores is None or scores.speed_up is None:
            continue
        steps = scores.speed_up.factor * horizon
        for trials, found in uses.items():
            theirs = trials * steps * one.adamw
            found.append(uses_to_pay(seconds, horizon * one.seconds, theirs))
    if not uses[1]:
        return ""
    tuned, known = (_uses(float(np.median(found))) for found in uses.values())
    return (
        f"; beside {NUM_RATES} trials of Adam to the same loss it has paid {tuned}, beside "
        f"Adam at a rate that is already known {known} (median of "
        f"{counted(len(uses[1]), 'timed task')})"
    )


def _uses(number: float) -> str:
    if not np.isfinite(number):
        return "never"
    return f"after {counted(max(1, int(np.ceil(number))), 'training')}"

"""Several optimizers on one model, in a given time: what `compare_on` does in both frameworks.

Every optimizer begins at the same weights and sees the same batches in the same order. How many
steps there are is found out first, so that all of them get the same number, and learned ones
and schedules are told it as their horizon.
"""

import math
import time
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from learned.theta_file import GENERAL
from opt_gym.records import LearnedOptimizer

USUAL_RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
"""The learning rates of AdamW that people try."""

LEARNED = GENERAL
"""The bundled θ that is compared by default."""

_MAX_BATCHES = 1000
_PROBE_STEPS = 5
_MAX_STEPS = 100_000
_SHARE = 0.85
"""Of the time that is left after the probes; the rest is for what they did not see."""


class OptimizerContestant(NamedTuple):
    """One optimizer on its own copy of the model.

    step: (number of the step) -> loss, a float, on the batch before the update.
    state_bytes: () -> what the optimizer remembers.
    is_learned: whether it is a learned optimizer, which the picture sets off.
    """

    step: Callable[[int], float]
    state_bytes: Callable[[], int]
    is_learned: bool


class Entry(NamedTuple):
    """How one optimizer fared.

    Attributes:
        name: of the optimizer.
        losses: of every step, [steps]; not a number once it diverged.
        final_loss: mean over the last tenth of them.
        seconds_per_step: median, the model's own work included.
        state_bytes: what it remembers.
        is_learned: as that of the contestant.
    """

    name: str
    losses: np.ndarray
    final_loss: float
    seconds_per_step: float
    state_bytes: int
    is_learned: bool

    @property
    def mean_loss(self) -> float:
        """Over all steps: how fast it went down, where the final loss says how far."""
        return float(np.mean(self.losses))


class Contest(NamedTuple):
    """The entries, best first, and the number of steps each had."""

    entries: tuple[Entry, ...]
    num_steps: int

    def table(self) -> str:
        """One line an optimizer."""
        wide = max(len("optimizer"), *(len(entry.name) for entry in self.entries))
        lines = [
            f"{'optimizer':{wide}s}  {'final loss':>10s}  {'mean loss':>10s}  "
            f"{'ms / step':>9s}  {'memory':>9s}"
        ]
        for entry in self.entries:
            lines.append(
                f"{entry.name:{wide}s}  {entry.final_loss:10.4g}  {entry.mean_loss:10.4g}  "
                f"{1e3 * entry.seconds_per_step:9.3g}  {_size(entry.state_bytes):>9s}"
            )
        return "\n".join([*lines, f"{self.num_steps} steps each, best first"])

    def plot(self, path: str | Path) -> Path:
        """A picture of the losses, smoothed over a fiftieth of the run."""
        return _plot(self, Path(path))


def run(
    make: dict[str, Callable[[int], OptimizerContestant]], budget_s: float
) -> Contest:
    """Runs all of them.

    Args:
        make: by name, (number of steps) -> a contestant at the beginning.
        budget_s: seconds for everything, compilation included.

    Raises:
        ValueError: no optimizer, or a budget that is too short for ten steps of each.
    """
    if not make:
        raise ValueError("optimizers is empty: there is nothing to compare")
    if not budget_s > 0:
        raise ValueError(f"budget_s must be > 0, got {budget_s}")
    began = time.perf_counter()
    seconds = {name: _probe(maker(_PROBE_STEPS)) for name, maker in make.items()}
    left = budget_s - 2 * (time.perf_counter() - began)  # they compile once more
    num_steps = min(_MAX_STEPS, int(_SHARE * left / sum(seconds.values())))
    if num_steps < 10:
        raise ValueError(
            f"budget_s={budget_s:g} is too short for 10 steps of {len(make)} optimizers: "
            f"one of each takes {sum(seconds.values()):.3g} s after {_words(began)} of "
            "compilation"
        )
    entries = [
        _enter(name, maker(num_steps), num_steps) for name, maker in make.items()
    ]
    ranked = sorted(entries, key=lambda e: _sortable(e.final_loss))
    return Contest(tuple(ranked), num_steps)


def kept(batches: Any) -> Callable[[int], Any]:
    """(number of the step) -> batch, the same for everyone.

    Args:
        batches: a function of the step, a sequence (again from its start where it ends), or
            an iterable, of which the first 1,000 are kept.

    Raises:
        ValueError: there is none.
    """
    if callable(batches) and not isinstance(batches, Sequence):
        return batches
    if not isinstance(batches, Sequence):
        batches = list(islice(batches, _MAX_BATCHES))
    if not len(batches):
        raise ValueError("batches is empty")
    return lambda step: batches[step % len(batches)]


def decay_for(learned_optimizer: LearnedOptimizer, num_steps: int) -> str | None:
    """The decay "cosine" for a run that is longer than those θ was trained for.

    None for what is told the horizon where it is known, and decays by itself.
    """
    trained = learned_optimizer.trained_horizon
    is_beyond = trained is not None and num_steps > trained
    return (
        "cosine" if is_beyond and "horizon" not in learned_optimizer.welcomes else None
    )


def _probe(contestant: OptimizerContestant) -> float:
    contestant.step(0)
    times = []
    for step in range(1, _PROBE_STEPS):
        began = time.perf_counter()
        contestant.step(step)
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def _enter(name: str, contestant: OptimizerContestant, num_steps: int) -> Entry:
    losses, times = np.full(num_steps, math.nan), []
    for step in range(num_steps):
        began = time.perf_counter()
        losses[step] = contestant.step(step)
        times.append(time.perf_counter() - began)
        if not math.isfinite(losses[step]):
            break
    last = losses[-max(1, num_steps // 10) :]
    return Entry(
        name,
        losses,
        float(np.mean(last)),
        float(np.median(times)),
        contestant.state_bytes(),
        contestant.is_learned,
    )


def _sortable(loss: float) -> float:
    return loss if math.isfinite(loss) else math.inf


def _words(began: float) -> str:
    return f"{time.perf_counter() - began:.3g} s"


def _size(num: int) -> str:
    for unit in ("B", "kB", "MB"):
        if num < 1000:
            return f"{num:.3g} {unit}"
        num /= 1000  # pyright: ignore[reportAssignmentType]
    return f"{num:.3g} GB"


def _plot(contest: Contest, path: Path) -> Path:
    from opt_gym.evaluation.house_style import (
        OTHER_COLORS,
        SUBJECT_COLOR,
        worth_log,
        write_picture,
    )

    window = max(1, contest.num_steps // 50)

    def draw(figure: Any) -> None:
        axes = figure.add_subplot()
        colors = cycle((*OTHER_COLORS, "#9aa3ad", "#22262b"))
        for entry in contest.entries:
            smooth = np.convolve(entry.losses, np.ones(window) / window, "valid")
            steps = np.arange(len(smooth)) + window
            axes.plot(
                steps,
                smooth,
                color=SUBJECT_COLOR if entry.is_learned else next(colors),
                linewidth=2.0 if entry.is_learned else 1.2,
                label=f"{entry.name}  {entry.final_loss:.4g}",
            )
        if worth_log(np.concatenate([e.losses for e in contest.entries]), 0.3):
            axes.set_yscale("log", nonpositive="mask")  # a loss of 0 is left out
        axes.set_xlabel("step")
        axes.set_ylabel("training loss")
        figure.legend(
            loc="outside right upper", frameon=False, title="final loss, best first"
        )

    return write_picture(path, (8, 4.5), draw)

"""How optimizers fared on one model: a table, a sentence and a picture."""

import math
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from learned.guard import Guard

SIGNIFICANT = 0.05
"""A difference of paired runs is one below this p-value of Student's t test."""


LOST_AT_END = 2
"""Losses in a row that are not finite, where a run ends: it diverged. One is a bad batch."""


class Remembered(NamedTuple):
    """What the state of an optimizer says.

    num_bytes: of it all; is_learned: whether there is a learned optimizer in it, which the
    picture sets off; guard: that of `guarded`, None without one.
    """

    num_bytes: int
    is_learned: bool
    guard: Guard | None = None


class Entry(NamedTuple):
    """How one optimizer fared.

    Attributes:
        name: of the optimizer.
        losses: of every step, [seeds, steps]; not a number once it diverged, and not finite
            where a batch was bad.
        final_losses: means over the last tenth of them, [seeds], bad batches left out; not a
            number where it diverged.
        valid_losses: after the last step, [seeds]; not a number where there are no batches, or
            where it diverged.
        seconds_per_step: median, the model's own work included.
        remembered: what its state said at the end, a run each.
    """

    name: str
    losses: np.ndarray
    final_losses: np.ndarray
    valid_losses: np.ndarray
    seconds_per_step: float
    remembered: tuple[Remembered, ...]

    @property
    def state_bytes(self) -> int:
        """What it remembers."""
        return self.remembered[0].num_bytes

    @property
    def is_learned(self) -> bool:
        """Whether it is a learned optimizer, guarded or not."""
        return self.remembered[0].is_learned

    @property
    def mean_loss(self) -> float:
        """Over all steps: how fast it went down, where the final loss says how far."""
        return mean_of_finite(self.losses)

    @property
    def final_loss(self) -> float:
        """The mean of the final losses."""
        return float(np.mean(self.final_losses))

    @property
    def valid_loss(self) -> float:
        """The mean of the validation losses."""
        return float(np.mean(self.valid_losses))


class Contest(NamedTuple):
    """All that came of it.

    Attributes:
        entries: best first.
        num_steps: that each had.
        is_validated: whether there were validation batches.
    """

    entries: tuple[Entry, ...]
    num_steps: int
    is_validated: bool = False

    def table(self) -> str:
        """One line an optimizer, what guards did, and the verdict."""
        columns = {
            "final loss": lambda entry: f"{entry.final_loss:.4g}",
            "mean loss": lambda entry: f"{entry.mean_loss:.4g}",
            "ms / step": lambda entry: f"{1e3 * entry.seconds_per_step:.3g}",
            "memory": lambda entry: _size(entry.state_bytes),
        }
        if self.is_validated:
            valid = {"valid loss": lambda entry: f"{entry.valid_loss:.4g}"}
            columns = valid | columns
        wide = max(len("optimizer"), *(len(entry.name) for entry in self.entries))
        lines = [
            f"{'optimizer':{wide}s}" + "".join(f"  {name:>10s}" for name in columns)
        ]
        for entry in self.entries:
            cells = "".join(f"  {tell(entry):>10s}" for tell in columns.values())
            lines.append(f"{entry.name:{wide}s}" + cells)
        seeds = len(self.entries[0].losses)
        runs = f", {seeds} runs" if seeds > 1 else ""
        lines.append(f"{self.num_steps} steps each{runs}, best first")
        guarded = [entry for entry in self.entries if entry.remembered[0].guard]
        told = [*map(_of_guards, guarded), self.verdict()]
        return "\n".join([*lines, *filter(None, told)])

    def verdict(self) -> str:
        """Whether the learned optimizer pays here, in a sentence; "" where there is none.

        The best learned one against the best of the others, which is chosen on these very runs.
        Of fewer than three runs nothing is said of what others would have brought.
        """
        groups = [
            [e for e in self.entries if e.is_learned is kind] for kind in (True, False)
        ]
        if not all(groups):
            return ""
        ours, theirs = (group[0] for group in groups)  # they are sorted
        what = "validation loss" if self.is_validated else "final loss"
        ours_at, theirs_at = (scores(e, self.is_validated) for e in (ours, theirs))
        ours_first = sortable(ours_at.mean()) <= sortable(theirs_at.mean())
        better, worse = (ours, theirs) if ours_first else (theirs, ours)
        low, high = sorted((ours_at.mean(), theirs_at.mean()), key=sortable)
        count, figures = len(ours_at), f"{what} {low:.4g} against {high:.4g}"
        pace = _pace(better, worse)
        if count < 3:
            runs = "one run" if count == 1 else "two runs"
            return f"{better.name} ended lower than {worse.name} in {runs}: {figures}, {pace}."
        if not _differ(ours_at, theirs_at):
            return (
                f"No difference that {count} runs could tell between {better.name} and "
                f"{worse.name}: {figures}, {pace}."
            )
        return f"{better.name} is better here than {worse.name}: {figures}, {pace}."

    def plot(self, path: str | Path) -> Path:
        """A picture of the losses by steps and by seconds, smoothed over a fiftieth."""
        return _plot(self, Path(path))


def mean_of_finite(losses: np.ndarray) -> float:
    """Of runs' losses, [..., steps], without bad batches; NaN where one diverged."""
    if not np.isfinite(losses[..., -LOST_AT_END:]).any(axis=-1).all():
        return math.nan
    return float(np.mean(losses[np.isfinite(losses)]))


def scores(entry: Entry, is_validated: bool) -> np.ndarray:
    """What counts of an entry, [seeds]."""
    return entry.valid_losses if is_validated else entry.final_losses


def _of_guards(entry: Entry) -> str:
    """What the guard of an optimizer did in all of its runs."""
    guards = [run.guard for run in entry.remembered if run.guard]
    fallen = sum(float(guard.learned) < 0.5 for guard in guards)
    switches, returns = (
        int(sum(float(count) for count in counts))
        for counts in zip(*((g.switches, g.returns) for g in guards), strict=True)
    )
    last = int(max(float(guard.last) for guard in guards))
    when = f", the last at step {last:,}" if last else ""
    return (
        f"{entry.name}: the fallback stepped at the end of {fallen} of {len(guards)} "
        f"{'run' if len(guards) == 1 else 'runs'}; {_times(switches, 'change')} of who steps, "
        f"{_times(returns, 'return')} to a snapshot{when}"
    )


def _times(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")


def _differ(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether paired runs tell them apart: their ratios, where no loss is below 0.

    What diverged is told from what did not.
    """
    from scipy import stats

    finite = np.isfinite(one), np.isfinite(other)
    if not (finite[0].all() and finite[1].all()):
        return bool((finite[0] != finite[1]).all())
    if min(one.min(), other.min()) > 0:
        one, other = np.log(one), np.log(other)
    if np.ptp(one - other) == 0:
        return bool(np.any(one != other))
    return bool(stats.ttest_rel(one, other).pvalue < SIGNIFICANT)


def _pace(better: Entry, worse: Entry) -> str:
    ratio = better.seconds_per_step / worse.seconds_per_step
    if 1 / 1.05 < ratio < 1.05:
        return "at the same pace"
    return (
        f"{ratio:.2g} times as slow" if ratio > 1 else f"{1 / ratio:.2g} times as quick"
    )


def sortable(loss: Any) -> float:
    """A loss that is not finite is the worst."""
    return float(loss) if math.isfinite(loss) else math.inf


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
    is_validated = contest.is_validated

    def draw(figure: Any) -> None:
        panels = figure.subplots(1, 2, sharey=True)
        colors = cycle((*OTHER_COLORS, "#9aa3ad", "#22262b"))
        for entry in contest.entries:
            losses = np.mean(entry.losses, axis=0)
            smooth = np.convolve(losses, np.ones(window) / window, "valid")
            steps = np.arange(len(smooth)) + window
            look = {
                "color": SUBJECT_COLOR if entry.is_learned else next(colors),
                "linewidth": 2.0 if entry.is_learned else 1.2,
                "label": f"{entry.name}  {np.mean(scores(entry, is_validated)):.4g}",
            }
            for axes, unit in zip(panels, (1.0, entry.seconds_per_step), strict=True):
                axes.plot(unit * steps, smooth, **look)
        if worth_log(np.concatenate([e.losses.ravel() for e in contest.entries]), 0.3):
            panels[0].set_yscale("log", nonpositive="mask")  # a loss of 0 is left out
        panels[0].set(xlabel="step", ylabel="training loss")
        panels[1].set(xlabel="seconds")
        handles, labels = panels[0].get_legend_handles_labels()
        title = f"{'validation' if is_validated else 'final'} loss, best first"
        figure.legend(
            handles, labels, loc="outside right upper", frameon=False, title=title
        )

    return write_picture(path, (10, 4.0), draw)

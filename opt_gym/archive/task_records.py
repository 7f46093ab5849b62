"""What is known of one task: every setting that was measured on it, and the file of it.

A file is a compressed .npz of a few large arrays: settings are rows, seeds that a setting has
not are NaN. Curves are means and spreads over seeds, rounded to what the noise leaves of them.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int

from opt_gym.evaluation.runs import Runs, normalized
from opt_gym.records import Normalizer
from opt_gym.runtime.array_files import from_bytes, to_bytes
from opt_gym.runtime.files import write_atomically

Kind = TypeVar("Kind")

FORMAT = 1
SPLITS = ("train", "valid", "test")

NEUTRAL = Normalizer(1.0, 0.0, "given")
"""What runs are made with whose costs are computed afterwards."""

_MEAN_BITS, _SPREAD_BITS = 17, 8
"""Of the fraction of a float32 that are kept: 4e-6 and 2e-3 of a number."""


class Measured(NamedTuple):
    """One setting of an optimizer on one task.

    Attributes:
        horizon: inner steps.
        mean_cost: [seeds], ℓ̃ averaged over every inner step, by the judge's normalizer.
        final_losses, final_accuracy: [seeds, 3] and [seeds], after the last step.
        diverged: [seeds], a loss or gradient became non-finite.
        inner_steps: [points] of the curves; None where only numbers were kept.
        mean, spread: [3, points], train, valid and test: over seeds, the standard deviation;
            inf and NaN where one of them is not finite.
    """

    horizon: int
    mean_cost: Float[np.ndarray, " seeds"]
    final_losses: Float[np.ndarray, "seeds 3"]
    final_accuracy: Float[np.ndarray, " seeds"]
    diverged: Bool[np.ndarray, " seeds"]
    inner_steps: Int[np.ndarray, " points"] | None = None
    mean: Float[np.ndarray, "3 points"] | None = None
    spread: Float[np.ndarray, "3 points"] | None = None


Trials = Mapping[str, Float[np.ndarray, "trials 3"]]
"""By search space: mean cost, final train and valid loss of its first trials."""


class TaskRecord(NamedTuple):
    """What is known of one task.

    Attributes:
        name: of the task.
        config, data: digests of them.
        measured: by setting, as "adam 0.001".
        trials: of searches.
        groups: by group of settings, how it was measured: seconds of a core, date, versions.
    """

    name: str
    config: str
    data: str
    measured: Mapping[str, Measured] = {}
    trials: Trials = {}  # noqa: RUF012
    groups: Mapping[str, dict[str, Any]] = {}

    @property
    def file_name(self) -> str:
        """Of its file: other data, another file."""
        return f"{self.name}.{self.data[:8]}.npz"

    def of_group(self, group: str) -> dict[str, Measured]:
        """The settings of a group."""
        return of_group(group, self.measured)


def of_group(group: str, by_setting: Mapping[str, Kind]) -> dict[str, Kind]:
    """Of what is kept by setting that of one group: "adam 0.001" is of "adam"."""
    return {
        setting: found
        for setting, found in by_setting.items()
        if setting.rpartition(" ")[0] == group or setting == group
    }


def longer_of(first: Trials, second: Trials) -> Trials:
    """Of every space the longer search; the second's where both are as long."""
    found = dict(first)
    for space, trials in second.items():
        if len(trials) >= len(found.get(space, ())):
            found[space] = trials
    return found


def judges_normalizer(
    curves: Mapping[str, Measured], split: str = "train"
) -> Normalizer:
    """1 at the initial loss, 0 at the lowest that any setting reaches, means over seeds.

    Args:
        curves: Adam at its 14 rates.
        split: whose loss: "train", "valid" or "test".

    Raises:
        ValueError: no initial loss, or none that anything lowers.
    """
    row = SPLITS.index(split)
    means = [one.mean[row] for one in curves.values() if one.mean is not None]
    if not means:
        raise ValueError("a normalizer needs curves")
    initial = float(means[0][0])
    best = float(np.min([np.where(np.isfinite(m), m, np.inf) for m in means]))
    if not np.isfinite(initial) or not best < initial - 1e-6 * abs(initial):
        raise ValueError(
            f"none of {len(means)} settings lowers the {split} loss from its initial "
            f"{initial:.6g}"
        )
    return Normalizer(initial, best, "archive")


def mean_cost(runs: Runs, normalizer: Normalizer) -> Float[np.ndarray, " seeds"]:
    """ℓ̃ averaged over every inner step, by another normalizer than the runs were made with."""
    return normalized(runs.step_losses, normalizer).mean(axis=1)


def curves_of(runs: Runs) -> tuple[np.ndarray, np.ndarray]:
    """(mean, spread) over seeds, [3, points] each."""
    losses = np.stack([runs.train_loss, runs.valid_loss, runs.test_loss])
    losses = np.where(np.isfinite(losses), losses, np.inf).astype(np.float64)
    with np.errstate(invalid="ignore"):
        return losses.mean(axis=1), losses.std(axis=1)


def measured(runs: Runs, normalizer: Normalizer, *, curves: bool) -> Measured:
    """What is kept of runs."""
    kept: dict[str, Any] = {}
    if curves:
        mean, spread = curves_of(runs)
        kept = {"inner_steps": runs.inner_steps, "mean": mean, "spread": spread}
    return Measured(
        horizon=runs.horizon,
        # As a file keeps it: what is measured again is equal, not only close.
        mean_cost=mean_cost(runs, normalizer).astype(np.float32),
        final_losses=runs.final_losses,
        final_accuracy=runs.final_accuracy,
        diverged=runs.diverged,
        **kept,
    )


def read_record(file: Path) -> TaskRecord:
    """The record of a file.

    Raises:
        FileNotFoundError: no file.
        ValueError: a damaged one, or one of a newer format.
    """
    try:
        arrays = from_bytes(file.read_bytes())
        about = json.loads(str(arrays["about"]))
        if about["format"] <= FORMAT:
            return _record(about, arrays)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise ValueError(f"{file} is damaged ({what})") from None
    raise ValueError(f"{file} has format {about['format']}, newer than {FORMAT}")


def _record(about: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> TaskRecord:
    """Of a file's contents."""
    found: dict[str, Measured] = {}
    drawn = {setting: row for row, setting in enumerate(about["drawn"])}
    for row, (setting, num_seeds, horizon) in enumerate(about["settings"]):
        kept: dict[str, Any] = {}
        if setting in drawn:
            place = drawn[setting]
            steps = arrays["inner_steps"][place]
            count = int((steps >= 0).sum())
            kept = {
                "inner_steps": steps[:count],
                "mean": arrays["mean"][place][:, :count],
                "spread": arrays["spread"][place][:, :count],
            }
        found[setting] = Measured(
            horizon=horizon,
            mean_cost=arrays["mean_cost"][row, :num_seeds],
            final_losses=arrays["final_losses"][row, :num_seeds],
            final_accuracy=arrays["final_accuracy"][row, :num_seeds],
            diverged=arrays["diverged"][row, :num_seeds],
            **kept,
        )
    trials = {
        space: arrays[f"trials {number}"]
        for number, space in enumerate(about["spaces"])
    }
    return TaskRecord(
        about["name"], about["config"], about["data"], found, trials, about["groups"]
    )


def write_record(folder: Path, record: TaskRecord) -> Path:
    """Writes the file of a record, atomically."""
    settings = record.measured
    drawn = [name for name, one in settings.items() if one.mean is not None]
    about = {
        "format": FORMAT,
        "name": record.name,
        "config": record.config,
        "data": record.data,
        "settings": [(k, len(m.mean_cost), m.horizon) for k, m in settings.items()],
        "drawn": drawn,
        "spaces": list(record.trials),
        "groups": dict(record.groups),
    }
    rows = settings.values()
    arrays = {
        "about": np.asarray(json.dumps(about)),
        "mean_cost": _stacked([m.mean_cost for m in rows]),
        "final_losses": _stacked([m.final_losses for m in rows]),
        "final_accuracy": _stacked([m.final_accuracy for m in rows]),
        "diverged": _stacked([m.diverged for m in rows], False),
    }
    if drawn:
        curves = [settings[name] for name in drawn]
        steps = _stacked([m.inner_steps for m in curves], -1)
        mean = np.moveaxis(_stacked([m.mean.T for m in curves]), 1, 2)  # type: ignore[union-attr]
        spread = np.moveaxis(_stacked([m.spread.T for m in curves]), 1, 2)  # type: ignore[union-attr]
        arrays["inner_steps"] = steps.astype(np.int32)
        arrays["mean"] = _cut(mean, _MEAN_BITS)
        arrays["spread"] = _cut(spread, _SPREAD_BITS)
    for number, trials in enumerate(record.trials.values()):
        arrays[f"trials {number}"] = _cut(trials, _MEAN_BITS)
    return write_atomically(
        folder / record.file_name, to_bytes(arrays, compressed=True)
    )


def _stacked(rows: list[Any], filled: Any = np.nan) -> np.ndarray:
    """Rows of different lengths, [rows, longest, ...]."""
    rows = [np.asarray(row) for row in rows]
    longest = max(map(len, rows), default=0)
    dtype = np.float32 if rows and rows[0].dtype.kind == "f" else None
    shape = (len(rows), longest, *(rows[0].shape[1:] if rows else ()))
    stacked = np.full(shape, filled, dtype or (rows[0].dtype if rows else np.float32))
    for place, row in enumerate(rows):
        stacked[place, : len(row)] = row
    return stacked


def _cut(numbers: np.ndarray, bits: int) -> np.ndarray:
    """float32 with fewer bits of fraction, rounded: zeros compress."""
    given = np.ascontiguousarray(numbers, np.float32)
    drop = 23 - bits
    whole = given.view(np.int32)
    rounded = ((whole + (1 << (drop - 1))) >> drop << drop).view(np.float32)
    return np.where(np.isfinite(given), rounded, given)

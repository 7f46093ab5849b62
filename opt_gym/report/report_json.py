"""A report as one JSON document: every score, and what it was made of and with.

Strict JSON: what is not a finite number is null.
"""

import hashlib
import json
import math
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from opt_gym.archive import task_records
from opt_gym.archive.task_records import TaskRecord
from opt_gym.report.assembly import Outcome
from opt_gym.report.csv_tables import timing_row
from opt_gym.report.in_words import Finding
from opt_gym.report.side_by_side import TaskInfo
from opt_gym.report.verdict import Judged
from opt_gym.runtime.files import write_atomically
from opt_gym.runtime.json_digest import json_digest

FORMAT = 1
PACKAGES = ("opt-gym", "jax", "jaxlib", "flax", "optax", "numpy", "scipy")


def document(
    outcome: Outcome,
    all_judged: Sequence[Judged],
    findings: Sequence[Finding] = (),
    command: str = "",
) -> dict[str, Any]:
    """What report.json holds, of JSON's types only.

    Args:
        outcome: the finished report.
        all_judged: its comparisons' scores, one a horizon.
        findings: the summary.
        command: that made the report.
    """
    suite, settings = outcome.suite, outcome.settings
    return as_json(
        {
            "format": FORMAT,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": command,
            "versions": versions(),
            "machine": {"cpu": platform.machine(), "system": platform.system()},
            "suite": {
                "name": suite.name,
                "status": suite.status,
                "about": suite.about,
                "num_tasks": len(outcome.known.tasks),
            },
            "settings": {
                "horizons": settings.horizons,
                "num_seeds": settings.num_seeds,
                "data": settings.source,
            },
            "entrants": [
                {
                    "name": one.name,
                    "about": one.about,
                    "digest": one.digest,
                    "training": dict(one.training),
                }
                for one in outcome.entrants
            ],
            "archive": {
                "format": task_records.FORMAT,
                "digest": archive_digest(outcome.known.records),
            },
            "tasks": [
                _task(task, outcome.known.records.get(task.name))
                for task in outcome.known.tasks
            ],
            "notes": outcome.known.notes,
            "summary": findings,
            "comparisons": [_comparison(one) for one in all_judged],
            "timings": [timing_row(one) for one in outcome.timings.values()],
        }
    )


def write_report_json(folder: Path, content: Mapping[str, Any]) -> Path:
    """Writes report.json, atomically."""
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
    return write_atomically(folder / "report.json", f"{text}\n".encode())


def versions() -> dict[str, str]:
    """Of what computes the numbers."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def archive_digest(records: Mapping[str, TaskRecord]) -> str:
    """16 hex digits that change with any number of the archive that was looked at."""
    hasher = hashlib.sha256()
    for name in sorted(records):
        record = records[name]
        about = [name, record.config, record.data, list(record.measured)]
        hasher.update(json_digest([*about, list(record.trials)]).encode())
        for one in record.measured.values():
            hasher.update(np.ascontiguousarray(one.mean_cost, np.float32).tobytes())
            hasher.update(np.ascontiguousarray(one.final_losses, np.float32).tobytes())
        for trials in record.trials.values():
            hasher.update(np.ascontiguousarray(trials, np.float32).tobytes())
    return hasher.hexdigest()[:16]


def as_json(value: Any) -> Any:
    """The same of JSON's types: records are objects, NaN and infinities null."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {str(key): as_json(one) for key, one in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [as_json(one) for one in value]
    return str(value)


def _task(task: TaskInfo, record: TaskRecord | None) -> dict[str, Any]:
    found = task._asdict()
    if record is not None:
        found |= {"config_digest": record.config, "data_digest": record.data}
    return found


def _comparison(judged: Judged) -> dict[str, Any]:
    comparison = judged.comparison
    return {
        "horizon": comparison.horizon,
        "primary": comparison.primary,
        "co_primary": comparison.co_primary,
        "noise_floor": judged.noise_floor,
        "optimizers": comparison.optimizers,
        "scores": judged.scores,
        "tasks": [
            judged.per_task[one.name, task.name]
            for one in comparison.optimizers
            for task in comparison.tasks
        ],
        "matched": judged.matched,
    }

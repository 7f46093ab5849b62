"""Where records lie: the folder that comes with the package, and the user's own."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from opt_gym.archive.task_records import TaskRecord, longer_of, read_record
from opt_gym.runtime.files import cache_folder

SHIPPED = Path(__file__).resolve().parents[2] / "envs_registry/archive"


def folders() -> list[Path]:
    """Where to look, in order: shipped, the user's."""
    return [SHIPPED, user_folder()]


def user_folder() -> Path:
    """The user's own."""
    return cache_folder() / "archive"


def find(wanted: TaskRecord, where: Sequence[Path] | None = None) -> TaskRecord | None:
    """What folders know of a task: all settings, those of the first folder before others'.

    Args:
        wanted: a record of the same task and data, which may be empty.
        where: folders; by default `folders()`.

    Raises:
        ValueError: a damaged file.
    """
    found = None
    for folder in folders() if where is None else where:
        file = folder / wanted.file_name
        if not file.exists():
            continue
        record = read_record(file)
        if (record.config, record.data) != (wanted.config, wanted.data):
            continue
        found = record if found is None else _joined(found, record)
    return found


def other_data(wanted: TaskRecord, where: Iterable[Path] | None = None) -> list[str]:
    """The digests of data for which the folders know a task of this name."""
    places = folders() if where is None else where
    found = [path for folder in places for path in folder.glob(f"{wanted.name}.*.npz")]
    return [path.name.split(".")[-2] for path in found]


def _joined(first: TaskRecord, second: TaskRecord) -> TaskRecord:
    return first._replace(
        measured={**second.measured, **first.measured},
        trials=longer_of(second.trials, first.trials),
        groups={**second.groups, **first.groups},
    )

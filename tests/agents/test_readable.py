"""A gradient estimator can be read: how far it is from a trainer's file to its estimate."""

import pytest

from opt_gym import plugins
from tests.test_house import ARROWS, ROOT

FAMILIAR = (
    "agents/__init__.py",
    "agents/records.py",
    "agents/task_mixes.py",
    "agents/estimators/gradient_trainer.py",
)
"""What whoever reads an estimator knows from the trainers' side, and opt_gym."""

MAX_FILES, MAX_LINES, MAX_LINES_OF_ONE = 3, 500, 400


def is_an_estimator(name: str) -> bool:
    """Whether a trainer's file has an estimator of its own."""
    return (
        "agents/estimators/gradient_trainer.py" in ARROWS[f"agents/trainers/{name}.py"]
    )


@pytest.mark.parametrize(
    "name", [name for name in plugins.names("trainer") if is_an_estimator(name)]
)
def test_window_perturbation_accumulator_and_estimate_are_at_hand(name):
    files, waiting = {}, [f"agents/trainers/{name}.py"]
    while waiting:
        file = waiting.pop()
        if file.startswith("agents/") and file not in (*FAMILIAR, *files):
            files[file] = len((ROOT / file).read_text().splitlines())
            waiting += ARROWS[file]
    print(name, sum(files.values()), files)  # noqa: T201 — for who reads with -s
    assert len(files) <= MAX_FILES
    assert max(files.values()) <= MAX_LINES_OF_ONE
    assert sum(files.values()) <= MAX_LINES


def test_they_are_all_looked_at():
    names = [name for name in plugins.names("trainer") if is_an_estimator(name)]
    assert {"es", "pes", "backprop", "inverse_variance"} <= set(names)

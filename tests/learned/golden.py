"""The golden files of TaskSet's optimizers, wherever there are any."""

import json
import os
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[3] / "shared" / "taskset"
FOLDER = Path(os.environ.get("OPT_GYM_GOLDEN", SHARED))


def read(name):
    """The content of a file in the golden folder or beside it; skips where there is none."""
    for path in (*sorted(FOLDER.rglob(name)), FOLDER.parent / name):
        if path.is_file():
            return json.loads(path.read_text())
    pytest.skip(f"no {name} in {FOLDER}")

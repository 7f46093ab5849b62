"""Every lesson runs to its last assertion, and every block of code of the guides runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LESSONS = sorted((ROOT / "docs/tutorial").glob("*.py"))
GUIDES = [
    path
    for path in sorted((ROOT / "docs").rglob("*.md"))
    if "_build" not in path.parts and "generated" not in path.parts
]
SHOWN = [page for page in GUIDES if "```python\n" in page.read_text()]


def run(path, folder):
    places = os.pathsep.join([str(ROOT), str(ROOT / "examples")])
    path_of_commands = os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ["PATH"]]
    )
    environment = os.environ | {
        "PYTHONPATH": places,
        "MPLBACKEND": "Agg",
        "PATH": path_of_commands,
    }
    done = subprocess.run(
        [sys.executable, str(path)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def last_cell(path):
    return path.read_text().rpartition("\n# %%")[2]


@pytest.mark.parametrize("path", LESSONS, ids=[path.stem for path in LESSONS])
def test_a_lesson_ends_in_an_assertion(path):
    assert re.search(r"^assert ", last_cell(path), re.MULTILINE)


def test_the_tutorial_lists_every_lesson():
    index = (ROOT / "docs/tutorial/index.md").read_text()
    listed = re.findall(r"^\w+$", index.partition(":hidden:")[2], re.MULTILINE)
    assert sorted(listed) == [path.stem for path in LESSONS]


@pytest.mark.slow
@pytest.mark.parametrize("path", LESSONS, ids=[path.stem for path in LESSONS])
def test_a_lesson_runs(path, tmp_path):
    run(path, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("page", SHOWN, ids=[page.stem for page in SHOWN])
def test_the_blocks_of_a_page_run_in_their_order(page, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    script = tmp_path / "blocks.py"
    script.write_text("\n\n".join(blocks))
    run(script, tmp_path)

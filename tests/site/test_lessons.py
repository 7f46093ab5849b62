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


LOOK = """
import matplotlib.pyplot as plt
for axes in (axes for number in plt.get_fignums() for axes in plt.figure(number).axes):
    (left, right), (low, high) = sorted(axes.get_xlim()), sorted(axes.get_ylim())
    for line in axes.lines:
        x, y = line.get_xydata().T
        if line.get_transform() == axes.transData:
            inside = (left <= x) & (x <= right) & (low <= y) & (y <= high)
            assert inside.mean() > 0.3, ("outside of its picture", line.get_label())
"""
"""Most of what is drawn can be seen."""


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
def test_a_lesson_runs_and_its_pictures_show_something(path, tmp_path):
    script = tmp_path / "lesson.py"
    script.write_text(path.read_text() + LOOK)
    run(script, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("page", SHOWN, ids=[page.stem for page in SHOWN])
def test_the_blocks_of_a_page_run_in_their_order(page, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    script = tmp_path / "blocks.py"
    script.write_text("\n\n".join(blocks))
    run(script, tmp_path)

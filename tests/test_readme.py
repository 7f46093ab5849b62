"""Every code block of the README runs, as it stands."""

import re
import warnings
from pathlib import Path

import pytest

README = (Path(__file__).resolve().parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("index", range(len(BLOCKS)))
def test_code_block_runs(index, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        # Gymnasium's checker tells of the two-dimensional observation, as it should.
        warnings.filterwarnings("ignore", module="gymnasium")
        warnings.filterwarnings("ignore", message=r".*precision lowered.*")
        warnings.filterwarnings("ignore", module="pytorch_lightning|transformers")
        exec(compile(BLOCKS[index], f"README block {index}", "exec"), {})


def test_code_blocks_are_short():
    assert len(BLOCKS) == 7
    assert all(len(block.strip().splitlines()) <= 17 for block in BLOCKS)


def test_the_commands_exist():
    makefile = (Path(__file__).resolve().parent.parent / "Makefile").read_text()
    for command in re.findall(r"`?make (\w+)", README):
        assert f"\n{command}:" in makefile

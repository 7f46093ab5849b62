"""Every code block of the README, and of the pages its longer ones moved to, runs."""

import re
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
PAGES = ("README.md", "docs/environments.md", "docs/optax_and_torch.md")


def blocks_of(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


BLOCKS = {
    block: f"{page} {index}"
    for page in reversed(PAGES)  # a block on two pages runs once, as the README's
    for index, block in enumerate(blocks_of(page))
}


@pytest.mark.parametrize("block", [pytest.param(b, id=i) for b, i in BLOCKS.items()])
def test_code_block_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        # Gymnasium's checker tells of the two-dimensional observation, as it should.
        warnings.filterwarnings("ignore", module="gymnasium")
        warnings.filterwarnings("ignore", message=r".*precision lowered.*")
        warnings.filterwarnings("ignore", module="pytorch_lightning|transformers")
        exec(compile(block, BLOCKS[block], "exec"), {})


def test_code_blocks_are_few_and_short():
    assert len(blocks_of("README.md")) == 3
    assert len(BLOCKS) == 10
    assert all(len(block.strip().splitlines()) <= 17 for block in BLOCKS)


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 150


def test_the_commands_exist():
    makefile = (ROOT / "Makefile").read_text()
    commands = re.findall(r"`?make (\w+)", README)
    assert {"demo", "test"} <= set(commands)
    for command in commands:
        assert f"\n{command}:" in makefile

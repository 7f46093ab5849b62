"""What the pages point at exists: files, headings, modules and what is in them."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in (
        "*.md",
        "docs/**/*.md",
        "results/**/*.md",
        "learned/bundled/*.md",
        "examples/plugin/*.md",
    )
    for path in ROOT.glob(pattern)
    if not {"_build", "generated"} & set(path.parts)
)
HISTORY = "CHANGELOG.md"  # names what is gone
PACKAGES = "opt_gym|learned|agents|envs_registry|benchmarks|examples|tests"


def prose(text: str) -> str:
    """Without blocks of code, in which brackets mean something else."""
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def headings(text: str) -> set[str]:
    """The anchors that a browser knows: lower case, no punctuation, dashes for spaces."""
    titles = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}


def broken_links(page: Path, text: str) -> list[str]:
    """Links to a file or heading that is not there; links to the web are left alone."""
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(text)):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (path and ROOT not in target.resolve().parents):
            broken.append(link)
        elif anchor:
            known = headings(text if target == page else target.read_text())
            if anchor not in known:
                broken.append(link)
    return broken


def missing_names(text: str) -> list[str]:
    """Paths and dotted names of ours, in backticks, that are not in the tree."""
    missing = []
    for path in re.findall(rf"`((?:{PACKAGES})/[\w./]*)`", text):
        if not (ROOT / path).exists():
            missing.append(path)
    for name in re.findall(rf"`((?:{PACKAGES})(?:\.\w+)+)[`(]", text):
        if not is_there(name.split(".")):
            missing.append(name)
    return missing


def is_there(parts: list[str]) -> bool:
    """A module, or a word in the file of the longest module that the name begins with."""
    for count in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:count])
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.exists():
                words = set(re.findall(r"\w+", file.read_text()))
                return set(parts[count : count + 1]) <= words
    return ROOT.joinpath(*parts).is_dir()


def test_what_moved_is_where_the_changelog_says():
    rows = re.findall(r"^\| `.+\| (.+) \|$", (ROOT / HISTORY).read_text(), re.MULTILINE)
    assert len(rows) > 30
    assert [name for row in rows for name in missing_names(row)] == []


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    assert broken_links(ROOT / page, (ROOT / page).read_text()) == []


@pytest.mark.parametrize("page", [page for page in PAGES if page != HISTORY])
def test_names_are_those_of_the_tree(page):
    assert missing_names((ROOT / page).read_text()) == []


def test_a_broken_link_or_a_name_that_is_gone_is_seen():
    text = (
        "# One θ: a *heading*\n[a](docs/none.md) ![b](results/none.png) [c](#none) "
        "[d](#one-θ-a-heading) [e](LICENSE) [f](https://x.y/z) [g](../outside.md)\n"
        "`opt_gym/none.py` `agents.none.of` `opt_gym/env.py` `opt_gym.make(task)` "
        "`learned.theta_file.save` `opt_gym.env.none_of_it`"
    )
    gone = ["docs/none.md", "results/none.png", "#none", "../outside.md"]
    assert broken_links(ROOT / "README.md", text) == gone
    names = ["opt_gym/none.py", "agents.none.of", "opt_gym.env.none_of_it"]
    assert missing_names(text) == names


def test_every_page_of_results_is_in_its_index():
    index = (ROOT / "results/README.md").read_text()
    pages_and_folders = {
        path.name for path in (ROOT / "results").iterdir() if path.suffix != ".png"
    }
    for name in pages_and_folders - {"README.md"}:
        assert f"]({name})" in index

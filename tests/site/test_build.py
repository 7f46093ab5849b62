"""The site builds from the pages, with warnings as errors, and asks for nothing outside."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

pytest.importorskip("sphinx", reason="the site is made by Sphinx")

from docs.extensions import our_docstrings, public_modules
from opt_gym import plugins
from tests.report.browser import Browser, find_browser

ROOT = Path(__file__).resolve().parents[2]
SHEETS_AND_SCRIPTS = {".css", ".js", ".html"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built pages; lessons are not executed."""
    folder = tmp_path_factory.mktemp("site")
    command = [
        *(sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"),
        *("-c", "docs", "-D", "nb_execution_mode=off", "-d", str(folder / "trees")),
        *(".", str(folder / "html")),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def pages(site):
    return {
        path.relative_to(site).as_posix(): path.read_text()
        for path in site.rglob("*.html")
        if "_static" not in path.parts
    }


class Asked(HTMLParser):
    """What a page asks for by itself, its pictures, and where its links lead."""

    def __init__(self, text):
        super().__init__()
        self.asked, self.unnamed, self.links = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "link" and given.get("rel") not in (
            "next",
            "prev",
            "index",
            "search",
        ):
            self.asked.append(given.get("href") or "")
        if tag != "a" and given.get("src"):
            self.asked.append(given["src"])
        if tag == "img" and not (given.get("alt") or "").strip():
            self.unnamed.append(given.get("src"))
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])


def outside(addresses):
    return [a for a in addresses if re.match(r"(?!file:)(\w+:)?//", a.strip())]


def test_pages_ask_for_nothing_outside(site, pages):
    found = {name: outside(Asked(text).asked) for name, text in pages.items()}
    assert {name: asked for name, asked in found.items() if asked} == {}
    for path in site.rglob("*"):
        if path.suffix in SHEETS_AND_SCRIPTS:
            text = path.read_text(errors="replace")
            assert not re.search(r"""@import\s*(url\()?["']?(https?:)?//""", text), path
            assert not re.search(r"""url\(["']?(https?:)?//""", text), path


def test_what_is_asked_for_outside_is_seen():
    page = (
        '<link rel="stylesheet" href="https://x.y/a.css"><script src="//x.y/a.js">'
        '</script><img src="http://x.y/z.png"><a href="https://x.y">a link</a>'
    )
    asked = Asked(page)
    assert len(outside(asked.asked)) == 3
    assert asked.unnamed == ["http://x.y/z.png"]


def test_every_picture_says_what_it_shows(pages):
    unnamed = {name: Asked(text).unnamed for name, text in pages.items()}
    assert {name: pictures for name, pictures in unnamed.items() if pictures} == {}


def test_links_lead_to_pages_and_headings(site, pages):
    """Sphinx warns of what it resolves itself; this is about what came out."""
    broken = []
    anchors = {
        name: set(re.findall(r'\bid="([^"]+)"', text)) for name, text in pages.items()
    }
    for name, text in pages.items():
        for link in Asked(text).links:
            path, _, anchor = link.partition("#")
            if ":" in path or anchor.startswith(":~"):
                continue
            target = (site / name).parent / path if path else site / name
            page = target.resolve().relative_to(site.resolve()).as_posix()
            known = anchors.get(page)
            if not target.exists() or (
                anchor and known is not None and anchor not in known
            ):
                broken.append((name, link))
    assert broken == []


def test_the_first_page_leads_to_the_site(pages):
    assert "url=docs/index.html" in pages["index.html"]
    assert "docs/index.html" in pages


def test_the_reference_has_every_public_name(pages):
    for _, module in public_modules.public_modules():
        page = pages[f"docs/reference/generated/{module.__name__}.html"]
        for name in public_modules.public_names(module):
            assert re.search(rf'id="[\w.]*\b{name}"', page), f"{module.__name__}.{name}"


def test_the_reference_has_every_plug_in_and_its_settings(pages):
    for kind in plugins.KINDS:
        page = pages[f"docs/reference/generated/plugins_{kind}.html"]
        for name in plugins.built_in(kind):
            assert f">{name}<" in page
            settings = {} if kind == "task" else plugins.spec(kind, name).settings
            for setting in settings:
                assert setting in page, (kind, name)


def test_the_commands_are_there_with_their_help(pages):
    from opt_gym import cli

    page = pages["docs/reference/generated/command_line.html"]
    for name in cli.commands():
        assert f"opt-gym {name}" in page
    assert "usage: opt-gym train" in page


@pytest.mark.skipif(find_browser() is None, reason="no browser")
@pytest.mark.parametrize(("width", "dark"), [(1440, False), (390, True)])
def test_a_browser_opens_pages_and_finds_words(site, tmp_path, width, dark):
    loaded = "document.readyState === 'complete'"
    found = "document.querySelectorAll('#search-results li a').length > 2"
    docs = site / "docs"
    with Browser(find_browser(), tmp_path) as browser:
        for name in (
            "index",
            "environments",
            "tutorial/a_gradient_of_theta",
            "results",
        ):
            browser.open(docs / f"{name}.html", width, dark=dark, ready=loaded)
            assert browser.errors() == []
            assert outside(browser.requests()) == []
            assert browser.value("document.documentElement.scrollWidth") <= width
        page = site / "search.html"
        browser.open(page, width, dark=dark, query="?q=persistent", ready=found)
        words = browser.value("document.querySelector('#search-results').innerText")
        assert "A gradient of θ" in words


def test_docstrings_become_markup():
    text = """One line with `code`, a*b and |x|.

    Args:
        a, b: two of `them`,
            told in two lines.
        *rest: others.

    Raises:
        ValueError: a bad a_.
    Source: a page.

        x = 1
    """
    first, rest = text.split("\n", 1)
    lines = our_docstrings.converted(
        first + "\n" + re.sub(r"^    ", "", rest, flags=re.M)
    )
    assert [line for line in lines if line] == [
        "One line with ``code``, a\\*b and \\|x\\|.",
        ":param a: two of ``them``, told in two lines.",
        ":param b: two of ``them``, told in two lines.",
        ":param rest: others.",
        ":raises ValueError: a bad a\\_.",
        "Source: a page.",
        "::",
        "    x = 1",
    ]

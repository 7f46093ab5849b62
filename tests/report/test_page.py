"""The page: one file, no network, no name trusted; and what a browser makes of it."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from opt_gym.report import page, still_pictures
from opt_gym.report.figures import every_figure
from opt_gym.report.in_words import Background, findings
from opt_gym.report.interactive import charts
from opt_gym.report.page_rows import score_table, task_table
from opt_gym.report.writing import write
from tests.archive.made_up import measured
from tests.report.browser import Browser, find_browser
from tests.report.made_up_outcome import (
    BEST,
    ONE,
    adam_record,
    compared,
    judged_of,
    outcome,
    timing,
)

HOSTILE = (
    "</script><script>throw 'pwned'</script><img src=x onerror=alert(1)> \"q\" & 'a'"
)
COSTS = {"mine": (0.5, 0.1, 0.9, 0.3, 0.7, 0.2), ONE: (0.4,) * 6, BEST: (0.3,) * 6}


class Reader(HTMLParser):
    """What a page loads, its tags, and the text of its tables."""

    LOADS = ("src", "srcset", "data", "poster", "background", "action", "formaction")

    def __init__(self, text):
        super().__init__()
        self.loaded, self.tags, self.cells, self._in_cell = [], [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._in_cell = tag in ("td", "small")
        for name, value in attrs:
            is_link = tag == "a" and name == "href"
            if name in self.LOADS or (name.endswith("href") and not is_link):
                self.loaded.append((tag, value))

    def handle_data(self, data):
        if self._in_cell and data.strip():
            self.cells.append(data.strip())


def text_of(made, pictures=()):
    all_judged = judged_of(made)
    said = [f for one in all_judged for f in findings(one, Background())]
    return page.html(made, all_judged, said, pictures, "opt-gym report mine")


def full(**how):
    given = compared(COSTS, **how)
    records = {"t0": adam_record()}
    return outcome(given, records=records, timings={("mine", "t0"): timing()})


def test_nothing_is_loaded_from_anywhere():
    found = Reader(text_of(full()))
    assert not [
        (tag, value)
        for tag, value in found.loaded
        if not value.startswith(("#", "data:"))
    ]
    assert found.tags.count("html") == 1
    styles = re.findall(r"<style>(.*?)</style>", text_of(full()), re.DOTALL)
    assert not re.search(r"@import|url\((?!['\"]?data:)", "".join(styles))


def test_a_library_is_there_once():
    text = text_of(full())
    assert text.count('id="packed-plotly"') == text.count('id="packed-tables"') == 1
    assert len(text) < 3_000_000


def hostile():
    given = compared({HOSTILE: COSTS["mine"], ONE: COSTS[ONE]}, entrants=(HOSTILE,))
    named = tuple(
        task._replace(name=f"{HOSTILE}{n}", part=HOSTILE, family=f"{n}{HOSTILE}")
        for n, task in enumerate(given.tasks)
    )
    new = {old.name: new.name for old, new in zip(given.tasks, named, strict=True)}
    results = {(who, new[task]): one for (who, task), one in given.results.items()}
    given = given._replace(tasks=named, results=results)
    return outcome(given, notes=[HOSTILE], training={"seconds": 1})


def test_no_name_is_trusted():
    text = text_of(hostile())
    tags, usual = Reader(text).tags, Reader(text_of(full())).tags
    assert tags.count("script") == usual.count("script")
    assert "img" not in tags
    drawn = re.search(r'id="drawn">(.*?)</script>', text, re.DOTALL)
    assert drawn is not None
    (trace, _) = json.loads(drawn[1])["aggregate_curve-1000"]["figures"]["log"]["data"]
    assert trace["name"].startswith("&lt;/script&gt;")  # plotly reads a little HTML


def test_a_failed_task_is_a_row_that_says_why():
    costs = {"mine": (0.5, None), ONE: (0.4, 0.4)}
    given = compared(costs, errors={("mine", "t1"): "killed\nout of <memory>"})
    (one,) = judged_of(outcome(given))
    rows = {row[0].text: row for row in task_table(one).rows}
    assert rows["t1"][0].small == "no result: out of <memory>"
    assert rows["t0"][0].small == ""
    assert "–" in [cell.text for cell in rows["t1"]]
    assert "no result: out of <memory>" in Reader(text_of(outcome(given))).cells


def test_columns_in_which_nothing_is_known_are_left_out():
    (one,) = judged_of(outcome(compared({"mine": (0.1, 0.2)})))
    names = [name for name, _ in task_table(one).columns]
    assert "Δ primary" not in names
    assert "entrant" not in names  # there is one
    assert "mean" in names
    assert "p" not in [name for name, _ in score_table(one).columns]


@pytest.mark.parametrize(
    "costs", [{"mine": (0.1,)}, {"mine": (None,)}, {"mine": (0.1,), ONE: (None,)}]
)
def test_one_task_no_baseline_or_no_result_give_a_page(costs):
    found = Reader(text_of(outcome(compared(costs))))
    assert "t0" in found.cells


def test_what_diverged_and_two_horizons_are_drawn():
    given = compared(COSTS)
    lost = measured((2.0, 1.8, float("inf")), (2.0,))
    results = {**given.results, ("mine", "t1"): lost}
    made = outcome(given._replace(results=results), records={"t0": adam_record()})
    longer = given._replace(horizon=5000, primary="", co_primary="")
    text = text_of(made._replace(comparisons=(*made.comparisons, longer)))
    assert 'id="task_curves-1000"' in text
    assert 'id="task_curves-5000"' in text
    names = [chart.name for chart in charts(judged_of(made)[0], made.known.records)]
    assert set(names) == set(still_pictures.INTERACTIVE)
    assert set(names) <= {figure.name for figure in every_figure.FIGURES}


def test_a_picture_becomes_part_of_the_page():
    svg = (
        '<?xml version="1.0"?><!-- <b> --><svg height="9pt" width="600pt" viewBox="0 0 1 1">'
        "<metadata>x</metadata><style>*{fill: red}</style>"
        '<path style="fill: #22262b; stroke: #ffffff"/></svg>'
    )
    found = page.inlined(svg)
    assert found.startswith('<svg style="width: 100%; max-width: 600pt')
    assert "fill: var(--ink); stroke: var(--paper)" in found
    assert not re.search("xml|metadata|<style|<!--|height=", found)
    with pytest.raises(ValueError, match="not an SVG: it begins 'PNG'"):
        page.inlined("PNG")


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(page, "NEEDED", ("jinja2", "no_such_package"))
    with pytest.raises(
        ValueError, match=r"needs no_such_package: pip install 'opt-gym\["
    ):
        page.check_installed()


def test_writing_imports_no_library_of_the_page():
    code = (
        "import sys, opt_gym.report.writing;"
        "print({'plotly', 'itables', 'jinja2', 'matplotlib'} & set(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "set()"


def test_everything_is_written(tmp_path, monkeypatch):
    few = [one for one in every_figure.FIGURES if one.name == "result_against_size"]
    monkeypatch.setattr(every_figure, "FIGURES", tuple(few))
    paths = write(tmp_path, full(), "opt-gym report mine")
    names = {str(path.relative_to(tmp_path)) for path in paths}
    assert names == {
        *("report.html", "report.json"),
        *("tasks.csv", "scores.csv", "curves.csv", "matched.csv", "timings.csv"),
        *("figures/result_against_size.png", "figures/result_against_size.svg"),
    }
    assert paths[0].name == "report.html"
    text = paths[0].read_text()
    assert "opt-gym report mine" in text
    assert 'class="picture"><svg' in text


TABLE = "document.querySelector('#table-1000')"
FIRST = f"[...{TABLE}.tBodies[0].rows].map(row => row.cells[0].textContent)"
SORT = (
    f"[...{TABLE}.tHead.rows[0].cells].find(c => c.textContent.includes('Δ primary'))"
    ".querySelector('.dt-column-order').click()"
)


@pytest.mark.skipif(find_browser() is None, reason="no Chromium here")
@pytest.mark.parametrize("width", [390, 1440])
def test_a_browser_draws_it_and_sorts(width, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    file = folder / "report.html"
    file.write_text(text_of(full()))
    with Browser(find_browser(), folder / "profile") as browser:
        for dark in (False, True):
            browser.open(file, width=width, dark=dark)
            assert browser.errors() == []
            assert browser.requests() == []
            assert browser.value("document.documentElement.scrollWidth") == width
            paper = browser.value("getComputedStyle(document.body).backgroundColor")
            assert (paper == "rgb(255, 255, 255)") is not dark
            plots = browser.value(
                "[...document.querySelectorAll('[data-plot]')].map(b => b.querySelectorAll("
                "'svg.main-svg').length > 0 && b.clientHeight === b._fullLayout.height)"
            )
            assert plots == [True] * 5
        assert browser.value(FIRST) == [f"t{n}" for n in range(6)]
        browser.value(SORT)
        assert browser.value(FIRST) == ["t1", "t5", "t3", "t0", "t4", "t2"]
        browser.value(SORT)
        assert browser.value(FIRST) == ["t2", "t4", "t0", "t3", "t5", "t1"]
        file.write_text(text_of(hostile()))
        browser.open(file, width=width)
        assert browser.errors() == []
        assert browser.requests() == []
        assert browser.value("document.querySelector('h1').textContent") == HOSTILE
        assert browser.value("document.querySelectorAll('main img').length") == 0

"""Pictures of runs with known numbers, and what every picture of the package rests on."""

import itertools
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from opt_gym.evaluation import house_style, plots
from tests.evaluation.made_up import TINY, runs

TWO = [
    runs(task, optimizer, costs)
    for optimizer, task, costs in (
        ("ours", "a", (0.1, 0.1)),
        ("ours", "b", (0.4, 0.4)),
        ("theirs", "b", (0.3, 0.3)),
        ("theirs", "a", (0.2, 0.4)),
    )
]


def drawn(monkeypatch, own, laid_out=False) -> Any:
    """The figure of a comparison; places of text are right only once it is laid out."""
    kept = []
    monkeypatch.setattr(plots, "write_picture", lambda *given: kept.extend(given))
    plots.plot_comparison(Path("nowhere"), own, subject="ours")
    _, size, draw = kept
    with mpl.rc_context(rc=house_style.STYLE):
        figure = Figure(figsize=size, dpi=40, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        if laid_out:
            figure.draw_without_rendering()
    return figure


def panels(figure):
    return [axes for axes in figure.axes[2:] if axes.get_visible()]


def test_picture(tmp_path):
    before = dict(mpl.rcParams)
    path = plots.plot_comparison(tmp_path / "p.png", TWO, subject="ours")
    assert dict(mpl.rcParams) == before
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert picture.shape[1] == 1800
    for color in (plots.SUBJECT_COLOR, plots.OTHER_COLORS[0]):
        wanted = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
        drawn = np.all(abs(picture - wanted) < 12, axis=-1)
        height = picture.shape[0]
        assert drawn[: height // 2].sum() > 500  # in the aggregate
        if color == plots.SUBJECT_COLOR:
            # Both tasks' curves are there. (The others lie below it: same losses.)
            left, right = drawn[height * 2 // 3 :, :900], drawn[height * 2 // 3 :, 900:]
            assert left.sum() > 100
            assert right.sum() > 100


def test_pictures_that_cannot_be(tmp_path):
    with pytest.raises(ValueError, match="unknown optimizer"):
        plots.plot_comparison(tmp_path / "p.png", TWO, subject="mine")
    with pytest.raises(ValueError, match=r"no runs of horizon 7, only of \[100\]"):
        plots.plot_comparison(tmp_path / "p.png", TWO, subject="ours", horizon=7)
    assert list(tmp_path.iterdir()) == []


def test_titles_of_tasks():
    assert plots.task_title(runs(config=TINY)) == "64-6-10 relu, batch 8"
    assert plots.task_title(runs("quadratic_family_seed3")) == "quadratic family seed3"


@pytest.mark.parametrize(
    ("loss", "scale"),
    [
        ([2.0, 1.0, 0.1, 0.01], "log"),
        ([2.0, 1.0, 0.1, 0.0], "log"),  # an exact 0 falls off the lower end
        ([2.0, 1.5, 1.2, 1.0], "linear"),  # less than a decade
        ([2.0, 1.0, 0.01, -0.5], "linear"),  # a flow
        ([2.0, -100.0, -2000.0, -3000.0], "linear"),
        ([2.0, np.inf, np.inf, np.nan], "linear"),
    ],
)
def test_an_axis_fits_its_losses(loss, scale):
    axes = Figure().subplots()
    assert house_style.scale_losses(axes, loss) == axes.get_yscale() == scale
    low, high = axes.get_ylim()
    shown = [x for x in loss if np.isfinite(x) and (scale == "linear" or x > 0)]
    assert all(low < x < high for x in shown)
    assert ("linear" in [text.get_text() for text in axes.texts]) == (scale == "linear")


def test_panels_of_flows_are_not_drawn_at_nothing(monkeypatch):
    flow, net = [2.0, 1.0, -10.0, -500.0], [2.0, 1.0, 0.1, 0.01]
    own = [runs("flow", "ours", loss=flow), runs("net", "ours", loss=net)]
    below, above = panels(drawn(monkeypatch, own))
    assert [axes.get_yscale() for axes in (below, above)] == ["linear", "log"]
    np.testing.assert_allclose(below.lines[0].get_ydata(), flow[1:])
    assert below.get_ylim()[0] < -500
    assert 1e-3 < above.get_ylim()[0] < 0.01  # not 1e-12


@pytest.mark.parametrize("num", [1, 13])
def test_titles_do_not_run_into_each_other(monkeypatch, num):
    name = "rnn_text_classification_family_seed4{}".format
    own = [runs(name(i), "ours") for i in range(num)]
    figure = drawn(monkeypatch, own, laid_out=True)
    shown = panels(figure)
    assert len(shown) == num
    titles = [axes.get_title(loc="left") for axes in shown]
    assert titles[0].replace("\n", " ") == "rnn text classification family seed40"
    renderer = figure.canvas.get_renderer()
    boxes = [axes._left_title.get_window_extent(renderer) for axes in shown]
    ticks = [t.get_window_extent(renderer) for t in shown[0].get_yticklabels()]
    width = figure.get_window_extent().width
    assert all(box.x1 <= width for box in boxes)
    for place, box in enumerate(boxes):
        assert not box.count_overlaps(boxes[:place] + boxes[place + 1 :])
        assert not box.count_overlaps([axes.get_window_extent() for axes in shown])
    assert not any(one.overlaps(other) for one, other in itertools.pairwise(ticks))


def test_a_mean_below_zero_is_drawn(monkeypatch):
    better = runs("a", "ours", loss=[2.0, 1.0, 0.1, -0.4])
    figure = drawn(monkeypatch, [better])
    assert figure.axes[0].get_yscale() == "linear"
    assert figure.axes[0].get_ylim()[0] < -0.2


def test_a_figure_in_several_formats(tmp_path):
    def draw(figure):
        figure.subplots().set_title("Straße & more")

    paths = house_style.write_figure(tmp_path / "new" / "a.b", (2, 1), draw)
    assert [path.name for path in paths] == ["a.b.png", "a.b.svg"]
    with Image.open(paths[0]) as image:
        assert image.size == (300, 150)
    text = paths[1].read_bytes()
    words = [found.text for found in ET.fromstring(text).iter() if found.text]
    assert "Straße & more" in words  # text, not outlines
    assert house_style.render((2, 1), draw, ("svg",))["svg"] == text


def test_words_of_pictures():
    assert [house_style.plain(x) for x in (0, 0.01, 20000, 2.5e5, -1e-4, 1e12)] == [
        "0",
        "0.01",
        "20,000",
        "2.5e5",
        "-1e-4",
        "1e12",
    ]
    assert house_style.wrapped("one two three", 7) == "one two\nthree"
    assert house_style.wrapped("one two three four", 7) == "one two\nthree…"
    assert house_style.shortened("a" * 20 + "b" * 20, 9) == "aaaa…bbbb"
    assert house_style.shortened("short", 9) == "short"


def test_rows_of_panels_leave_small_gaps():
    columns = [plots.columns_for(num) for num in (1, 3, 12, 13, 16, 20, 24, 40)]
    assert columns == [1, 3, 4, 5, 4, 5, 4, 5]


def test_powers_are_written_plainly():
    """Markup of mathematics is off in our style, since a name may have a dollar."""

    def draw(figure):
        wide, narrow = figure.subplots(1, 2)
        wide.plot([1, 2], [1e-5, 1.0])
        narrow.plot([1, 2], [0.2, 0.6])
        for axes in (wide, narrow):
            axes.set(yscale="log", xscale="symlog")
        wide.set_title("a $5 name$")

    text = house_style.render((6, 3), draw, ("svg",))["svg"].decode()
    assert "mathdefault" not in text
    for label in (">1e-5<", ">0.3<", ">1<", "a $5 name$"):
        assert label in text

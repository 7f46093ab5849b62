"""Figures of made-up comparisons: what is drawn, on which axes, and what is left out."""

import xml.etree.ElementTree as ET
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from opt_gym.evaluation.house_style import STYLE
from opt_gym.evaluation.runs import normalized
from opt_gym.report.figures import figure_parts
from opt_gym.report.figures.aggregate_curve import aggregate_curve
from opt_gym.report.figures.every_figure import (
    FIGURES,
    Material,
    every_page,
    write_figures,
)
from opt_gym.report.figures.figure_parts import Drawing
from opt_gym.report.figures.heat_map import cells, heat_map
from opt_gym.report.figures.loss_against_seconds import loss_against_seconds
from opt_gym.report.figures.matched_trials import matched_trials
from opt_gym.report.figures.performance_profile import performance_profile
from opt_gym.report.figures.result_against_size import result_against_size
from opt_gym.report.figures.task_curves import task_curves
from tests.report.made_up_report import STEPS, comparison, measured, without

LONG = "an_entrant_with_a_name_of_forty_letters_"
assert len(LONG) == 40


def some(drawing: Drawing | None) -> Drawing:
    assert drawing is not None
    return drawing


def drawn(drawing: Drawing | None, laid_out: bool = False) -> Any:
    """The figure of a drawing; places of text are right only once it is laid out."""
    assert drawing is not None
    with mpl.rc_context(rc=STYLE):
        figure = Figure(figsize=drawing.size, dpi=40, layout="constrained")
        FigureCanvasAgg(figure)
        drawing.draw(figure)
        if laid_out:
            figure.draw_without_rendering()
    return figure


def panels(figure: Any) -> list[Any]:
    return [axes for axes in figure.axes if axes.get_visible()]


def lines(axes: Any, marker: str = "None", color: str | None = None) -> list[Any]:
    return [
        line
        for line in axes.lines
        if line.get_marker() == marker and color in (None, line.get_color())
    ]


def words(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def test_the_aggregate_is_a_mean_over_common_tasks():
    given = comparison(3)
    first, second, third = given.tasks
    given = without(given, ("adam 0.1", third.name), ("ours", first.name))
    drawing = some(aggregate_curve(given))
    assert drawing.title.endswith("mean over 1 task")
    assert drawing.note == "1 of 3 tasks, which all have"
    (axes,) = panels(drawn(drawing))
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    ours = lines(axes, color=figure_parts.ENTRANT_COLORS[0])[0]
    np.testing.assert_array_equal(ours.get_xdata(), STEPS[1:])
    found = given.results["ours", second.name].mean
    assert found is not None
    expected = normalized(found[0], second.normalizers["train"])[1:]
    np.testing.assert_allclose(ours.get_ydata(), expected)


def test_who_lacks_too_many_tasks_is_left_out_of_means():
    given = comparison(4, baselines=("adam 0.01", "rare"))
    rare = [("rare", about.name) for about in given.tasks[1:]]
    drawing = some(aggregate_curve(without(given, *rare)))
    assert drawing.note == "left out, on too few tasks: rare"
    assert drawing.title.endswith("mean over 4 tasks")
    assert aggregate_curve(given._replace(results={})) is None


def test_an_aggregate_below_zero_is_linear():
    given = comparison(1, baselines=())
    (about,) = given.tasks
    better = measured(about)
    assert better.mean is not None
    better = better._replace(mean=better.mean - 0.5)
    (axes,) = panels(
        drawn(aggregate_curve(given._replace(results={("ours", about.name): better})))
    )
    assert axes.get_yscale() == "linear"
    assert axes.get_ylim()[0] < 0


def test_a_profile_is_a_staircase():
    ratios = {
        "ours": np.array([0.5, 2.0, np.inf, np.nan]),
        "adam 0.01": np.array([1.0, 1.0, 1.0, 4.0]),
        "adam 0.1": np.full(4, np.nan),
    }
    drawing = some(performance_profile(comparison(4), ratios))
    assert drawing.note == "left out, not measured: adam 0.1"
    figure = drawn(drawing)
    ours = lines(figure.axes[0], color=figure_parts.ENTRANT_COLORS[0])[0]
    np.testing.assert_allclose(ours.get_xdata()[1:-1], [0.5, 2.0])
    np.testing.assert_allclose(ours.get_ydata(), [0, 1 / 3, 2 / 3, 2 / 3])
    # 1/3 from 1 to 2, and 2/3 from there to 4.
    assert "0.56  ours, 3 tasks" in words(figure)
    assert "0.75  adam 0.01" in words(figure)
    assert performance_profile(comparison(4), {"ours": np.array([np.nan])}) is None


def test_axes_of_panels_fit_the_task():
    given = comparison(6)
    scales = {
        axes.get_title(loc="left").split(" family")[0].replace("\n", " "): axes
        for axes in panels(drawn(task_curves(given)[0]))
    }
    found = {name: axes.get_yscale() for name, axes in scales.items()}
    assert found["mlp"] == found["quadratic"] == "log"
    assert found["maf"] == found["conv pooling"] == "linear"
    assert scales["maf"].get_ylim()[0] < -1000
    assert 0.001 < scales["mlp"].get_ylim()[0] < 0.05


def test_what_diverged_failed_or_is_missing_is_seen():
    given = comparison(3)
    lost, failed, _ = given.tasks
    results = {
        key: found for key, found in given.results.items() if key[1] == lost.name
    }
    results["ours", lost.name] = measured(lost, lost=True)
    given = given._replace(results=results, errors={("ours", failed.name): "no memory"})
    figure = drawn(task_curves(given)[0])
    first, second, third = panels(figure)
    (cross,) = lines(first, "x")
    color = figure_parts.ENTRANT_COLORS[0]
    assert cross.get_color() == color
    (curve,) = lines(first, color=color)
    assert curve.get_xdata()[-1] == cross.get_xdata()[0] == STEPS[len(STEPS) // 2 - 1]
    assert np.isfinite(first.get_ylim()).all()
    assert [text.get_text() for text in second.texts] == ["no result", "ours failed"]
    assert [text.get_text() for text in third.texts] == ["no result"]
    assert "a seed diverged" in words(figure)
    assert task_curves(given._replace(results={})) == []


def test_losses_far_above_the_initial_are_cut_off():
    given = comparison(1)
    (about,) = given.tasks
    wild = measured(about)
    assert wild.mean is not None
    wild = wild._replace(mean=wild.mean * 1e6)
    results = {**given.results, ("adam 0.1", about.name): wild}
    (axes,) = panels(drawn(task_curves(given._replace(results=results))[0]))
    assert axes.get_ylim()[1] < 4  # the loss begins at 2.3


def test_other_baselines_are_thin_and_parts_have_pages():
    given = comparison(23, baselines=("adam 0.01", "adam 0.1", "muon", "lion"))
    pages = task_curves(given)
    titles = [page.title for page in pages]
    assert titles == ["Training loss: suite/test", "Training loss: suite/test_families"]
    figure = drawn(pages[1])
    assert len(panels(figure)) == 3
    assert len(lines(panels(figure)[0], color=figure_parts.BACKGROUND)) == 2
    assert {"2 other baselines", "adam 0.01", "adam 0.1"} < set(words(figure))
    chosen = drawn(task_curves(given, chosen=["lion"], background=["muon"])[1])
    assert {"1 other baselines", "lion"} < set(words(chosen))


def test_panels_keep_apart_and_long_names_fit():
    given = comparison(13, entrants=(LONG, "ours"))
    figure = drawn(task_curves(given)[0], laid_out=True)
    renderer = figure.canvas.get_renderer()
    titles = [axes._left_title.get_window_extent(renderer) for axes in panels(figure)]
    frames = [axes.get_window_extent() for axes in panels(figure)]
    whole = figure.get_window_extent()
    legend = figure.subfigs[0].legends[0].get_window_extent(renderer)
    assert len(titles) == 13
    for place, box in enumerate(titles):
        assert not box.count_overlaps(titles[:place] + titles[place + 1 :] + frames)
        assert not box.overlaps(legend)
        assert box.x1 <= whole.x1
    assert legend.x1 <= whole.x1


def test_a_heat_map_compares_with_the_primary():
    given = comparison(3)
    first, second, third = given.tasks
    given = given._replace(
        results={**given.results, ("ours", second.name): measured(second, lost=True)}
    )
    given = without(given, ("adam 0.1", first.name), ("adam 0.01", third.name))
    found = cells(given, ["ours", "adam 0.01", "adam 0.1"])
    ours = [given.results["ours", about.name].mean_cost.mean() for about in given.tasks]
    np.testing.assert_allclose(found.values[:3, 0], ours)
    assert found.values[3, 0] == pytest.approx(np.mean(ours))
    beside = given.results["adam 0.01", first.name].mean_cost.mean()
    assert found.away[0, 0] == pytest.approx(ours[0] - beside)
    assert np.isnan(found.away[2]).all()
    assert found.marks == [[""] * 3, ["†", "", ""], [""] * 3, ["", "*", "*"]]
    drawing = some(heat_map(given))
    assert drawing.note == "2 cells without a result: hatched"
    axes, scale = drawn(drawing).axes
    assert len(axes.patches) == 12
    assert sum(patch.get_hatch() is not None for patch in axes.patches) == 2
    assert len(axes.texts) == 10
    assert "adam 0.01: blue is better" in scale.get_xlabel()


def test_a_heat_map_without_a_baseline():
    given = comparison(2, entrants=(LONG,), baselines=())
    axes, scale = drawn(heat_map(given)).axes
    assert cells(given, [LONG]).about == ""
    assert "darker is worse" in scale.get_xlabel()
    assert len(axes.texts) == 3
    assert heat_map(given._replace(results={})) is None


def test_violins_show_every_task():
    rows = {
        "global Adam rate": np.array([0.1, 0.02, -0.03, 0.04, 0.05, 0.01, 0.0, 1.9]),
        "one trial": np.array([0.01, np.nan, np.inf]),
        "opt_list (1,000)": np.array([]),
    }
    drawing = some(matched_trials(rows, LONG))
    assert drawing.note == (
        "rows without data: opt_list (1,000); "
        "2 numbers that are not finite are left out"
    )
    axes = drawn(drawing).axes[0]
    dots, alone = lines(axes, "o")
    assert len(dots.get_xdata()) == 7
    assert len(alone.get_xdata()) == 1
    (far,) = lines(axes, ">")
    assert far.get_xdata()[0] == axes.get_xlim()[1] < 1.9
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "global Adam rate",
        "one trial",
    ]
    (first, _) = lines(axes, "D")
    assert first.get_xdata()[0] == pytest.approx(rows["global Adam rate"].mean())
    assert "6 of 8 better" in axes.texts[0].get_text()
    assert len(axes.collections) == 1  # one task has no violin
    assert matched_trials({"empty": np.array([])}) is None


def test_seconds_only_of_what_was_timed():
    given = comparison(3)
    first, second, _ = given.tasks
    seconds = {
        ("ours", first.name): 0.01,
        ("adam 0.1", first.name): 0.002,
        ("ours", second.name): np.nan,
        ("ours", "elsewhere"): 1.0,
    }
    (page,) = loss_against_seconds(given, seconds)
    (axes,) = panels(drawn(page))
    (ours,) = lines(axes, color=figure_parts.ENTRANT_COLORS[0])
    np.testing.assert_allclose(ours.get_xdata(), STEPS[1:] * 0.01)
    assert len(axes.lines) == 2
    assert loss_against_seconds(given, {}) == []


def test_results_against_size():
    given = comparison(4)
    longer = given._replace(horizon=5000)
    trained = {"num_weights": (1.0, 10.0)}
    drawing = some(result_against_size(given, trained, [longer]))
    weights, sizes, horizons = panels(drawn(drawing))
    (dots,) = lines(weights, "o")
    expected = [
        given.results["ours", about.name].mean_cost.mean()
        - given.results["adam 0.01", about.name].mean_cost.mean()
        for about in given.tasks
    ]
    np.testing.assert_allclose(dots.get_ydata(), expected)
    np.testing.assert_allclose(
        dots.get_xdata(), [about.num_weights for about in given.tasks]
    )
    assert weights.get_xlim()[0] < 1  # where θ was trained is on the axis
    assert len(weights.patches) == 1
    assert not sizes.patches
    assert set(lines(horizons, "o")[0].get_xdata()) == {1000, 5000}
    assert "minus that of adam 0.01" in weights.get_ylabel()
    lone = comparison(1, baselines=())
    assert panels(drawn(result_against_size(lone)))[0].get_ylabel() == (
        "mean normalized loss"
    )
    assert result_against_size(given._replace(results={})) is None


def test_every_figure_in_order_with_what_it_needs(tmp_path):
    given = comparison(1, entrants=(LONG,), baselines=())
    bare = [page.name for page in every_page(Material(given))]
    assert bare == ["aggregate_curve", "heat_map", "task_curves", "result_against_size"]
    (about,) = given.tasks
    full = Material(
        comparison(21, entrants=("ours", "theirs")),
        {name: {"one trial": np.zeros(21)} for name in ("ours", "theirs")},
        {"ours": np.ones(21)},
        {("ours", about.name): 0.1},
    )
    names = [page.name for page in every_page(full)]
    assert names[1:3] == ["matched_trials_1", "matched_trials_2"]
    assert [name for name in names if "curves" in name] == [
        "task_curves_1",
        "task_curves_2",
    ]
    order = list(dict.fromkeys(name.rstrip("_12") for name in names))
    assert order == [figure.name for figure in FIGURES]
    files = write_figures(tmp_path, Material(given), ("svg",))
    assert list(files) == bare
    for (path,) in files.values():
        text = [found.text for found in ET.parse(path).iter() if found.text]
        assert any(LONG[:8] in one for one in text), path

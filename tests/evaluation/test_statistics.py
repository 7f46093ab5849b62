"""Statistics against numbers worked out by hand."""

import numpy as np
import pytest

from opt_gym.evaluation import bootstrap


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 2.0, 3.0, 100.0], 2.5),  # one of four is dropped at either end
        ([5.0, 1.0, 3.0], 3.0),  # none of three
        ([8.0, 7.0, 6.0, 5.0, 40.0, 3.0, -200.0, 1.0], 5.25),  # 3 5 6 7
    ],
)
def test_interquartile_mean(values, expected):
    assert bootstrap.interquartile_mean(np.array(values)) == pytest.approx(expected)


def test_mean_is_over_tasks_of_the_mean_over_seeds():
    interval = bootstrap.mean(np.array([[1.0, 3.0], [5.0, 7.0]]))
    assert interval.value == 4.0
    # Two tasks with means 2 and 6: a quarter of the resamples is either task twice.
    assert (interval.low, interval.high) == (2.0, 6.0)


def test_iqm_keeps_tasks_and_draws_seeds():
    constant_within_tasks = np.array([[1.0, 1.0, 1.0], [9.0, 9.0, 9.0]])
    interval = bootstrap.iqm(constant_within_tasks)
    # Drawing seeds changes nothing here; drawing tasks would.
    assert interval.low == interval.high == interval.value == 5.0


def test_interval_covers_and_narrows():
    rng = np.random.default_rng(1)
    few, many = rng.normal(3.0, 1.0, (8, 1)), rng.normal(3.0, 1.0, (400, 1))
    wide, narrow = bootstrap.mean(few), bootstrap.mean(many)
    assert narrow.low < 3.0 < narrow.high
    # The standard error of 400 is 0.05: 95 % is 3.92 of them.
    assert narrow.high - narrow.low == pytest.approx(3.92 * 0.05, rel=0.15)
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)


def test_difference_is_paired_by_task():
    easy_and_hard = np.array([[0.1, 0.1], [10.0, 10.0], [1.0, 1.0]])
    better = easy_and_hard - 0.05
    interval = bootstrap.mean_difference(better, easy_and_hard)
    assert interval.value == pytest.approx(-0.05)
    assert interval.low == pytest.approx(-0.05)
    assert interval.high == pytest.approx(-0.05)
    assert bootstrap.mean(better).high > 5  # unpaired, the tasks' spread would hide it


def test_wins_count_tasks():
    ours = np.array([[0.0, 3.0], [1.0, 1.0], [2.0, 2.0]])
    theirs = np.array([[1.0, 1.0], [1.0, 1.0], [3.0, 2.0]])
    assert bootstrap.wins(ours, theirs) == 1  # worse, equal, better


def test_the_same_seed_gives_the_same_interval():
    scores = np.random.default_rng(0).normal(size=(6, 5))
    assert bootstrap.iqm(scores, seed=3) == bootstrap.iqm(scores, seed=3)
    assert bootstrap.iqm(scores, seed=3) != bootstrap.iqm(scores, seed=4)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.zeros(3), r"shape \[tasks, seeds\], got \(3,\)"),
        (np.zeros((0, 2)), "shape"),
        (np.array([[np.nan]]), "finite"),
    ],
)
def test_bad_scores(scores, message):
    with pytest.raises(ValueError, match=message):
        bootstrap.mean(scores)


def test_bad_settings():
    with pytest.raises(ValueError, match="level must be between 0 and 1, got 95"):
        bootstrap.mean(np.ones((2, 2)), level=95)
    with pytest.raises(ValueError, match="there are 2 and 3 tasks"):
        bootstrap.mean_difference(np.ones((2, 2)), np.ones((3, 2)))

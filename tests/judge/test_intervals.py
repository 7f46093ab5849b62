"""Intervals: what they are of hand-worked numbers, and how often they hold what is true."""

import itertools

import numpy as np
import pytest

from opt_gym.judge import intervals
from opt_gym.judge.intervals import (
    interquartile_mean,
    sign_flip,
    tasks_like_these,
    these_tasks,
    worst_tenth,
)


def test_statistics_of_a_few_numbers():
    numbers = np.array([9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -50.0])
    assert interquartile_mean(numbers) == (2 + 3 + 4 + 5) / 4
    assert worst_tenth(numbers) == 9.0  # one of eight, rounded up
    assert worst_tenth(np.arange(20.0)) == (18 + 19) / 2
    stacked = np.stack([numbers, -numbers])
    assert interquartile_mean(stacked, axis=1).tolist() == [3.5, -3.5]


def test_one_seed_has_no_interval():
    """A bootstrap would give one seed an interval of no width."""
    few = these_tasks(np.ones((3, 4)))
    assert few.value == 1.0
    assert np.isnan([few.low, few.high]).all()
    assert np.isnan(tasks_like_these(np.arange(4.0)).low)


def test_numbers_that_are_all_alike_have_an_interval_of_no_width():
    assert tasks_like_these(np.full(6, 0.25)) == (0.25, 0.25, 0.25)
    assert these_tasks(np.ones((4, 5))) == (1.0, 1.0, 1.0)


def test_tasks_are_kept_and_seeds_drawn():
    alike = np.repeat([[1.0], [9.0]], 5, axis=1)
    # Drawing seeds changes nothing here; drawing tasks would.
    assert these_tasks(alike, interquartile_mean) == (5.0, 5.0, 5.0)


def test_an_interval_over_tasks_narrows():
    rng = np.random.default_rng(2)
    few, many = rng.normal(3.0, 1.0, 8), rng.normal(3.0, 1.0, 400)
    wide, narrow = tasks_like_these(few), tasks_like_these(many)
    assert narrow.low < 3.0 < narrow.high
    # The standard error of 400 is 0.05: 95 % is 3.92 of them.
    assert narrow.high - narrow.low == pytest.approx(3.92 * 0.05, rel=0.15)
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)


def test_a_seed_is_an_interval():
    scores = np.random.default_rng(0).normal(size=(6, 5))
    assert these_tasks(scores, seed=3) == these_tasks(scores, seed=3)
    assert these_tasks(scores, seed=3) != these_tasks(scores, seed=4)
    for judge in (these_tasks, lambda x, level: tasks_like_these(x[0], level=level)):
        with pytest.raises(ValueError, match="level must be between 0 and 1, got 95"):
            judge(scores, level=95)


def test_flipped_signs_of_all_ways():
    differences = np.array([0.5, -0.1, 0.4, 0.3])
    ways = [
        np.dot(signs, differences) for signs in itertools.product((1, -1), repeat=4)
    ]
    expected = np.mean(np.abs(ways) >= differences.sum() - 1e-12)
    assert sign_flip(differences) == pytest.approx(expected)
    assert sign_flip(np.zeros(7)) == 1.0
    assert sign_flip(np.full(12, -0.2)) == pytest.approx(2 / 2**12)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(bad):
    for judge in (lambda x: these_tasks(x[None]), tasks_like_these, sign_flip):
        with pytest.raises(ValueError, match="must be finite"):
            judge(np.array([1.0, bad]))
    with pytest.raises(ValueError, match=r"\[tasks, seeds\], got \(0, 3\)"):
        these_tasks(np.zeros((0, 3)))


def coverage_of_seeds(trials: int, statistic=np.mean) -> float:
    """Of 20 tasks with 5 seeds each: how often the interval holds the expected statistic."""
    random = np.random.default_rng(0)
    means = random.normal(0.3, 0.2, 20)
    spread = random.uniform(0.02, 0.2, (20, 1))
    truth = statistic(means, axis=-1)
    held = 0
    for _ in range(trials):
        scores = means[:, None] + spread * random.gamma(2.0, 1.0, (20, 5))
        scores = scores - 2.0 * spread  # skewed, of mean 0
        estimate = these_tasks(scores, statistic)
        held += estimate.low <= truth <= estimate.high
    return held / trials


def coverage_of_tasks(trials: int, num_tasks: int = 20) -> float:
    """How often the interval over tasks holds the mean of all of them."""
    random = np.random.default_rng(1)
    held = 0
    for _ in range(trials):
        drawn = random.normal(0.0, 0.1, num_tasks) + random.exponential(0.1, num_tasks)
        estimate = tasks_like_these(drawn)
        held += estimate.low <= 0.1 <= estimate.high
    return held / trials


def test_intervals_hold_what_is_true(monkeypatch):
    monkeypatch.setattr(intervals, "NUM_RESAMPLES", 600)
    assert coverage_of_seeds(100) >= 0.90
    assert coverage_of_tasks(100) >= 0.85


@pytest.mark.slow  # a minute: the figures of docs/judging.md
def test_the_coverage_that_is_told():
    told = coverage_of_seeds(1000), coverage_of_tasks(1000)
    assert told[0] >= 0.92
    assert told[1] >= 0.88

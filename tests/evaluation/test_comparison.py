"""Summaries, tables, CSV and pictures of runs with known numbers."""

import csv

import numpy as np
import pytest

from opt_gym.evaluation.comparison import compare, format_summaries, format_tasks, group
from opt_gym.evaluation.curves import COLUMNS, write_csv
from tests.evaluation.made_up import runs

TWO = [
    runs("a", "ours", (0.1, 0.1)),
    runs("b", "ours", (0.4, 0.4)),
    runs("b", "theirs", (0.3, 0.3)),
    runs("a", "theirs", (0.2, 0.4)),
]


def test_summaries():
    ours, theirs = compare(TWO, "theirs")
    assert (ours.optimizer, theirs.optimizer) == ("ours", "theirs")
    assert ours.mean_cost.value == pytest.approx(0.25)
    assert ours.difference is not None
    assert ours.difference.value == pytest.approx(0.25 - 0.3)
    # Two tasks say nothing of others, two seeds nothing of others.
    assert np.isnan(ours.difference.low)
    assert np.isnan(ours.iqm_cost.high)
    assert (ours.wins, ours.num_tasks) == (1, 2)
    assert theirs.difference is None
    assert ours.final_cost == pytest.approx(0.125)  # the loss 0.25 of 2
    assert ours.valid_loss == pytest.approx(0.5)
    assert ours.test_loss == pytest.approx(0.75)
    assert ours.accuracy == 0.5
    assert (ours.num_diverged, ours.num_runs) == (0, 4)


def test_differences_are_paired_by_task():
    costs = dict(zip("abcde", (0.1, 1.0, 0.4, 1.9, 0.7), strict=True))
    all_runs = [
        *(runs(task, "theirs", (cost,) * 5) for task, cost in costs.items()),
        *(runs(task, "ours", (cost - 0.05,) * 5) for task, cost in costs.items()),
    ]
    theirs, ours = compare(all_runs, "theirs")
    assert ours.difference == pytest.approx((-0.05, -0.05, -0.05))
    assert theirs.mean_cost.high - theirs.mean_cost.low > 0.5
    assert ours.iqm_cost == pytest.approx((0.65,) * 3)
    assert "-0.0500 [-0.0500, -0.0500]" in format_summaries([theirs, ours], "theirs")


def test_diverged_runs_leave_tables_finite():
    lost = runs("a", "lost", (2.0, 2.0), loss=[2, 9, np.inf, np.nan], diverged=True)
    (summary,) = compare([lost])
    assert summary.test_loss == 4.0  # where the normalized loss is 2
    assert summary.final_cost == 2.0
    assert summary.num_diverged == 2
    text = format_summaries([summary])
    assert "nan" not in text
    assert "inf" not in text
    assert "2 of 2" in text


def test_normalizers_that_nobody_measured_are_told_of():
    measured, guessed = runs("a", "ours", (0.1, 0.1)), runs("b", "ours", (0.4, 0.4))
    guess = guessed.normalizer._replace(source="provisional")
    (summary,) = compare([measured, guessed._replace(normalizer=guess)])
    assert summary.num_provisional == 1
    last = format_summaries([summary]).splitlines()[-1]
    assert last.startswith("1 of 2 tasks have a provisional normalizer")


def test_tables_as_text():
    text = format_summaries(compare(TWO, "theirs"), "theirs")
    head, line, ours, theirs = text.splitlines()
    assert "minus theirs" in head
    assert set(line) == {"-"}
    assert " -0.0500  1 of 2" in ours
    assert "1 of 2" in ours
    assert theirs.startswith("theirs")
    rows = [line.split() for line in format_tasks(TWO, "ours").splitlines()]
    assert rows[0] == ["task", "ours", "theirs", "lowest"]
    assert rows[2:] == [
        ["a", "0.1000", "0.3000", "ours"],
        ["b", "0.4000", "0.3000", "theirs"],
    ]


def test_what_cannot_be_compared():
    with pytest.raises(ValueError, match="no runs"):
        compare([])
    with pytest.raises(ValueError, match="unknown optimizer: 'adma'"):
        compare([runs()], "adma")
    with pytest.raises(ValueError, match=r"'theirs' was run on \['b'\]"):
        group([TWO[0], TWO[2]])
    with pytest.raises(ValueError, match="unknown optimizer: 'adma'"):
        format_tasks([runs()], "adma")
    with pytest.raises(ValueError, match="no run has horizon 7, they have"):
        format_tasks([runs()], "adam", horizon=7)


def test_csv(tmp_path):
    lost = runs("b", "ours", (2.0,), loss=[2, 1, np.inf, np.nan], accuracy=np.nan)
    path = write_csv(tmp_path / "new" / "curves.csv", [TWO[0], lost])
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == 2 * 4 + 4
    assert rows[6] == {
        "task": "a",
        "optimizer": "ours",
        "horizon": "100",
        "seed": "1",
        "inner_step": "10",
        "seconds": "0.01",
        "train_loss": "0.5",
        "valid_loss": "0.75",
        "test_loss": "1",
        "accuracy": "0.5",
    }
    assert rows[-1]["train_loss"] == rows[-2]["test_loss"] == "inf"
    assert rows[-1]["accuracy"] == ""

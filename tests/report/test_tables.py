"""Every number of a report in CSV and JSON."""

import csv
import json
from itertools import pairwise

import numpy as np

from opt_gym.archive.task_records import TaskRecord
from opt_gym.report.csv_tables import tables, write_tables
from opt_gym.report.in_words import Background, findings
from opt_gym.report.report_json import (
    archive_digest,
    as_json,
    document,
    write_report_json,
)
from tests.archive.made_up import measured
from tests.report.made_up_outcome import (
    BEST,
    ONE,
    adam_record,
    compared,
    judged_of,
    outcome,
    timing,
)


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def written(folder, made):
    all_judged = judged_of(made)
    paths = write_tables(folder, tables(all_judged, made.known.records, made.timings))
    return {path.stem: read(path) for path in paths}


def test_every_optimizer_and_task_has_a_row_a_failed_one_too(tmp_path):
    given = compared(
        {"mine": (0.1, None), ONE: (0.3, 0.3)}, errors={("mine", "t1"): "out of memory"}
    )
    timings = {("mine", "t0"): timing()}
    found = written(tmp_path, outcome(given, timings=timings))
    rows = {(row["optimizer"], row["task"]): row for row in found["tasks"]}
    assert set(rows) == {(name, f"t{n}") for name in ("mine", ONE) for n in (0, 1)}
    assert float(rows["mine", "t0"]["difference"]) == np.float32(0.1 - 0.3).round(6)
    assert rows["mine", "t1"]["error"] == "out of memory"
    assert rows["mine", "t1"]["mean_cost"] == ""
    scores = {row["optimizer"]: row for row in found["scores"]}
    assert scores["mine"]["num_failed"] == "1"
    assert scores["mine"]["primary_wins"] == "1"
    assert scores["mine"]["primary_mean_low"] == ""  # of one task
    assert scores[ONE]["primary_mean"] == ""
    assert found["timings"][0]["times_adamw"] == "4"
    assert found["matched"] == []  # the archive knows nothing


def test_curves_and_matched_trials_are_numbers(tmp_path):
    given = compared({"mine": (0.1,)})
    lost = measured((2.0, 1.8, np.inf), (2.0,))
    lost = lost._replace(spread=np.full_like(lost.mean, np.nan))
    given = given._replace(results={("mine", "t0"): lost})
    found = written(tmp_path, outcome(given, records={"t0": adam_record()}))
    steps = [int(row["inner_step"]) for row in found["curves"]]
    assert all(a < b for a, b in pairwise(steps))
    assert [row["train_mean"] for row in found["curves"]] == ["2", "1.8", "inf"]
    assert {row["train_spread"] for row in found["curves"]} == {""}
    rows = {row["baseline"]: float(row["improvement"]) for row in found["matched"]}
    assert rows == {
        "one Adam rate for all": np.float64(-1.7).round(6),
        "Adam's rate per task (14)": np.float64(-1.72).round(6),
    }


def test_json_is_strict_and_says_what_it_is_of(tmp_path):
    given = compared({"mine": (0.1, 0.2), ONE: (0.3, 0.3), BEST: (0.2, 0.2)})
    diverged = measured((2.0, np.inf), (2.0,))
    given = given._replace(results={**given.results, ("mine", "t1"): diverged})
    made = outcome(given, records={"t0": adam_record()}, notes=["ein Wort"])
    all_judged = judged_of(made)
    said = findings(all_judged[0], Background(made.known.records))
    path = write_report_json(
        tmp_path, document(made, all_judged, said, "opt-gym report")
    )

    def strict(name):
        raise AssertionError(name)

    found = json.loads(path.read_text(), parse_constant=strict)
    assert found["format"] == 1
    assert found["entrants"][0]["digest"] == "d1235"
    assert found["suite"]["status"] == "test"
    assert found["notes"] == ["ein Wort"]
    assert found["tasks"][0]["data_digest"] == "0123456789abcdef"
    assert found["versions"]["jax"]
    assert found["summary"][0]["sentences"][0]["about"] == "Over a run"
    (scores,) = [
        one for one in found["comparisons"][0]["scores"] if one["optimizer"] == "mine"
    ]
    assert scores["primary"]["mean"]["low"] is None  # too few tasks
    assert scores["num_diverged"] == 1


def test_json_has_null_for_what_is_no_number():
    given = {"a": np.float32(np.inf), "b": (np.nan, np.int64(3)), "c": np.array([True])}
    assert as_json(given) == {"a": None, "b": [None, 3], "c": [True]}


def test_the_archives_digest_sees_every_number():
    first = {"t0": adam_record()}
    assert archive_digest(first) == archive_digest({"t0": adam_record()})
    changed = adam_record({"adam 0.01": measured(mean_cost=(0.2800001,) * 5)})
    assert archive_digest({"t0": changed}) != archive_digest(first)
    trials = first["t0"]._replace(trials={"opt_list": np.ones((2, 3))})
    assert archive_digest({"t0": trials}) != archive_digest(first)
    assert archive_digest({"t0": TaskRecord("t0", "c", "d")}) != archive_digest({})

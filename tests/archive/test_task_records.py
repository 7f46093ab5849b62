"""Records and their files: what is written comes back, what is damaged is named."""
# pyright: reportOptionalMemberAccess=false, reportOptionalSubscript=false, reportOptionalIterable=false

import json

import numpy as np
import pytest

from opt_gym.archive import task_records
from opt_gym.archive.task_records import (
    judges_normalizer,
    longer_of,
    mean_cost,
    read_record,
    write_record,
)
from opt_gym.records import Normalizer
from opt_gym.runtime.array_files import from_bytes, to_bytes
from tests.archive import made_up
from tests.evaluation import made_up as made_up_runs


def test_what_is_written_comes_back(tmp_path):
    rng = np.random.default_rng(0)
    written = made_up.record(
        adam_1=made_up.measured(10 ** rng.normal(size=5), mean_cost=rng.normal(size=5)),
        adam_3=made_up.measured((2.0, np.inf, np.inf), (2.0,)),
        prodigy=made_up.measured(mean_cost=(0.1, 0.2, 0.3), drawn=False),
    )
    trials = rng.normal(size=(7, 3))
    written = written._replace(
        trials={"opt_list": trials}, groups={"adam": {"seconds": 3.5}}
    )
    path = write_record(tmp_path, written)
    assert path.name == "a.01234567.npz"
    found = read_record(path)
    assert list(found.measured) == ["adam 1", "adam 3", "prodigy"]
    assert found.groups == written.groups
    np.testing.assert_allclose(found.trials["opt_list"], trials, rtol=4e-6)
    for name, one in written.measured.items():
        again = found.measured[name]
        assert again.horizon == one.horizon
        np.testing.assert_array_equal(again.mean_cost, one.mean_cost)
        np.testing.assert_array_equal(again.diverged, one.diverged)
        np.testing.assert_allclose(again.final_losses, one.final_losses, rtol=1e-7)
        np.testing.assert_array_equal(again.final_accuracy, one.final_accuracy)
        if one.mean is None:
            assert again.mean is None
            continue
        np.testing.assert_array_equal(again.inner_steps, one.inner_steps)
        for row in ("mean", "spread"):
            off = 4e-6 if row == "mean" else 2e-3
            np.testing.assert_allclose(getattr(again, row), getattr(one, row), rtol=off)


def test_settings_of_a_group_are_those_of_its_name_and_no_others():
    found = made_up.record(
        adam_1=made_up.measured(), adam_0x1=made_up.measured(), lion=made_up.measured()
    )
    cosine = {"adam_cosine 1": made_up.measured()}
    found = found._replace(measured={**found.measured, **cosine})
    assert list(found.of_group("adam")) == ["adam 1", "adam 0x1"]
    assert list(found.of_group("adam_cosine")) == ["adam_cosine 1"]
    assert list(found.of_group("lion")) == ["lion"]


def test_a_damaged_file_is_named(tmp_path):
    path = write_record(tmp_path, made_up.record(adam_1=made_up.measured()))
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    with pytest.raises(ValueError, match=f"{path.name} is damaged"):
        read_record(path)
    arrays = from_bytes(whole)
    partial = {key: array for key, array in arrays.items() if key != "diverged"}
    path.write_bytes(to_bytes(partial, compressed=True))
    with pytest.raises(ValueError, match=r"is damaged \(KeyError: 'diverged'\)"):
        read_record(path)
    about = json.loads(str(arrays["about"]))
    about["format"] = task_records.FORMAT + 1
    newer = {**arrays, "about": np.asarray(json.dumps(about))}
    path.write_bytes(to_bytes(newer, compressed=True))
    with pytest.raises(ValueError, match="has format 2, newer than 1"):
        read_record(path)


def test_the_judges_normalizer_by_hand():
    rates = {
        "adam 1": made_up.measured((2.0, 1.5, 0.7, 0.9, 1.2)),
        "adam 3": made_up.measured((2.0, 1.9, 1.8, np.inf, np.inf)),
    }
    assert judges_normalizer(rates)[:2] == (2.0, 0.7)
    assert judges_normalizer(rates, "valid")[:2] == pytest.approx((2.1, 0.8))
    rising = {"adam 1": made_up.measured((2.0, 2.5, 3.0))}
    with pytest.raises(ValueError, match="none of 1 settings lowers the train loss"):
        judges_normalizer(rising)
    with pytest.raises(ValueError, match="needs curves"):
        judges_normalizer({"adam 1": made_up.measured(drawn=False)})


def test_costs_by_another_normalizer_by_hand():
    run = made_up_runs.runs(steps=(0, 1, 2))._replace(
        step_losses=np.array([[1.0, 0.0], [np.inf, np.inf], [9.0, -9.0]])
    )
    found = mean_cost(run, Normalizer(2.0, 1.0, "given"))
    np.testing.assert_allclose(found, [(0 - 1) / 2, 2.0, (2 - 2) / 2])


def test_the_longer_search_is_kept():
    short, long = np.zeros((3, 3)), np.ones((5, 3))
    assert longer_of({"s": long}, {"s": short})["s"] is long
    assert longer_of({"s": short}, {"s": long})["s"] is long

"""Normalizers: measured, written, found again; the frozen lists have theirs."""

import numpy as np
import pytest

import opt_gym
from envs_registry.benchmark_sets import BENCHMARK_SETS
from opt_gym import normalize
from opt_gym.data.corruptions import Corruption
from opt_gym.evaluation.measure_normalizers import measure
from opt_gym.normalize import NORMALIZER_TABLE
from tests import toy
from tests.evaluation.made_up import TINY, parabola

TASK = opt_gym.make_task(TINY)


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OPT_GYM_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def measurement():
    return measure(
        TASK, "train", "embedded", name="tiny", num_seeds=2, num_batches=2, horizon=60
    )


def test_measured(measurement):
    found = measurement.normalizer
    assert 0 < found.best < 0.75 * found.initial < 4
    assert measurement.costs.shape == (14,)
    assert np.all(np.isfinite(measurement.costs))
    # The smallest rate goes nowhere; the largest is no good; a middle one is.
    assert measurement.costs[0] == pytest.approx(1.0, abs=0.2)
    assert 8 <= int(measurement.costs.argmin()) <= 11
    assert measurement.costs.min() < 0.6


def test_the_validation_loss_comes_along(measurement):
    alone = measure(
        TASK, "valid", "embedded", name="tiny", num_seeds=2, num_batches=2, horizon=60
    )
    beside = measurement.valid_row
    assert beside == {**alone.row, "adam_mean_cost": ""}


def test_a_written_row_is_found_again(own_cache, measurement):
    assert normalize.trial_costs(TASK, "train", "embedded") is None
    path = normalize.user_table()
    normalize.write_rows(path, [measurement.row])
    found = normalize.lookup(TASK, "train", "embedded")
    assert found == measurement.normalizer._replace(source="cache")
    costs = normalize.trial_costs(TASK, "train", "embedded")
    assert costs is not None
    np.testing.assert_allclose(costs, measurement.costs, rtol=1e-5)
    assert normalize.lookup(TASK, "valid", "embedded").source == "provisional"

    # Rows are replaced by key, others stay, columns nobody knows stay too.
    text = path.read_text().splitlines()
    path.write_text(f"{text[0]},mine\n{text[1]},7\n")
    other = {**measurement.row, "config": "0" * 16}
    normalize.write_rows(path, [other, {**measurement.row, "best": "-1"}])
    table = normalize.read_table(path)
    assert [row["best"] for row in table.values()] == ["-1", measurement.row["best"]]
    assert normalize.lookup(TASK, "train", "embedded").best == -1.0
    assert [p.name for p in own_cache.glob("[!.]*")] == ["normalizers.csv"]


def test_a_row_without_costs_is_a_normalizer_still(own_cache, measurement):
    row = {c: measurement.row[c] for c in normalize.COLUMNS}
    normalize.write_rows(normalize.user_table(), [row])
    assert normalize.lookup(TASK, "train", "embedded").source == "cache"
    assert normalize.trial_costs(TASK, "train", "embedded") is None


def test_other_corruptions_are_another_objective():
    data = TASK.load_data("embedded")
    chosen = (Corruption("blur", 0.7),)
    corruptions = ("training", "held_out", chosen, (Corruption("blur", 1.4),))
    keys = [normalize.row_key(TINY, "noisy", data, c)[1] for c in corruptions]
    assert keys[0] == "noisy"
    assert len(set(keys)) == 4
    assert normalize.row_key(TINY, "train", data, "held_out")[1] == "train"


def test_tasks_that_cannot_be_measured():
    with pytest.raises(ValueError, match="without a config"):
        measure(toy.quadratic())
    flat = parabola(1)._replace(loss=lambda key, params, *_: (1 + 0 * params[0][0], {}))
    with pytest.raises(ValueError, match="flat: none of 14 learning rates lowers"):
        measure(flat, name="flat", num_seeds=1, horizon=2)


def test_a_file_that_is_no_table(tmp_path):
    path = tmp_path / "normalizers.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="is not a table of normalizers"):
        normalize.write_rows(path, [])


def test_every_task_of_the_small_set_is_measured():
    # By config alone: the data's digest is another one where Python has other texts.
    measured = {config for config, _, _ in normalize.read_table(NORMALIZER_TABLE)}
    for part in ("train", "held_out", "held_out_families"):
        for name in BENCHMARK_SETS[f"taskset-small-v1/{part}"]:
            config = opt_gym.make_task(opt_gym.task_config(name)).config
            assert normalize.digest_config(config) in measured, name


def test_the_lists_of_small_mlp_are_disjoint_and_measured():
    parts = ("train", "development", "held_out_16")
    lists = [BENCHMARK_SETS[f"small_mlp/{part}"] for part in parts]
    names = [name for tasks in lists for name in tasks]
    assert len(names) == len(set(names)) == 24 + 12 + 16
    assert set(BENCHMARK_SETS["small_mlp/held_out"]) < set(lists[-1])
    for name in names:
        task = opt_gym.make_task(opt_gym.task_config(name))
        found = normalize.lookup(task, "train", "embedded")
        assert found.source == "table", f"{name}: run opt-gym normalize"
        assert normalize.trial_costs(task, "train", "embedded") is not None

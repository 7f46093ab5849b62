"""The check of search spaces and update rules, on golden folders of our own making."""

import json

import numpy as np
import pytest

from envs_registry.parity.update_rules import check_optimizers
from opt_gym.evaluation.search_spaces import SPACES, sample
from tests.learned import taskset_rules
from tests.test_parity import GOLDEN, needs_golden

PROBLEM = {"c": [0.3, 0.9, 1.5], "t": [-0.4, -2.0, 1.4], "x0": [0.5, 0.7, -0.3]}
NADAMW = {"training_steps": 30}


@needs_golden
def test_golden_files():
    (folder,) = {path.parent.parent for path in GOLDEN.rglob("optimizers/*.json")}
    results = check_optimizers(folder)
    assert len(results) == 6
    for result in results:
        assert not isinstance(result, str)
        assert result.passed(), str(result)
        assert result.configs.total >= 60
        assert result.trajectories.total >= 20


def trajectory(space, seed, num_steps, kwargs=None):
    """A golden run made by the plain loops of `taskset_rules`."""
    config = sample(space, seed)
    rule = {
        "adagrad_wide_grid": lambda theta: taskset_rules.adagrad(theta),
        "adam4p_wide_grid": lambda theta: taskset_rules.tf_adam(theta),
        "nadamw_grid": lambda theta: taskset_rules.nadamw(theta, 30, True),
    }[space](SPACES[space].theta(config))
    c, t, x0 = (np.array(PROBLEM[key], np.float32) for key in ("c", "t", "x0"))
    found = taskset_rules.loop(rule, lambda x: c * (x - t), x0, num_steps)
    return {
        "name": f"{space}_seed{seed}",
        "config": config,
        "start_step": 0,
        "kwargs": kwargs or {},
        "x": found.tolist(),
    }


@pytest.fixture
def golden(tmp_path):
    """(settings by space, trajectories): those of the package itself and of numpy."""
    configs = {
        space: {str(seed): sample(space, seed) for seed in (2, 1234)}
        for space in ("adagrad_wide_grid", "nadamw_grid")
    }
    runs = [
        trajectory("adagrad_wide_grid", 3, 10),
        trajectory("adam4p_wide_grid", 8, 10),
        trajectory("nadamw_grid", 4, 30, NADAMW),
        trajectory("nadamw_grid", 12, 20, NADAMW),
    ]
    return configs, runs


def lines(folder, configs, runs, seeds=None):
    """What the check says of a folder with these files; None: no such file."""
    if configs is not None:
        (folder / "optimizers").mkdir()
        for space, values in configs.items():
            (folder / "optimizers" / f"{space}.json").write_text(json.dumps(values))
    if runs is not None:
        content = {"problem": PROBLEM, "runs": runs}
        (folder / "optimizer_trajectories.json").write_text(json.dumps(content))
    return [str(result) for result in check_optimizers(folder, seeds)]


def test_a_folder_that_agrees(tmp_path, golden):
    adam, nadamw, adagrad = lines(tmp_path, *golden)
    assert adam.startswith("adam4p_wide_grid: configs 0/0, trajectories 1/1, worst")
    assert nadamw.startswith("nadamw_grid: configs 2/2, trajectories 2/2, worst")
    assert adagrad.startswith("adagrad_wide_grid: configs 2/2, trajectories 1/1")
    assert "DIFFERS" not in adam + nadamw + adagrad


def test_only_some_files_or_seeds(tmp_path, golden):
    configs, _ = golden
    (tmp_path / "empty").mkdir()
    assert lines(tmp_path / "empty", None, None) == []
    nadamw, adagrad = lines(tmp_path, configs, None, range(1000))
    assert nadamw.startswith("nadamw_grid: configs 1/1, trajectories 0/0")
    assert adagrad.startswith("adagrad_wide_grid: configs 1/1, trajectories 0/0")


def test_what_differs_is_counted(tmp_path, golden):
    configs, runs = golden
    configs["nadamw_grid"]["2"]["beta1"] *= 1 + 1e-11
    configs["adagrad_wide_grid"]["2"]["learning_rate"] *= 1 + 1e-12
    configs["adagrad_wide_grid"]["1234"]["extra"] = 1
    configs["unheard_of"] = {}
    runs[1]["x"][9][2] *= 1.002
    runs[3]["x"][4][0] = float("nan")
    adam, nadamw, adagrad, other = lines(tmp_path, configs, runs)
    assert "configs 0/0, trajectories 0/1" in adam
    assert "configs 1/2, trajectories 1/2, worst relative error nan" in nadamw
    assert "configs 0/2, trajectories 1/1" in adagrad
    assert all(line.endswith("  DIFFERS") for line in (adam, nadamw, adagrad))
    assert other == "unheard_of: not implemented"

"""The parity check itself, and what it says of the golden files where there are any."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from envs_registry import names
from envs_registry.parity import cases, report
from opt_gym import plugins
from opt_gym.tasks import named

GOLDEN = Path(
    os.environ.get(
        "OPT_GYM_GOLDEN",
        Path(__file__).resolve().parent.parent.parent / "shared" / "taskset",
    )
)
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"no folder {GOLDEN}")


@needs_golden
@pytest.mark.parametrize("family", names.INFEASIBLE_SEEDS)
def test_some_golden_tasks_of_every_family(family):
    result = report.check_family(GOLDEN / "golden", family, lambda seed: seed < 2)
    assert result.passed(), str(result)
    assert (result.configs.total, result.losses.total) == (2, 2)


@needs_golden
def test_some_golden_fixed_tasks():
    result = report.check_fixed(GOLDEN / "golden", lambda number: number % 9 == 3)
    assert result.passed(), str(result)
    assert result.losses.total >= 8


@needs_golden
@pytest.mark.slow
def test_all_golden_files():
    results = report.check_folder(GOLDEN)
    assert len(results) >= 12 + 1 + 6
    for result in results:
        assert not isinstance(result, str), result
        assert result.passed(), str(result)


@needs_golden
def test_the_fixed_tasks_are_the_published_ones():
    published = json.loads((GOLDEN / "task_names.json").read_text())["fixed"]
    assert list(named.PUBLISHED) == published


@pytest.fixture
def folder(tmp_path):
    """A golden folder of our own making: two quadratics with figures worked out in numpy."""
    (tmp_path / "numeric").mkdir()
    configs, numeric = {}, {}
    for seed in ("3", "4"):
        config = plugins.spec("task", "quadratic").sample_config(int(seed))
        matrix = cases.generate("A", (config["dims"],) * 2).astype(np.float64)
        weight = 0.5 * cases.generate("weight", (config["dims"],)).astype(np.float64)
        product = matrix @ weight
        square = np.sum(product**2)
        slope = config["loss_scale"]
        loss = slope * square
        if config["output_fn"] == "log":
            loss = slope * np.log(square + 1e-8)
            slope = slope / (square + 1e-8)
        grad = 2 * slope * matrix.T @ product
        configs[seed] = config
        numeric[f"quadratic_family_seed{seed}"] = {
            "params": [["weight", [config["dims"]], 0.5]],
            "loss": float(loss),
            "grads": [
                {
                    "l2": float(np.sqrt(np.sum(grad**2))),
                    "sum": float(np.sum(grad)),
                    "first": [float(entry) for entry in grad[:4]],
                }
            ],
            "meta": {},
        }
    _write(tmp_path, configs, numeric)
    (tmp_path / "no_such_family.json").write_text("{}")
    return tmp_path


def _write(folder, configs, numeric):
    (folder / "quadratic_family.json").write_text(json.dumps(configs))
    (folder / "numeric" / "quadratic_family.json").write_text(json.dumps(numeric))


def _read(folder):
    return tuple(
        json.loads((folder / place).read_text())
        for place in ("quadratic_family.json", "numeric/quadratic_family.json")
    )


def test_a_folder_that_agrees_passes(folder, capsys):
    assert report.main([str(folder)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("quadratic: configs 2/2, losses 2/2, gradients 2/2, worst")
    assert second == "no_such: not implemented"


def change_config(configs, numeric):
    configs["3"]["loss_scale"] *= 1 + 1e-9


def change_loss(configs, numeric):
    numeric["quadratic_family_seed3"]["loss"] *= 1.001


def change_gradient(configs, numeric):
    numeric["quadratic_family_seed4"]["grads"][0]["first"][1] *= 1.001


def change_shape(configs, numeric):
    numeric["quadratic_family_seed4"]["params"][0][1] = [5]


def claim_infeasible(configs, numeric):
    numeric["quadratic_family_seed4"] = {"error": "could not be built"}


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        (change_config, "configs 1/2, losses 2/2, gradients 2/2"),
        (change_loss, "configs 2/2, losses 1/2, gradients 2/2"),
        (change_gradient, "configs 2/2, losses 2/2, gradients 1/2"),
        (change_shape, "configs 2/2, losses 1/2, gradients 1/2"),
        (claim_infeasible, "configs 2/2, losses 1/1, gradients 1/1"),
    ],
)
def test_a_folder_that_differs_fails(folder, capsys, change, counts):
    configs, numeric = _read(folder)
    change(configs, numeric)
    _write(folder, configs, numeric)
    assert report.main([str(folder)]) == 1
    line = capsys.readouterr().out.splitlines()[0]
    assert counts in line
    assert line.endswith("DIFFERS")


def test_a_folder_without_golden_files_is_an_error(tmp_path, capsys):
    assert report.main([str(tmp_path)]) == 2
    assert "no <family>_family.json" in capsys.readouterr().err
    assert report.main([]) == 2


@pytest.mark.parametrize(
    ("golden", "ours", "expected"),
    [
        ({"a": [1, "x", None, True]}, {"a": [1, "x", None, True]}, 0.0),
        ({"a": 2.0}, {"a": 2.0 + 4e-13}, 2e-13),
        ({"a": 1}, {"b": 1}, math.inf),
        ([1], [1, 2], math.inf),
        (1, True, math.inf),
        (1, 1.0, math.inf),
        ("x", "y", math.inf),
    ],
)
def test_difference(golden, ours, expected):
    assert report.difference(golden, ours) == pytest.approx(expected, rel=1e-2)


def test_a_lost_number_never_counts_as_a_match():
    figure = report.Figure().add(math.nan, 1e-4).add(0.0, 1e-4)
    assert (figure.matched, figure.total) == (1, 2)
    assert math.isnan(figure.worst)
    golden = {"l2": 5.0, "sum": 7.0, "first": [3.0, 4.0]}
    assert report.gradient_error(golden, np.array([3.0, 4.0])) == 0.0
    assert not report.gradient_error(golden, np.array([3.0, np.nan])) <= 1e-4
    assert not report.gradient_error(golden, np.array([3.0, np.nan]), 1e9) <= 1e-4
    assert report.gradient_error(golden, np.array([3.0, 4.1])) > 1e-2

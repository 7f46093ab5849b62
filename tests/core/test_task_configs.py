"""Numbers of task configs that cannot be, and files that are no configs: refused by name."""

import copy
import json
import math
from collections.abc import Iterator
from typing import Any

import pytest

from opt_gym import factory, plugins
from opt_gym.cli import main
from tests.gym.problems import quadratic

ODD = (math.nan, math.inf, -math.inf, 1e308, 10**400, 2**63, True)
SEEDS = range(4)


def numbers(config: Any, path: tuple = ()) -> Iterator[tuple]:
    """The path of every number in a config."""
    if isinstance(config, dict | list):
        places = config.items() if isinstance(config, dict) else enumerate(config)
        for key, value in places:
            yield from numbers(value, (*path, key))
    elif isinstance(config, int | float) and not isinstance(config, bool):
        yield path


def changed(config: Any, path: tuple, value: Any) -> Any:
    config = copy.deepcopy(config)
    inner = config
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return config


@pytest.mark.parametrize("family", plugins.names("task"))
def test_no_number_of_a_config_may_be_odd(family):
    """Of every family: each number of some configs, one after another."""
    for seed in SEEDS:
        config = {"family": family, **plugins.spec("task", family).sample_config(seed)}
        config = json.loads(json.dumps(config))
        for path in numbers(config):
            for value in ODD:
                with pytest.raises(ValueError, match=family):
                    factory.make_task(changed(config, path, value))


@pytest.mark.parametrize("dims", [10**9, 2**31, 2**63])
def test_a_matrix_has_so_many_entries_at_most(dims):
    with pytest.raises(ValueError, match=f"dims must be .* <= 46340, got {dims}"):
        factory.make_task(quadratic(dims=dims))


def test_a_network_has_so_many_weights_at_most():
    config = {"family": "mlp", **plugins.spec("task", "mlp").sample_config(0)}
    with pytest.raises(ValueError, match=r"mlp: weights of shape .* are too many"):
        factory.make_task({**config, "layer_sizes": [10**6, 10**6]})


@pytest.mark.parametrize("depth", [300, 100_000])
def test_a_file_that_is_nested_deeply_is_named(depth, tmp_path, capsys):
    path = tmp_path / "deep.json"
    nested = '{"family": "quadratic", "dims": ' + "[" * depth + "]" * depth + "}"
    path.write_text(nested)
    assert main(["show", str(path)]) == 2
    told = capsys.readouterr().err
    assert "deep.json" in told
    assert "Traceback" not in told

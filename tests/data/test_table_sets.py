"""Tables: their splits, their scales, and what is generated."""

import numpy as np
import pytest

import opt_gym
from opt_gym.data.table_sets import GENERATED, TABLES, load_table, table
from opt_gym.records import SPLITS

SIZES = {"breast_cancer": 569, "wine": 178, "spirals": GENERATED, "friedman": GENERATED}


@pytest.mark.parametrize("name", TABLES)
def test_splits_are_apart_and_standardized_by_train(name):
    data, entry = load_table(name), table(name)
    assert list(data) == list(SPLITS)
    assert sum(len(rows.targets) for rows in data.values()) == SIZES[name]
    inputs = np.concatenate([rows.inputs for rows in data.values()])
    assert inputs.shape == (SIZES[name], entry.columns)
    pairs = [(*x, y) for r in data.values() for x, y in zip(*r, strict=True)]
    assert len(set(pairs)) > 0.99 * len(pairs)  # a flower may be measured twice
    train = data["train"]
    np.testing.assert_allclose(train.inputs.mean(0), 0.0, atol=1e-5)
    np.testing.assert_allclose(train.inputs.std(0), 1.0, atol=1e-5)
    if entry.num_classes:
        assert set(train.targets) == set(range(entry.num_classes))
    else:
        np.testing.assert_allclose(train.targets.std(), 1.0, atol=1e-5)


def test_friedman_s_function_is_what_its_five_inputs_say():
    inputs, targets = TABLES["friedman"].read()
    x = inputs.T
    rule = 10 * np.sin(np.pi * x[0] * x[1]) + 20 * (x[2] - 0.5) ** 2 + 10 * x[3]
    noise = targets - rule - 5 * x[4]
    assert abs(noise.mean()) < 0.1
    assert abs(noise.std() - 1.0) < 0.05


def test_the_arms_of_the_spirals_are_no_half_planes():
    inputs, targets = TABLES["spirals"].read()
    signs = 2.0 * targets - 1.0
    weights, *_ = np.linalg.lstsq(np.c_[inputs, np.ones(len(inputs))], signs)
    guessed = np.c_[inputs, np.ones(len(inputs))] @ weights > 0
    assert 0.4 < np.mean(guessed == targets) < 0.7
    # But who looks at the nearest other point is hardly ever wrong.
    some = np.linalg.norm(inputs[:200, None] - inputs[None], axis=2)
    some[np.arange(200), np.arange(200)] = np.inf
    assert np.mean(targets[some.argmin(1)] == targets[:200]) > 0.95


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="unknown table: 'winr'; did you mean 'wine'"):
        table("winr")
    config = {
        "family": "table_mlp",
        "layer_sizes": [4],
        "activation": "relu",
        "w_init": ["he_normal", None],
        "dataset": ["wine", {"bs": 0}],
    }
    with pytest.raises(ValueError, match="dataset wine: bs must be an integer >= 1"):
        opt_gym.make_task(config)

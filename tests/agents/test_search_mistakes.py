"""What black-box outer-trainers are asked for wrongly is named."""

import sys

import jax.numpy as jnp
import pytest

import agents
import learned
from agents.trainers import hyperparameter_search
from tests.agents.search_problems import BOX, make_trainer, problem


def test_evosax_is_asked_for_by_name(monkeypatch):
    for name in ("evosax", "evosax.algorithms"):
        monkeypatch.setitem(sys.modules, name, None)
    env, optimizer = problem()
    with pytest.raises(ImportError, match=r"pip install 'opt-gym\[evosax\]'"):
        agents.make("evosax", envs=[env], learned_optimizer=optimizer)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        (
            "random_search",
            {"population": 1},
            "population must be an integer >= 2, got 1",
        ),
        (
            "random_search",
            {"num_episodes": 0},
            "num_episodes must be an integer >= 1, got 0",
        ),
        ("random_search", {"sigma": 0.0}, "sigma must be a number > 0, got 0.0"),
        ("random_search", {"around": "bset"}, "'bset'; did you mean 'best'"),
        ("evosax", {"population": 0}, "population must be an integer >= 1, got 0"),
        ("evosax", {"horizon": (5, 2)}, r"got \(5, 2\)"),
        ("evosax", {"strategy": "CMA-ES"}, "'CMA-ES'; did you mean 'CMA_ES'"),
        ("evosax", {"strategy": "PersistentES"}, "outer-trainer 'pes'"),
        ("evosax", {"strategy": "Open_ES", "population": 7}, "Open_ES: .*even"),
        ("evosax", {"learning_rate": 0.1}, "'CMA_ES' has no use for a learning_rate"),
        (
            "evosax",
            {"strategy": "Open_ES", "learning_rate": 0.0},
            "learning_rate must be a number > 0, got 0.0",
        ),
        (
            "evosax",
            {"strategy": "Open_ES", "learning_rate": 0.1, "optimizer": "adan"},
            "unknown optimizer: 'adan'",
        ),
    ],
)
def test_mistakes_are_named(name, settings, message):
    with pytest.raises(ValueError, match=message):
        make_trainer(name, **settings)


def search_for(env, optimizer, **settings):
    mix = agents.task_mix([env])
    return hyperparameter_search.make(mix=mix, learned_optimizer=optimizer, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "give either a space .* or a box"),
        ({"space": "adam_lr", "box": BOX}, "got space='adam_lr', box="),
        ({"space": "adam_lr"}, "one of 'adam' {}, not of 'sgd'"),
        ({"space": "adam_ls"}, "'adam_ls'; did you mean 'adam_lr'"),
        ({"box": {"learning_rat": [1, 2]}}, "did you mean 'learning_rate'"),
        ({"box": {"learning_rate": [0, 2]}}, r"0 < low <= high, got \(0, 2\)"),
        ({"box": {}}, "at least one entry"),
        ({"box": BOX, "num_trials": 0}, "num_trials must be 1 to 2000, got 0"),
        ({"box": BOX, "keep": 0.0}, r"keep must be in \(0, 1\], got 0.0"),
    ],
)
def test_mistakes_of_a_search_are_named(settings, message):
    env, optimizer = problem()
    with pytest.raises(ValueError, match=message):
        search_for(env, optimizer, **settings)


def test_other_mistakes_are_named():
    env, optimizer = problem()
    options = {"std_mni": 1e-3}
    with pytest.raises(ValueError, match="option of CMA_ES: 'std_mni'; did you mean"):
        agents.make(
            "evosax", envs=[env], learned_optimizer=optimizer, strategy_options=options
        )
    wanted = learned.make("nadamw")
    with pytest.raises(ValueError, match=r"one of 'nadamw' .'faithful': True., not of"):
        search_for(env, wanted, space="nadamw_grid")
    network = optimizer._replace(init_theta=lambda key: {"w": jnp.zeros(3)})
    with pytest.raises(ValueError, match="whose θ is a dict of numbers"):
        search_for(env, network, box=BOX)

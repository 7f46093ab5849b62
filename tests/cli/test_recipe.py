"""The recipe of `opt-gym train`: one record, whose doors say the same."""

import inspect
import json

import pytest

import agents
from agents.records import traits_of
from opt_gym import plugins
from opt_gym.cli._recipe import Recipe, read_recipe, write_recipe
from opt_gym.cli._training import trainer_settings
from opt_gym.cli.train import train

FAMILY_OF_PES = ("es", "es_single", "pes", "truncated_es")


def test_the_command_and_the_record_have_the_same_names_and_defaults():
    keywords = inspect.signature(train).parameters
    said = {name: one.default for name, one in keywords.items() if name != "out"}
    assert said == Recipe._field_defaults
    assert tuple(said) == Recipe._fields


def test_a_recipe_comes_back_as_it_was_written(tmp_path):
    recipe = Recipe(tasks=["quadratic"], options={"sigma": "0.3"}, task_weights=(1.0,))
    write_recipe(tmp_path, recipe)
    assert read_recipe(tmp_path) == recipe._replace(task_weights=[1.0])


def test_what_an_older_version_did_not_write_has_its_default(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"trainer": "es"}))
    assert read_recipe(tmp_path) == Recipe(trainer="es")


@pytest.mark.parametrize("content", ['{"trainr": "es"}', "no json", "[1]"])
def test_what_is_no_recipe_is_said_so(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(ValueError, match=r"run.json is no recipe of this version"):
        read_recipe(tmp_path)


@pytest.mark.parametrize("name", agents.names())
def test_the_command_line_s_defaults_are_the_trainer_s(name):
    settings = trainer_settings(Recipe(trainer=name))
    assert settings == plugins.spec("trainer", name).settings
    if name in FAMILY_OF_PES:
        assert settings["sigma"] == 0.1
        assert settings["horizon"] == (50, 1000)
        assert settings["theta_average"] == 0.998


def test_a_trainer_says_how_often_it_calls_the_outer_optimizer():
    assert agents.updates_per_step("pes", 3) == 1
    assert agents.updates_per_step("ppo", 3, num_epochs=2, num_minibatches=5) == 30
    silent = plugins.Spec("trainer", "silent", lambda: None, "a test")
    assert traits_of(silent).updates_per_step({}, 7) == 1


def test_what_comparisons_give_a_trainer_are_settings_that_it_has():
    for name in agents.names():
        spec = plugins.spec("trainer", name)
        plugins.with_defaults(spec, traits_of(spec).settings)

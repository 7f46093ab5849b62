"""Doors with many keywords hand one record on: names and defaults are the record's."""

import inspect
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

import learned
import opt_gym
from opt_gym import factory
from opt_gym.evaluation import EvaluationSettings, evaluations, measure
from opt_gym.gym import opt_env, opt_vector_env
from opt_gym.gym._settings import HORIZON, OptEnvSettings
from opt_gym.records import EnvSettings


class Door(NamedTuple):
    """A function of many keywords.

    Attributes:
        call: it, with what has no default.
        behind: (module, function): who gets the record first, as its argument `place`.
    """

    function: Callable[..., Any]
    record: Any
    call: Callable[..., Any]
    behind: tuple[Any, str, int]


DOORS = {
    "make": Door(
        opt_gym.make,
        EnvSettings,
        lambda **keywords: opt_gym.make("quadratic", **keywords),
        (factory, "make_env", 3),
    ),
    "evaluate": Door(
        opt_gym.evaluate,
        EvaluationSettings,
        lambda **keywords: opt_gym.evaluate(
            learned.make("sgd"), "quadratic", **keywords
        ),
        (evaluations, "run_jobs", 1),
    ),
    "OptEnv": Door(
        opt_env.OptEnv,
        OptEnvSettings,
        lambda task="quadratic", **keywords: opt_env.OptEnv(task, **keywords),
        (opt_env, "checked", 0),
    ),
    "OptVectorEnv": Door(
        opt_vector_env.OptVectorEnv,
        OptEnvSettings,
        lambda task="quadratic", **keywords: opt_vector_env.OptVectorEnv(
            2, task, **keywords
        ),
        (opt_vector_env, "checked", 0),
    ),
}
RECORDS = (EnvSettings, EvaluationSettings, OptEnvSettings)


def defaults(function: Callable[..., Any]) -> dict[str, Any]:
    keywords = inspect.signature(function).parameters.values()
    return {k.name: k.default for k in keywords if k.default is not k.empty}


@pytest.mark.parametrize("name", DOORS)
def test_a_door_has_the_keywords_and_the_defaults_of_its_record(name):
    expected = DOORS[name].record._field_defaults
    given = defaults(DOORS[name].function)
    if "max_episode_steps" in given:  # by which the horizon may be told, too
        assert given.pop("horizon") is None
        given["horizon"] = HORIZON
    assert expected == {key: value for key, value in given.items() if key in expected}


@pytest.mark.parametrize("name", DOORS)
def test_a_door_hands_every_keyword_on_under_its_name(name, monkeypatch):
    handed = []

    def stop(*args: Any, **keywords: Any) -> None:
        handed.append(args[place])
        raise InterruptedError

    record, (module, behind, place) = DOORS[name].record, DOORS[name].behind
    monkeypatch.setattr(module, behind, stop)
    given: dict[str, Any] = {key: f"a {key}" for key in record._field_defaults}
    given |= {"horizon": 7} if "horizon" in given else {}
    with pytest.raises(InterruptedError):
        DOORS[name].call(**given)
    (settings,) = handed
    assert isinstance(settings, record)
    assert {key: settings._asdict()[key] for key in given} == given


def test_what_records_share_has_one_default():
    tables = [record._field_defaults for record in RECORDS]
    tables.append({k: v for k, v in defaults(measure).items() if k != "name"})
    for one, other in itertools.combinations(tables, 2):
        shared = one.keys() & other.keys()
        assert {"objective", "corruption"} <= shared
        assert {k: one[k] for k in shared} == {k: other[k] for k in shared}

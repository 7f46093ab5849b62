"""Every setting of every plug-in x odd values: accepted and sound, or refused by name."""

import inspect
import json
import math
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import jax
import numpy as np
import optax
import pytest

import agents
import learned
from agents.records import traits_of
from opt_gym import plugins
from opt_gym.cli._training import parsed
from opt_gym.plugins import Spec
from opt_gym.setting_kinds import Bound
from opt_gym.testing.made_up_tasks import bowl, bowl_env
from opt_gym.testing.trainer_checks import SMALL

ODD: tuple[Any, ...] = (
    *(math.nan, math.inf, -math.inf, -1, 0, 1.5, -0.5, 2**31, 2**63, 10**400, 1e30),
    *(1e300, True, False, None, "", "False", "no", "0x10", "nan", b"1", 1j, object()),
    *([], [1], [math.nan], [-1.0, "x"], [[1]], {}, {"a": 1}, {"a": math.nan}, {1: 2}),
    *(np.float32("nan"), np.int64(-3), np.arange(3)),
)
KINDS = [kind for kind in plugins.KINDS if kind != "task"]
SETTINGS = [
    (kind, name, setting)
    for kind in KINDS
    for name in plugins.names(kind)
    for setting in plugins.spec(kind, name).settings
]


def make_trainer(spec: Spec, config: dict[str, Any]) -> Any:
    """A trainer as comparisons of trainers make it, small."""
    traits = traits_of(spec)
    optimizer = learned.make(
        traits.architecture or ("mlp" if traits.architecture_options else "sgd"),
        **traits.architecture_options,
    )
    outer = optax.sgd(0.1) if agents.takes_outer_optimizer(spec.name) else None
    small = {key: SMALL[key] for key in SMALL.keys() & spec.settings.keys()}
    return agents.make(
        spec.name,
        envs=[bowl_env(bowl((np.ones(2, np.float32),), ("kernel",)), optimizer)],
        learned_optimizer=optimizer,
        outer_optimizer=outer,
        **{**small, **dict(traits.settings), **config},
    )


def make(spec: Spec, config: dict[str, Any]) -> Any:
    if spec.kind == "trainer":
        return make_trainer(spec, config)
    return plugins.build_spec(spec, config)


def numbers_in(value: Any) -> Iterator[float]:
    if isinstance(value, list | tuple | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from numbers_in(each)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def expect_sound(spec: Spec, setting: str, value: Any) -> None:
    """What was accepted is of the default's kind, and no number in it is NaN."""
    default = spec.settings[setting]
    hint = get_type_hints(spec.make, include_extras=True).get(setting)
    if value is None:
        assert default is None or type(None) in get_args(hint)
    elif isinstance(default, bool):
        assert isinstance(value, bool)
    elif isinstance(default, int | float):
        assert not isinstance(value, bool | str)
    elif isinstance(default, str):
        assert isinstance(value, str)
        assert value not in ("", "False", "no", "nan")
    if isinstance(default, int):
        assert not isinstance(value, float)
    for number in numbers_in(value):
        assert number == number
        assert hint is Bound or abs(number) <= np.finfo(np.float32).max


@pytest.mark.parametrize(("kind", "name", "setting"), SETTINGS)
def test_odd_values_are_accepted_or_named(kind, name, setting):
    spec = plugins.spec(kind, name)
    for value in ODD:
        try:
            record = make(spec, {setting: value})
        except ValueError as error:
            said = str(error)
            assert setting in said, (value, said)
            shown = repr(value) in said or str(value) in said
            assert shown or isinstance(value, np.generic | list | dict), (value, said)
            continue
        expect_sound(spec, setting, value)
        if kind == "architecture":
            for leaf in jax.tree.leaves(record.init_theta(jax.random.key(0))):
                assert np.all(np.isfinite(leaf)), (value, leaf)
        elif kind != "trainer":
            json.dumps(record.config, allow_nan=False)


@pytest.mark.parametrize("kind", KINDS)
def test_defaults_are_of_their_kind(kind):
    for spec in plugins.specs(kind):
        assert plugins.with_defaults(spec, spec.settings) == spec.settings


def untold(whole=3, share=0.5, flag=True, word="a", sizes=(1, 2), rest=None) -> Any:
    """A foreign plug-in whose settings have no annotations."""
    return plugins.build("action", "update")


FOREIGN = Spec("action", "untold", untold, "nobody")


@pytest.mark.parametrize(
    "config",
    [
        {
            "whole": 4,
            "share": 1,
            "flag": False,
            "word": "b",
            "sizes": [3],
            "rest": [1.5],
        },
        {"whole": np.int64(4), "share": np.float32(0.25), "flag": np.bool_(False)},
        {"share": jax.numpy.float32(0.25), "rest": "text"},
    ],
)
def test_a_foreign_plugin_is_checked_by_its_defaults(config):
    json.dumps(plugins.build_spec(FOREIGN, config).config)


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("whole", 4.0, "an integer"),
        ("whole", "4", "an integer"),
        ("share", math.nan, "a finite number"),
        ("share", True, "a finite number"),
        ("flag", "False", "True or False"),
        ("flag", 1, "True or False"),
        ("word", 1, "a text"),
        ("sizes", [1.5], r"a list \(an integer each\)"),
        ("rest", [math.inf], "a value without NaN or infinity"),
    ],
)
def test_the_message_names_plugin_setting_and_value(setting, value, words):
    with pytest.raises(ValueError, match=f"'untold': {setting} must be {words}, got "):
        plugins.build_spec(FOREIGN, {setting: value})


def test_annotations_that_only_a_type_checker_knows_leave_the_default():
    def make(rate: "Unknown" = 0.5) -> Any:  # type: ignore[name-defined] # noqa: F821
        return untold()

    spec = Spec("action", "hidden", make, "nobody")
    assert plugins.with_defaults(spec, {"rate": 1}) == {"rate": 1}
    with pytest.raises(ValueError, match="rate must be a finite number, got 'x'"):
        plugins.with_defaults(spec, {"rate": "x"})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((".99", 0.99), ("1e-3", 1e-3), ("8", 8), ("+8", 8), ("-.5", -0.5)),
        *(("true", True), ("True", True), ("false", False), ("False", False)),
        *(("null", None), ("None", None), ("none", "none"), ("[50, 100]", [50, 100])),
        *(('"1"', "1"), ("no", "no"), ("0x10", "0x10"), ("[" * 100_000, "[" * 100_000)),
    ],
)
def test_what_is_written_on_the_command_line(text, value):
    read = parsed({"x": text})["x"]
    assert read == value
    assert type(read) is type(value)


def test_settings_of_the_command_line_are_refused_by_name():
    for name, text in (("per_parameter", "no"), ("hidden", "8.5"), ("hidden", "x")):
        with pytest.raises(ValueError, match=f"'nominal': {name} must be .*, got"):
            learned.make("nominal", **parsed({name: text}))


def test_every_architecture_and_trainer_has_typed_settings():
    """An annotation that cannot be read would leave `None` defaults unchecked."""
    for kind in KINDS:
        for spec in plugins.specs(kind):
            parameters = inspect.signature(spec.make).parameters
            for setting in spec.settings:
                assert parameters[setting].annotation is not inspect.Parameter.empty

"""Plug-ins of other packages and scripts: found, used, and left out where they are bad."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import pytest

import opt_gym
from opt_gym import entry_points, plugins
from opt_gym.plugins import Spec

ROOT = Path(__file__).resolve().parents[2]

GOOD = """
from opt_gym import plugins
from opt_gym.tasks.quadratic import SPEC as QUADRATIC

SPEC = QUADRATIC._replace(name="my_family")
FEATURES = plugins.Spec("features", "other_name", lambda: None, "a test")
NO_SPEC = "my_family"
NO_DEFAULT = plugins.Spec("action", "no_default", lambda limit: None, "a test")
"""

ENTRIES = """
[opt_gym.plugins]
task.my_family = {good}:SPEC
task.raises = {bad}:SPEC
task.missing = no_such_package_anywhere:SPEC
task.no_spec = {good}:NO_SPEC
task.no_attribute = {good}:NOTHING
features.announced = {good}:FEATURES
action.no_default = {good}:NO_DEFAULT
task.quadratic = {good}:SPEC
task.TwoD_Bowl1 = {good}:SPEC
weather.rain = {good}:SPEC

[console_scripts]
unrelated = {good}:main
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Announces plug-ins of all sorts; forgotten afterwards."""
    good, bad = "outside_good_module", "outside_bad_module"
    (tmp_path / f"{good}.py").write_text(GOOD)
    (tmp_path / f"{bad}.py").write_text("raise OSError('no such library')\n")
    for folder in ("outside_one-1.0.dist-info", "outside_two-1.0.dist-info"):
        (tmp_path / folder).mkdir()
    first, second = sorted(tmp_path.glob("*.dist-info"))
    (first / "entry_points.txt").write_text(ENTRIES.format(good=good, bad=bad))
    text = f"[opt_gym.plugins]\ntask.my_family = {bad}:SPEC\n"
    (second / "entry_points.txt").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    caches = (entry_points.announced, plugins._announced, plugins._loaded)
    for cached in caches:
        cached.cache_clear()
    monkeypatch.setattr(plugins, "_refused", {})
    yield tmp_path
    for cached in caches:
        cached.cache_clear()
    sys.modules.pop(good, None)


def test_the_path_is_scanned_once_a_process(monkeypatch):
    plugins.names("task")
    monkeypatch.setattr(entry_points.os, "listdir", None)  # a scan would fail
    assert "nominal" in plugins.names("architecture")
    plugins.build("features", "mlp")


def test_names_that_cannot_be_are_warned_of_once_with_their_package(package):
    with pytest.warns(UserWarning, match="left out") as caught:
        names = plugins.names("task")
    assert "my_family" in names
    assert "outside_good_module" not in sys.modules
    said = sorted(str(warning.message) for warning in caught)
    assert len(said) == 3
    for message, entry, name, reason in zip(
        said,
        ("task.my_family", "task.quadratic", "weather.rain"),
        ("two", "one", "one"),
        ("the package 'outside-one' has", "a built-in task has", "an entry is named"),
        strict=True,
    ):
        assert f"{entry!r} of the package 'outside-{name}'" in message
        assert f"{package}/outside_" in message
        assert reason in message


@pytest.mark.filterwarnings("ignore:the plug-in")
@pytest.mark.parametrize(
    ("kind", "name", "reason"),
    [
        ("task", "raises", "OSError: no such library"),
        ("task", "missing", "ModuleNotFoundError: No module named 'no_such_package"),
        ("task", "no_spec", "SPEC must be an opt_gym.plugins.Spec, got 'my_family'"),
        ("task", "no_attribute", "AttributeError"),
        ("features", "announced", "its SPEC says features.other_name"),
        ("action", "no_default", r"settings without a default: \['limit'\]"),
    ],
)
def test_a_bad_one_is_left_out_from_the_first_look_on(package, kind, name, reason):
    assert name in plugins.names(kind)
    with (
        pytest.warns(UserWarning, match=reason) as caught,
        pytest.raises(
            ValueError, match=f"'{kind}.{name}' of the package 'outside-one'"
        ),
    ):
        plugins.spec(kind, name)
    assert len(caught) == 1
    assert name not in plugins.names(kind)
    with pytest.raises(ValueError, match=reason):
        plugins.spec(kind, name)  # no second warning: they are errors here
    assert plugins.is_refused(kind, name)
    if kind == "task":
        with pytest.raises(ValueError, match=reason):
            opt_gym.make_task({"family": name})
        with pytest.raises(ValueError, match=reason):
            opt_gym.task_config(f"OptTask-{name}-v0")


@pytest.mark.filterwarnings("ignore:the plug-in")
def test_all_of_a_kind_are_those_that_can_be_used(package):
    found = {spec.name for spec in plugins.specs("task")}
    assert found >= {*plugins.built_in("task"), "my_family"}
    assert not found & {"raises", "missing", "no_spec", "no_attribute", "TwoD_Bowl1"}


def test_a_fresh_process_has_its_id_and_says_what_it_leaves_out(package):
    code = (
        "import gymnasium as gym, opt_gym, sys;"
        "ids = {i.split('-')[1] for i in gym.registry if 'OptTask' in i};"
        "print(sorted(ids & {'my_family', 'raises', 'quadratic', 'TwoD_Bowl1'}));"
        "print('outside_good_module' in sys.modules, 'jax' in sys.modules);"
        "print(gym.spec('OptTask-my_family-v0').kwargs)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{package}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.splitlines() == [
        "['TwoD_Bowl1', 'my_family', 'quadratic', 'raises']",
        "False False",
        "{'task': 'my_family'}",
    ]
    assert run.stderr.count("is left out") == 4
    assert "(outside_good_module:SPEC" in run.stderr
    assert "a task has this name" in run.stderr


@pytest.fixture
def spec():
    """A family of a script; forgotten afterwards."""
    quadratic = plugins.spec("task", "quadratic")
    yield quadratic._replace(name="from_outside", source="a test")
    plugins._registered.pop(("task", "from_outside"), None)
    gym.registry.pop("OptTask-from_outside-v0", None)


def test_a_script_can_register_one(spec):
    def renamed(config):
        config = {**config, "family": "quadratic"}
        task = plugins.spec("task", "quadratic").make(config)
        return task._replace(config={**config, "family": "from_outside"})

    spec = spec._replace(make=renamed)
    assert opt_gym.register(spec) is spec
    assert opt_gym.register(spec) is spec  # a notebook's cell runs twice
    assert "from_outside" in plugins.names("task")
    assert plugins.spec("task", "from_outside") is spec
    assert plugins.module_of("task", "from_outside") == __name__
    env = gym.make("OptTask-from_outside-v0", horizon=3)
    env.reset(seed=0)
    vector = gym.make_vec("OptTask-from_outside-v0", num_envs=2, horizon=3)
    vector.reset(seed=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "quadratic"}, "a task named 'quadratic' exists already"),
        ({"name": "TwoD_Bowl1"}, "a task named 'TwoD_Bowl1' exists already"),
        ({"name": "mlp_family_seed3"}, "'mlp_family_seed3' exists already"),
        ({"name": "two words"}, "'two words': name must be a Python identifier"),
        ({"kind": "weather"}, "unknown kind of plug-in: 'weather'"),
        ({"make": None}, "make must be a function, got None"),
        ({"source": ""}, "source must say what it follows, got ''"),
        ({"sample_config": 3}, "sample_config must be a function, got 3"),
    ],
)
def test_what_cannot_be_registered_is_named(spec, change, message):
    with pytest.raises(ValueError, match=message):
        opt_gym.register(spec._replace(**change))


def test_another_of_the_same_name_is_refused(spec):
    opt_gym.register(spec)
    with pytest.raises(ValueError, match="'from_outside' exists already"):
        opt_gym.register(spec._replace(source="another test"))
    with pytest.raises(ValueError, match=r"SPEC must be an opt_gym\.plugins\.Spec"):
        opt_gym.register("from_outside")  # type: ignore[arg-type]


def test_architectures_are_registered_too():
    sgd = importlib.import_module("learned.architectures.sgd")
    spec = Spec("architecture", "outside_sgd", sgd.make, "a test")
    try:
        opt_gym.register(spec)
        import learned

        assert "outside_sgd" in learned.names()
        assert learned.make("outside_sgd").name == "outside_sgd"
    finally:
        plugins._registered.pop(("architecture", "outside_sgd"), None)

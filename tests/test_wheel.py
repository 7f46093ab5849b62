"""The wheel as a stranger has it: outside the checkout, with the core's dependencies only."""

import email
import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import distribution, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from envs_registry import names
from learned import theta_file

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("agents", "envs_registry", "learned", "opt_gym")
DATA = {
    ".css",
    ".csv",
    ".html",
    ".js",
    ".json",
    ".md",
    ".npz",
    ".safetensors",
    ".txt",
    ".typed",
}

STRANGER = """
import importlib.util, json, sys
import gymnasium as gym, jax, jax.numpy as jnp
import agents, envs_registry, learned, opt_gym
from learned import theta_file

try:
    import learned.torch
except ModuleNotFoundError as error:
    missing = error.name
theta = {name: learned.load(name) for name in theta_file.bundled_names()}
params = {"w": jnp.ones((3, 2)), "b": jnp.zeros(2)}
tx = learned.to_optax(*theta["mlp_small"], horizon=100)
updates, _ = tx.update(params, tx.init(params), params, value=1.0)
ids = [name for name in gym.registry if name.startswith("OptTask-")]
print(json.dumps({
    "files": [m.__file__ for m in (agents, envs_registry, learned, opt_gym)],
    "ids": ids,
    "bundled": list(theta),
    "change": float(abs(updates["w"]).max()),
    "missing": missing,
    "parity": importlib.util.find_spec("envs_registry.parity") is not None,
}))
"""


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """Built from a copy: what an earlier build left in the checkout would get into it."""
    folder = tmp_path_factory.mktemp("wheel")
    unwanted = shutil.ignore_patterns(
        ".*", "__pycache__", "build", "dist", "*.egg-info", "runs", "v0.1"
    )
    shutil.copytree(ROOT, folder / "source", ignore=unwanted)
    build = ("-m", "build", "--wheel", "--no-isolation", "--outdir", folder)
    run(build, cwd=folder / "source")
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="session")
def installed(wheel):
    """A folder with what the wheel installs, and one with the core's dependencies."""
    ours, theirs = (wheel.parent / name for name in ("installed", "dependencies"))
    pip = ("-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target")
    run((*pip, ours, wheel), cwd=wheel.parent)
    theirs.mkdir()
    for name in core_dependencies():
        site = Path(str(distribution(name).locate_file("")))
        tops = {path.parts[0] for path in distribution(name).files or ()}
        for top in tops - {"..", "__pycache__"}:
            if not (theirs / top).exists():
                (theirs / top).symlink_to(site / top)
    return ours, theirs


def run(arguments, **settings):
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, **settings
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def outside(installed, *arguments):
    """Runs Python without its site-packages: no .pth file, so no editable install either."""
    ours, theirs = installed
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (ours, theirs))),
        "MPLCONFIGDIR": str(ours.parent),
    }
    return run(("-S", *arguments), cwd=ours.parent, env=environment)


def core_dependencies():
    """The names of all that `pip install opt-gym` brings, as their metadata tell."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    waiting = [Requirement(line) for line in project["dependencies"]]
    collected = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in collected:
            continue
        collected.add(name)
        for needed in map(Requirement, requires(name) or ()):
            extras = {"", *requirement.extras}
            marker = needed.marker
            if marker is None or any(marker.evaluate({"extra": e}) for e in extras):
                waiting.append(needed)
    return collected


def test_it_holds_the_packages_and_nothing_else(wheel):
    files = {Path(name) for name in zipfile.ZipFile(wheel).namelist()}
    ours = {path for path in files if not path.parts[0].endswith(".dist-info")}
    expected = {
        path.relative_to(ROOT)
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.suffix in DATA | {".py"} and path.parent.name != "parity"
    }
    assert ours == expected
    assert {path.suffix for path in ours} == DATA | {".py"}


def test_its_metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        inside = {Path(name).name: name for name in archive.namelist()}
        metadata = email.message_from_bytes(archive.read(inside["METADATA"]))
    assert metadata["Requires-Python"] == ">=3.11"
    needed = [line.partition(";")[0] for line in metadata.get_all("Requires-Dist", [])]
    assert len(needed) > 30
    assert not [line for line in needed if "==" in line]  # the lock alone pins
    if (ROOT / "LICENSE").exists():
        assert metadata["License-File"] == "LICENSE"
        assert "LICENSE" in inside


def test_a_stranger_can_use_it(installed):
    seen = json.loads(outside(installed, "-c", STRANGER).splitlines()[-1])
    assert all(Path(file).is_relative_to(installed[0]) for file in seen["files"])
    assert {names.env_id(name) for name in names.published_tasks()} <= {*seen["ids"]}
    assert seen["bundled"] == [*theta_file.bundled_names()]
    assert 0 < seen["change"] < 1
    assert (seen["missing"], seen["parity"]) == ("torch", False)


def test_the_command_lists(installed):
    command = installed[0] / "bin" / "opt-gym"
    listed = outside(installed, command, "list", "--family", "small_mlp")
    assert "small_mlp" in listed

"""The package in examples/plugin, installed and used as a stranger's would be."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "examples" / "plugin"

USED = """
import sys, warnings
warnings.simplefilter("error")
import gymnasium as gym
import opt_gym
assert "OptTask-least_squares-v0" in gym.registry
assert not {"jax", "opt_gym_example"} & set(sys.modules), "import opt_gym imports it"
warnings.resetwarnings()
opt_gym.use_all_cores(2)
from opt_gym import plugins, testing
from opt_gym.cli import main

kit = {"task": testing.check_task, "features": testing.check_features,
       "action": testing.check_action_map, "architecture": testing.check_architecture,
       "trainer": testing.check_trainer}
checked = []
for kind, check in kit.items():
    for spec in plugins.specs(kind):
        if plugins.module_of(kind, spec.name).startswith("opt_gym_example."):
            check(spec)
            checked.append(kind)
assert checked == list(kit), checked

env = gym.make("OptTask-least_squares-v0", horizon=3)
env.reset(seed=0)
env.step(env.action_space.sample())
vector = gym.make_vec("OptTask-least_squares-v0", num_envs=2, horizon=3)
vector.reset(seed=0)

out = sys.argv[1]
for command in (
    "list --family least_squares",
    "list architectures --contains linear_rule",
    "list trainers --contains two_point",
    "show least_squares_family_seed3",
    f"train --out {out}/run --tasks least_squares --architecture linear_rule "
    "--trainer two_point --outer-steps 2 --options horizon 4",
    f"evaluate {out}/run/theta.safetensors --tasks least_squares_family_seed3 "
    f"--horizon 4 --num-seeds 2 --no-baselines --out {out}/results",
):
    print("$", command)
    assert main(command.split()) == 0, command
"""


def test_it_has_at_most_250_lines_and_imports_nothing_private():
    files = [PACKAGE / "pyproject.toml", *PACKAGE.glob("opt_gym_example/*.py")]
    assert len(files) == 7
    texts = [file.read_text() for file in files]
    assert sum(len(text.splitlines()) for text in texts) <= 250
    for text in texts:
        for line in text.splitlines():
            if line.startswith(("import ", "from ")):
                assert " _" not in line, line
                assert "._" not in line, line


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder that it was installed into."""
    folder = tmp_path_factory.mktemp("installed")
    source = shutil.copytree(PACKAGE, folder / "source")  # the build leaves files
    options = "--quiet --no-index --no-build-isolation --no-deps --target"
    command = [sys.executable, "-m", "pip", "install", *options.split()]
    command += [str(folder / "target"), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "target"


def test_it_is_found_and_passes_the_kit_and_is_used_from_the_command_line(
    installed, tmp_path
):
    run = subprocess.run(
        [sys.executable, "-c", USED, str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{installed}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    said = run.stdout.splitlines()
    assert "OptTask-least_squares-v0" in said
    assert "linear_rule" in said
    assert "two_point" in said
    assert any(line.startswith("all ") for line in said)
    assert (tmp_path / "run" / "theta.safetensors").exists()
    assert any((tmp_path / "results").iterdir())

"""The package in examples/plugin, installed and used as a stranger's would be."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "examples" / "plugin"

IMPORTED = """
import sys, warnings
warnings.simplefilter("error")
import gymnasium as gym
import opt_gym
assert "OptTask-least_squares-v0" in gym.registry
assert not {"jax", "opt_gym_example"} & set(sys.modules), "import opt_gym imports it"
warnings.resetwarnings()
opt_gym.use_all_cores(2)
"""

CHECKED = """
from opt_gym import plugins, testing
kit = {"task": testing.check_task, "features": testing.check_features,
       "action": testing.check_action_map, "architecture": testing.check_architecture,
       "trainer": testing.check_trainer}
checked = []
for kind, check in kit.items():
    for name in plugins.names(kind):
        if plugins.module_of(kind, name).startswith("opt_gym_example."):
            check(plugins.spec(kind, name))
            checked.append(kind)
print(*checked)
"""

COMMANDED = """
from opt_gym.cli import main
for command in sys.argv[1:]:
    assert main(command.split()) == 0, command
"""

MADE = """
env = gym.make("OptTask-least_squares-v0", horizon=3)
env.reset(seed=0)
env.step(env.action_space.sample())
vector = gym.make_vec("OptTask-least_squares-v0", num_envs=2, horizon=3)
vector.reset(seed=0)
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


TRAIN = (
    "train --out {out}/run --tasks least_squares --architecture linear_rule "
    "--trainer two_point --outer-steps 2 --options horizon 4"
)
EVALUATE = (
    "evaluate {out}/run/theta.safetensors --tasks least_squares_family_seed3 "
    "--horizon 4 --num-seeds 2 --no-baselines --out {out}/results"
)
COMMANDS = (
    "list --family least_squares",
    "list architectures --contains linear_rule",
    "list trainers --contains two_point",
    "list features --contains signed",
    "list actions --contains clipped",
    "show least_squares_family_seed3",
    TRAIN,
    EVALUATE,
)


@pytest.fixture(scope="module")
def used(installed, tmp_path_factory):
    """(what a process that sees the package prints, the folder of its run).

    One process for everything, since it imports and compiles for itself: the kit's checks
    of all five kinds, the family as an environment, and the commands.
    """
    out = tmp_path_factory.mktemp("used")
    commands = [text.format(out=out) for text in COMMANDS]
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED + CHECKED + MADE + COMMANDED, *commands],
        cwd=installed,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{installed}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines(), out


def test_all_five_kinds_pass_the_kit_and_are_listed(used):
    said, _ = used
    assert said[:6] == [
        "task features action architecture trainer",
        "OptTask-least_squares-v0",
        "linear_rule",
        "two_point",
        "signed",
        "clipped",
    ]
    assert any(line.startswith("all ") for line in said)


def test_it_trains_and_is_evaluated_from_the_command_line(used):
    _, out = used
    assert len((out / "run" / "log.csv").read_text().splitlines()) == 3
    assert (out / "results" / "curves.csv").exists()

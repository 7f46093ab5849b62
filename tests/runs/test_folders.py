"""A run's folder: one process at a time, recipes that travel, logs that are damaged."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import jax
import numpy as np
import pytest

import learned
from agents import checkpoint
from agents.callbacks import CsvLog, read_rows
from agents.run_lock import locked
from opt_gym.cli import main as opt_gym_cli
from opt_gym.cli._recipe import Recipe, read_recipe, write_recipe
from tests.citizenship.test_optax_state import environment
from tests.gym.problems import quadratic
from tests.runs.mutations import mutated
from tests.runs.test_checkpoints import RUN

CLI = "import sys; from opt_gym.cli import console; sys.exit(console())"

HOLDER = """
import sys, time
from pathlib import Path
from agents.run_lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def held_by_another(folder):
    """The process id of who holds the lock, until it is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield holder.pid
        holder.kill()


def test_a_folder_is_one_process_s_and_free_when_it_dies(tmp_path):
    with (
        held_by_another(tmp_path) as pid,
        pytest.raises(ValueError, match=f"in use: process {pid} on "),
    ):
        locked(tmp_path).__enter__()
    with locked(tmp_path), locked(tmp_path):  # the same process, twice
        pass


def test_two_trainings_in_one_folder_do_not_mix(tmp_path, capsys):
    with held_by_another(tmp_path / "run"):
        assert opt_gym_cli([*RUN, "--out", str(tmp_path / "run")]) == 2
        assert "in use: process" in capsys.readouterr().err
        assert not (tmp_path / "run" / "run.json").exists()


def test_a_recipe_holds_its_task_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.json").write_text(json.dumps(quadratic(seed=5)))
    args = list(RUN)
    args[2] = "mine.json"
    assert opt_gym_cli([*args, "--out", "run"]) == 0
    (tmp_path / "mine.json").unlink()
    recipe = read_recipe(tmp_path / "run")
    assert recipe.tasks == [{"name": "mine", "config": quadratic(seed=5)}]
    assert opt_gym_cli(["resume", "run", "--outer-steps", "6"]) == 0
    assert read_recipe(tmp_path / "run").outer_steps == 6


@pytest.mark.parametrize(
    "content", ['{"seeds": "three"}', '{"tasks": 5}', '{"seed": true}', '{"a', "\x00"]
)
def test_a_damaged_recipe_is_named(tmp_path, capsys, content):
    (tmp_path / "run.json").write_text(content)
    assert opt_gym_cli(["resume", str(tmp_path)]) == 2
    assert "run.json is no recipe" in capsys.readouterr().err


def test_rows_of_a_log_are_matched_by_step(tmp_path):
    log = tmp_path / "log.csv"
    columns = CsvLog.COLUMNS
    rest = ",0" * (len(columns) - 1)
    lines = [",".join(columns), f"1{rest}", "2,0,\x00\xff", f"3{rest}", f"x{rest}"]
    log.write_bytes("\n".join([*lines, f"7{rest}", f"4{rest}"]).encode("latin-1"))
    with pytest.warns(UserWarning, match="lines 3, 5 are damaged"):
        assert [row[0] for row in read_rows(log, columns, 4)] == ["1", "3", "4"]


def test_a_log_that_cannot_be_written_is_its_own_error(tmp_path, capsys):
    out = tmp_path / "run"
    (out / "log.csv").mkdir(parents=True)
    assert opt_gym_cli([*RUN, "--out", str(out)]) == 2
    told = capsys.readouterr().err
    assert "log.csv" in told
    assert "a folder stands where a file is needed" in told


@pytest.mark.parametrize(
    "how", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_signal_leaves_a_checkpoint_and_a_status(tmp_path, how):
    out = tmp_path / "run"
    args = [*RUN, "--out", str(out), "--outer-steps", "1000000"]
    child = subprocess.Popen([sys.executable, "-c", CLI, *args], env=environment())
    deadline = time.monotonic() + 120
    log = out / "log.csv"
    while time.monotonic() < deadline and len(read_rows(log, CsvLog.COLUMNS, 9)) < 3:
        time.sleep(0.05)
    os.kill(child.pid, how)
    assert child.wait(timeout=60) == 128 + how
    assert list(out.glob("checkpoint-*.safetensors"))
    assert (out / "theta.safetensors").exists()


@pytest.mark.slow
@pytest.mark.parametrize("num", [20])
def test_ctrl_c_ends_a_measurement_with_a_status(tmp_path, num):
    args = ["normalize", "quadratic_family_seed7", "--again", "--num-seeds", "5000"]
    instants = np.random.default_rng(0)
    for _ in range(num):
        with subprocess.Popen(
            [sys.executable, "-c", CLI, *args, "--table", str(tmp_path / "table.csv")],
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
        ) as child:
            time.sleep(float(instants.uniform(3.0, 6.0)))
            assert child.poll() is None
            child.send_signal(signal.SIGINT)
            _, told = child.communicate(timeout=60)
        # The latter where it was still importing.
        assert child.returncode in (130, -signal.SIGINT), told
        assert "Segmentation" not in told


@pytest.mark.parametrize("field", ["outer_steps", "seeds"])
@pytest.mark.parametrize("value", [0, -5, 10**7])
def test_a_recipe_has_the_ranges_of_the_command(tmp_path, capsys, field, value):
    if (field, value) == ("outer_steps", 10**7):
        return  # that is many, and may be
    write_recipe(tmp_path, Recipe(**{field: value}))
    assert opt_gym_cli(["resume", str(tmp_path)]) == 2
    assert f"--{field.replace('_', '-')} must be" in capsys.readouterr().err


@pytest.mark.parametrize("num", [200, pytest.param(5_000, marks=pytest.mark.slow)])
def test_a_damaged_recipe_never_gives_another_run(tmp_path, num):
    recipe = Recipe(tasks=["quadratic"], options={"sigma": "0.3"}, learning_rate=0.013)
    write_recipe(tmp_path, recipe)
    path, random = tmp_path / "run.json", np.random.default_rng(0)
    content, expected = path.read_bytes(), read_recipe(tmp_path)
    for _ in range(num):
        path.write_bytes(mutated(content, random))
        try:
            assert read_recipe(tmp_path) == expected
        except ValueError:
            continue


def test_another_run_s_checkpoints_are_not_taken_over(tmp_path, capsys):
    """Neither by `train` nor as "done", whatever became of the recipe and of θ."""
    out = tmp_path / "run"
    assert opt_gym_cli([*RUN, "--out", str(out)]) == 0
    theta = (out / "theta.safetensors").read_bytes()
    (out / "theta.safetensors").write_bytes(b"")
    assert opt_gym_cli(["resume", str(out)]) == 0
    assert (out / "theta.safetensors").read_bytes() == theta
    recipe = read_recipe(out)
    write_recipe(
        out, recipe._replace(options={**(recipe.options or {}), "sigma": "0.3"})
    )
    assert opt_gym_cli(["resume", str(out)]) == 2
    assert "another configuration" in capsys.readouterr().err
    (out / "run.json").unlink()
    for seeds in ("1", "2"):
        moved = out if seeds == "1" else tmp_path / "seeds"
        args = [*RUN, "--out", str(moved), "--seeds", seeds]
        assert opt_gym_cli(args) == 2
        assert "holds a run already" in capsys.readouterr().err
        (tmp_path / "seeds").mkdir(exist_ok=True)
        shutil.copytree(out, tmp_path / "seeds/seed0", dirs_exist_ok=True)


def test_a_run_has_its_own_copies_of_theta_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    optimizer = learned.make("mlp", hidden=4)
    for name in ("first.safetensors", "outer.safetensors"):
        theta = optimizer.init_theta(jax.random.key(len(name)))
        learned.save(tmp_path / name, optimizer, theta)
    args = [*RUN[:5], *RUN[10:], "--out", "run"]  # no architecture: θ brings it
    args += ["--start", "first.safetensors", "--outer-optimizer", "outer.safetensors"]
    assert opt_gym_cli(args) == 0
    for name in ("first.safetensors", "outer.safetensors"):
        (tmp_path / name).unlink()
    (tmp_path / "run").rename(tmp_path / "moved")
    assert opt_gym_cli(["resume", "moved", "--outer-steps", "6"]) == 0


def test_what_is_set_aside_stays_there(tmp_path):
    for content in (b"one", b"two"):
        (tmp_path / "checkpoint-00000003.safetensors").write_bytes(content)
        checkpoint.set_aside(tmp_path)
    aside = sorted(tmp_path.glob("checkpoint-*"))
    assert [path.read_bytes() for path in aside] == [b"one", b"two"]


def test_a_folder_in_the_place_of_a_checkpoint_ends_no_run(tmp_path):
    out = tmp_path / "run"
    (out / "checkpoint-00000000.safetensors").mkdir(parents=True)
    state = {"x": np.zeros(2)}
    for step in (1, 2, 3):
        checkpoint.save(out, state, outer_step=step, seed=0, config={})
    assert len(list(out.glob("checkpoint-*"))) == 3


@pytest.mark.slow
def test_held_out_tasks_may_be_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.json").write_text(json.dumps(quadratic(seed=5)))
    args = [*RUN, "--out", "run", "--evaluate-on", "mine.json", "--evaluate-seeds", "1"]
    assert opt_gym_cli([*args, "--evaluate-every", "2"]) == 0
    assert "mine" in (tmp_path / "run/evaluations.csv").read_text()

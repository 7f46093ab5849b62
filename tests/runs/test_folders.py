"""A run's folder: one process at a time, recipes that travel, logs that are damaged."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import pytest

from agents.callbacks import CsvLog, read_rows
from agents.run_lock import locked
from opt_gym.cli import main as opt_gym_cli
from opt_gym.cli._recipe import read_recipe
from tests.citizenship.test_optax_state import environment
from tests.gym.problems import quadratic
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
    written = json.loads((tmp_path / "run/run.json").read_text())
    written["outer_steps"] = 6
    (tmp_path / "run/run.json").write_text(json.dumps(written))
    assert opt_gym_cli(["resume", str(tmp_path / "run")]) == 0


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
    assert [row[0] for row in read_rows(log, columns, 4)] == ["1", "3", "4"]


def test_a_log_that_cannot_be_written_is_its_own_error(tmp_path, capsys):
    out = tmp_path / "run"
    (out / "log.csv").mkdir(parents=True)
    assert opt_gym_cli([*RUN, "--out", str(out)]) == 2
    told = capsys.readouterr().err
    assert "log.csv" in told
    assert "a folder stands where a file is needed" in told


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
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


@pytest.mark.parametrize("num", [1, pytest.param(20, marks=pytest.mark.slow)])
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

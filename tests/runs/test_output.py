"""Whoever reads what a command says may go away, or know no Greek letters."""

import subprocess
import sys

from tests.citizenship.test_optax_state import environment
from tests.runs.test_checkpoints import RUN
from tests.runs.test_folders import CLI

OPT_GYM = f"{sys.executable} -c '{CLI}'"


def shell(command, **changes):
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        capture_output=True,
        text=True,
        env=environment(**changes),
        check=False,
    )


def test_a_training_goes_on_where_nobody_listens(tmp_path):
    train = " ".join([OPT_GYM, *RUN])
    for number, pipe in enumerate(("| head -1", "2>&1 | head -1", "2>&1 | true")):
        out = tmp_path / f"run{number}"
        done = shell(f"{train} --out {out} {pipe}")
        assert done.returncode == 0, done.stderr
        assert (out / "theta.safetensors").exists()
        assert "Traceback" not in done.stderr


def test_a_listing_ends_quietly():
    done = shell(f"{OPT_GYM} list | head -1")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_terminal_of_plain_ascii_is_no_fault(tmp_path):
    train = " ".join([OPT_GYM, *RUN])
    done = shell(f"{train} --out {tmp_path / 'run'}", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "\\u03b8" in done.stdout

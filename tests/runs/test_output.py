"""Whoever reads what a command says may go away, or know no Greek letters."""

import errno
import io
import os
import subprocess
import sys

import pytest

from opt_gym import cli
from opt_gym.cli import _output
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


@pytest.mark.parametrize(
    "pipe",
    [
        "2>&1 | true",
        *(
            pytest.param(f"{said}| head -1", marks=pytest.mark.slow)
            for said in ("", "2>&1 ")
        ),
    ],
)
def test_a_training_goes_on_where_nobody_listens(tmp_path, pipe):
    out = tmp_path / "run"
    done = shell(f"{' '.join([OPT_GYM, *RUN])} --out {out} {pipe}")
    assert done.returncode == 0, done.stderr
    assert (out / "theta.safetensors").exists()
    assert "Traceback" not in done.stderr


def test_a_listing_ends_quietly():
    done = shell(f"{OPT_GYM} list | head -1")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_a_terminal_of_plain_ascii_is_no_fault(tmp_path):
    train = " ".join([OPT_GYM, *RUN])
    done = shell(f"{train} --out {tmp_path / 'run'}", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "\\u03b8" in done.stdout


def test_a_signal_ends_the_program_at_once(monkeypatch):
    ended = []
    monkeypatch.setattr(cli, "main", lambda: 3)
    assert cli.console() == 3
    monkeypatch.setattr(cli, "main", lambda: 143)
    monkeypatch.setattr(cli.os, "_exit", ended.append)
    cli.console()
    assert ended == [143]


def test_streams_that_are_closed_or_gone_are_hushed(monkeypatch, tmp_path):
    class Gone(io.StringIO):
        number = -1

        def write(self, text):
            raise BrokenPipeError

        def flush(self):
            raise BrokenPipeError

        def fileno(self):
            return self.number

    with (tmp_path / "file").open("w") as file:
        gone = Gone()
        gone.number = os.dup(file.fileno())
        closed = io.StringIO()
        closed.close()
        monkeypatch.setattr("sys.stdout", gone)
        monkeypatch.setattr("sys.stderr", closed)
        with _output.lasting():
            sys.stdout.write("nobody hears this\n")
            sys.stderr.write("nor this\n")
        assert sys.stdout is gone
        os.close(gone.number)


def test_streams_that_were_never_there_are_opened(monkeypatch):
    monkeypatch.setattr("sys.stdout", None)
    monkeypatch.setattr("sys.stderr", None)
    with _output.lasting():
        sys.stdout.write("nobody hears this\n")
        sys.stderr.write("nor this\n")
    sys.stdout.close()
    sys.stderr.close()


@pytest.mark.parametrize(
    "closed",
    [
        "<&- >&- 2>&-",
        *(pytest.param(one, marks=pytest.mark.slow) for one in ("2>&-", ">&-")),
    ],
)
def test_a_training_needs_no_streams(tmp_path, closed):
    out = tmp_path / "run"
    assert shell(f"{' '.join([OPT_GYM, *RUN])} --out {out} {closed}").returncode == 0
    assert (out / "theta.safetensors").exists()
    assert list(out.glob("checkpoint-*.safetensors"))


@pytest.mark.slow
def test_commands_that_work_do_it_where_nobody_listens(tmp_path):
    table = tmp_path / "table.csv"
    names = "quadratic_family_seed0 quadratic_family_seed5"
    few = "--num-seeds 1 --learning-rates 1e-3 3e-3 1e-2 3e-2 0.1 0.3 1"
    measure = f"{OPT_GYM} normalize {names} {few} --table {table}"
    done = shell(f"{measure} 2>&1 | true")
    assert done.returncode == 0, done.stderr
    assert len(table.read_text().splitlines()) == 3


def test_help_fits_any_terminal():
    done = shell(f"timeout 60 {OPT_GYM} train --help", COLUMNS="1")
    assert done.returncode == 0
    assert "--outer-steps" in done.stdout


def test_an_error_of_the_file_system_says_what_helps():
    full = cli._what_to_do(OSError(errno.ENOSPC, "full", "a/file"))
    assert full.endswith("'a/file'; make room there, or name another folder")
    assert cli._what_to_do(OSError(errno.EIO, "broken")) == "[Errno 5] broken"

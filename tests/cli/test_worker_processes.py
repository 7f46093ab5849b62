"""A worker ends with its parent, however that ended."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

PARENT = """
from opt_gym.runtime.worker_processes import run_jobs
if __name__ == "__main__":
    list(run_jobs("tests.cli.test_worker_processes:wait", [{path!r}], workers=1))
"""


def wait(job, report):
    """A job that says which process does it and does not end."""
    Path(job).write_text(str(os.getpid()))
    time.sleep(60)


def is_alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


def test_a_killed_parent_leaves_no_worker(tmp_path):
    script, said = tmp_path / "parent.py", tmp_path / "pid"
    script.write_text(PARENT.format(path=str(said)))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, str(script)], env=environment) as parent:
        assert until(lambda: said.exists() and said.read_text() != "")
        worker = int(said.read_text())
        assert is_alive(worker)
        parent.send_signal(signal.SIGKILL)
    assert until(lambda: not is_alive(worker))


def test_a_script_without_its_guard_is_told_so(tmp_path):
    script = tmp_path / "no_guard.py"
    script.write_text(
        "from opt_gym.runtime.worker_processes import run_jobs\n"
        "print([outcome.error for outcome in run_jobs('math:sqrt', [4.0])])\n"
    )
    run = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120
    )
    assert "as it started: a script that starts processes does so under" in run.stdout

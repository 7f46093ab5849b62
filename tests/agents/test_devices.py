"""One run on one device, on eight, and on those of two processes."""

import os
import socket
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests import toy

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import sys
num_devices, process, processes, address, out = sys.argv[1:]
import jax
import opt_gym
if int(processes) > 1:
    jax.distributed.initialize(address, int(processes), int(process))
opt_gym.use_all_cores(int(num_devices))
import agents
import time
from tests import toy
trainer, data = toy.trainer_whose_tasks_take_turns(num_pairs=8)
slow = lambda *_: time.sleep(0.04 * (int(process) == 0))
seconds = 0.06 if int(processes) > 1 else 30.0  # often, by clocks that differ
result = agents.train(
    trainer, data, outer_steps=6, out=out or None, callbacks=[slow],
    checkpoint_seconds=seconds,
)
print(jax.device_count(), float(result.theta["learning_rate"]).hex())
"""


def begin(num_devices, process=0, processes=1, address="", out=""):
    words = [str(x) for x in (num_devices, process, processes, address, out)]
    return subprocess.Popen(
        [sys.executable, "-c", CODE, *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(child):
    """(devices there were, θ)"""
    out, error = child.communicate(timeout=120)
    assert child.returncode == 0, error
    count, theta = out.splitlines()[-1].split()
    return int(count), float.fromhex(theta)


def free_address():
    with socket.socket() as one:
        one.bind(("localhost", 0))
        return f"localhost:{one.getsockname()[1]}"


@cache
def here():
    """θ of this process, whose devices are two."""
    import agents

    trainer, data = toy.trainer_whose_tasks_take_turns(num_pairs=8)
    result = agents.train(trainer, data, outer_steps=6)
    return float(result.theta["learning_rate"])


@pytest.mark.parametrize("num_devices", [pytest.param(8, marks=pytest.mark.slow), 1])
def test_other_numbers_of_devices_give_the_same_numbers(num_devices):
    count, theta = ended(begin(num_devices))
    assert count == num_devices
    np.testing.assert_allclose(theta, here(), rtol=1e-6)


def test_two_processes_share_the_unrolls_and_one_of_them_writes(tmp_path):
    address = free_address()
    children = [begin(1, i, 2, address, tmp_path) for i in (0, 1)]
    found = [ended(child) for child in children]
    assert found[0] == found[1]
    assert found[0][0] == 2
    np.testing.assert_allclose(found[0][1], here(), rtol=1e-6)
    names = sorted(path.name for path in tmp_path.glob("[!.]*"))
    assert names[1:] == ["checkpoint-00000006.safetensors", "log.csv"]
    assert names[0] < names[1]  # there was one on the way

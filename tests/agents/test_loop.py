"""The outer loop: resumed bit for bit, whatever stopped it."""

import functools
import os
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest

import agents
import learned
import opt_gym
from agents import checkpoint
from agents.callbacks import CsvLog, ProgressBar
from agents.estimators.gradient_trainer import gradient_trainer
from agents.host_arrays import to_host
from agents.records import Estimate, GradientEstimator
from opt_gym.env import num_weights
from tests import toy

ROOT = Path(__file__).resolve().parents[2]


@cache  # its programs compile once; the killed runs show that a new process gives the same
def make_trainer(**settings):
    env, optimizer, _ = toy.sgd_env(toy.quadratic(noise=0.1))
    settings = {"num_pairs": 2, "trunc_length": 2, "horizon": (2, 8), **settings}
    return agents.make(
        "pes",
        envs=[env],
        learned_optimizer=optimizer,
        outer_optimizer=optax.adam(1e-2),
        sigma=0.05,
        **settings,
    )


def run(out=None, outer_steps=8, **keywords):
    return agents.train(
        make_trainer(), [{}], outer_steps=outer_steps, out=out, **keywords
    )


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_resumed_run_is_the_unbroken_run_bit_for_bit(tmp_path):
    unbroken = run()
    run(tmp_path, outer_steps=3)
    resumed = run(tmp_path, resume=True)
    same(resumed.theta, unbroken.theta)
    assert (resumed.outer_step, len(resumed.reports)) == (8, 5)
    assert resumed.reports == unbroken.reports[3:]
    rows = (tmp_path / "log.csv").read_text().splitlines()
    assert rows[0].split(",") == list(CsvLog.COLUMNS)
    assert [row.split(",")[0] for row in rows[1:]] == [str(i) for i in range(1, 9)]


def test_so_is_one_whose_tasks_take_turns_at_being_live(tmp_path):
    """The unrolls of a task end when it gives way, and begin anew when it comes back."""
    trainer, data = toy.trainer_whose_tasks_take_turns()
    run = functools.partial(agents.train, trainer, data, outer_steps=8, out=tmp_path)
    kept = []

    def keep(now):
        kept.append(list(now.state.estimators))

    unbroken = run(callbacks=[keep], checkpoint_seconds=0.0)
    assert kept == [[0]] * 3 + [[1]] * 4 + [[0]]
    # Back to a step when the other task was live.
    damage(tmp_path / "checkpoint-00000008.safetensors")
    resumed = run(resume=True)
    assert len(resumed.reports) == 1
    same(to_host(resumed.state), to_host(unbroken.state))


def damage(path):
    path.write_bytes(path.read_bytes()[:-7])


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["es", "truncated_es", "es_single", "backprop", "inverse_variance"]
)
def test_so_is_that_of_every_other_estimator(tmp_path, name):
    env, optimizer, _ = toy.sgd_env(toy.quadratic(noise=0.1))
    num = {"num_problems" if name == "backprop" else "num_pairs": 4}
    trainer = agents.make(
        name,
        envs=agents.task_mix([env, env], per_step=2),
        learned_optimizer=optimizer,
        outer_optimizer=optax.adam(1e-2),
        trunc_length=2,
        horizon=(2, 8),
        curriculum=4,
        sigma=0.05,
        **num,
    )
    unbroken = agents.train(trainer, [{}, {}], outer_steps=6)
    agents.train(trainer, [{}, {}], outer_steps=3, out=tmp_path)
    resumed = agents.train(trainer, [{}, {}], outer_steps=6, out=tmp_path, resume=True)
    same(resumed.theta, unbroken.theta)
    assert resumed.reports == unbroken.reports[3:]


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, caplog):
    unbroken = run()
    run(tmp_path, outer_steps=5, checkpoint_seconds=0.0)
    newest = max(tmp_path.glob("checkpoint-*"))
    newest.write_bytes(newest.read_bytes()[:-8])
    resumed = run(tmp_path, resume=True)
    assert len(resumed.reports) == 8 - 4
    assert "falling back" in caplog.text
    same(resumed.theta, unbroken.theta)
    # The numbers themselves have a checksum.
    newest = max(tmp_path.glob("checkpoint-*"))
    newest.write_bytes(newest.read_bytes()[:-8] + bytes(8))
    header = checkpoint.newest_header(tmp_path)
    assert header is not None
    assert header["outer_step"] == 4
    for path in tmp_path.glob("checkpoint-*"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"no checkpoint in .* can be read"):
        run(tmp_path, resume=True)


def test_a_log_that_cannot_be_rewritten_stays_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "log.csv"
    run(tmp_path, outer_steps=3)
    before = path.read_text()

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("opt_gym.runtime.files.os.replace", full)
        with pytest.raises(OSError, match="No space left"):
            CsvLog(path).begin(2)
    assert path.read_text() == before


KILLED = """
import sys, jax
import opt_gym
opt_gym.use_all_cores(2)
from tests.agents.test_loop import run
run(sys.argv[1], outer_steps=100_000, checkpoint_seconds=0.0)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_goes_on_bit_for_bit(tmp_path, how):
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("checkpoint-*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(how)
    child.wait(timeout=60)
    header = checkpoint.newest_header(tmp_path)
    assert header is not None
    steps = header["outer_step"] + 2
    resumed = run(tmp_path, outer_steps=steps, resume=True)
    same(resumed.theta, run(outer_steps=steps).theta)


FULL = """
import resource, sys
import opt_gym
opt_gym.use_all_cores(2)
from tests.agents.test_loop import run

def fill(progress):
    if progress.outer_step == 5:  # no file may grow beyond what a checkpoint needs
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))

run(sys.argv[1], outer_steps=100, checkpoint_seconds=0.0, callbacks=[fill])
"""


def test_a_full_disk_loses_only_the_steps_since_the_last_checkpoint(tmp_path):
    child = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode != 0
    assert "OSError: [Errno 27] File too large" in child.stderr
    left = sorted(path.name for path in tmp_path.glob("[!.]*"))
    assert left == [
        "checkpoint-00000003.safetensors",
        "checkpoint-00000004.safetensors",
        "log.csv",
    ]
    resumed = run(tmp_path, resume=True)
    assert len(resumed.reports) == 8 - 4
    same(resumed.theta, run().theta)


@pytest.mark.slow  # 4 minutes
def test_a_run_killed_at_a_hundred_random_instants_is_the_unbroken_run(tmp_path):
    instants, steps = np.random.default_rng(0), 3000
    for _ in range(100):
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED_AND_RESUMED, str(tmp_path), str(steps)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        deadline = time.monotonic() + 120
        before = newest(tmp_path)
        while newest(tmp_path) == before and time.monotonic() < deadline:
            time.sleep(0.01)  # it is under way
        time.sleep(float(instants.uniform(0.0, 0.3)))
        child.kill()
        child.wait()
    header = checkpoint.newest_header(tmp_path)
    assert header is not None
    assert 100 <= header["outer_step"] < steps
    end = header["outer_step"] + 2
    resumed = run(tmp_path, outer_steps=end, resume=True)
    same(resumed.theta, run(outer_steps=end).theta)
    rows = (tmp_path / "log.csv").read_text().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == [str(i + 1) for i in range(end)]


KILLED_AND_RESUMED = """
import sys
from pathlib import Path
import opt_gym
opt_gym.use_all_cores(2)
from tests.agents.test_loop import run
out = Path(sys.argv[1])
begun = any(out.glob("checkpoint-*"))
run(out, outer_steps=int(sys.argv[2]), checkpoint_seconds=0.0, resume=begun)
"""


def newest(folder):
    return max((path.name for path in folder.glob("checkpoint-*")), default="")


def test_ctrl_c_ends_after_the_step_under_way(tmp_path):
    def interrupt(progress):
        if progress.outer_step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    stopped = run(tmp_path, callbacks=[interrupt])
    assert (stopped.interrupted, stopped.outer_step) == (True, 3)
    assert signal.getsignal(signal.SIGINT) is before
    resumed = run(tmp_path, resume=True)
    same(resumed.theta, run().theta)


def test_a_gradient_that_is_not_finite_does_not_reach_theta():
    theta = {"learning_rate": np.float32(0.1)}
    result = agents.train(made_up(np.nan), [{}], outer_steps=2, theta=theta)
    same(result.theta, theta)
    assert [report.skipped for report in result.reports] == [1.0, 1.0]
    # One task of two: the other's gradient counts in full.
    trainer = made_up(np.nan, 3.0, per_step=2)
    result = agents.train(trainer, [{}, {}], outer_steps=1, theta=theta)
    np.testing.assert_allclose(result.theta["learning_rate"], 0.1 - 3.0, rtol=1e-6)
    assert result.reports[0][1:] == (3.0, 0.0, 0.0, 0.0, 1.0)


def made_up(*gradients, balanced=False, **mix):
    """A trainer with one task for each of these gradients, outer optimizer SGD of rate 1."""
    env, optimizer, _ = toy.sgd_env(toy.quadratic())
    envs = [env._replace(config={"gradient": grad}) for grad in gradients]

    def of_env(env):
        def step(key, data, theta, state, outer_step):
            grad = jax.tree.map(lambda x: 0 * x + env.config["gradient"], theta)
            return state, Estimate(grad, *(jax.numpy.zeros(()) for _ in range(4)))

        return GradientEstimator(lambda *_: (), step)

    mixed = agents.task_mix(envs, **mix)
    rest = mixed, optimizer, optax.sgd(1.0)
    return gradient_trainer("made up", {}, of_env, *rest, balanced=balanced)


def test_balanced_tasks_count_alike_whatever_the_size_of_their_gradients():
    trainer = made_up(1000.0, -0.01, 1e-3, per_step=3, balanced=True)
    assert trainer.config["balanced"]
    theta = {"learning_rate": jax.numpy.float32(0.0)}
    state = trainer.init(jax.random.key(0), ({},) * 3, theta)
    for count in (1, 2, 3):
        state, report = trainer.step(jax.random.key(count), ({},) * 3, state)
        # 1 − 1 + 1 of three tasks, each step alike.
        np.testing.assert_allclose(state.theta["learning_rate"], -count / 3, rtol=1e-5)
        np.testing.assert_allclose(report.grad_norm, 1 / 3, rtol=1e-5)


def test_the_running_average_of_theta_is_unbiased():
    last = agents.train(make_trainer(), [{}], outer_steps=1)
    averaged = agents.train(make_trainer(theta_average=0.9), [{}], outer_steps=1)
    np.testing.assert_allclose(
        averaged.theta["learning_rate"], last.theta["learning_rate"], rtol=1e-6
    )


def test_training_lowers_the_outer_loss():
    theta: Any = {"learning_rate": np.float32(0.05)}
    result = agents.train(
        make_trainer(num_pairs=8, horizon=8), [{}], outer_steps=120, theta=theta
    )
    assert float(toy.outer_loss(result.theta["learning_rate"], 8)) < 0.8 * float(
        toy.outer_loss(0.05, 8)
    )


def test_the_progress_bar_says_what_it_should(tmp_path):
    with (tmp_path / "bar").open("w") as file:
        run(callbacks=[ProgressBar(file=file)])
    text = (tmp_path / "bar").read_text()
    assert "8/8" in text
    assert "outer-loss" in text
    assert "inner steps/s" in text


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ValueError, match="outer_steps must be an integer >= 1, got 0"):
        run(outer_steps=0)
    with pytest.raises(ValueError, match="1 envs need as many data, got 0"):
        agents.train(make_trainer(), [], outer_steps=1)
    with pytest.raises(ValueError, match="needs out="):
        run(resume=True)
    with pytest.raises(ValueError, match="holds no checkpoint"):
        run(tmp_path, resume=True)
    run(tmp_path, outer_steps=1)
    with pytest.raises(ValueError, match="holds a run already"):
        run(tmp_path, outer_steps=1)
    with pytest.raises(ValueError, match="begun with seed 0, not 7"):
        run(tmp_path, resume=True, seed=7)
    with pytest.raises(ValueError, match="another configuration"):
        agents.train(
            make_trainer(num_pairs=3), [{}], outer_steps=2, out=tmp_path, resume=True
        )
    with pytest.raises(ValueError, match="option of trainer 'pes': 'num_pair'"):
        make_trainer(num_pair=3)
    nobody: Any = None
    with pytest.raises(ValueError, match="at least one env"):
        agents.make(
            "es", envs=[], learned_optimizer=nobody, outer_optimizer=optax.sgd(1.0)
        )


def test_the_result_s_learned_optimizer_is_what_a_file_gives_back(tmp_path):
    """Its horizon and its clamp; the one inside training looks at all times."""
    optimizer = learned.make("mlp", hidden=2)
    env = opt_gym.make(toy.quadratic(), learned_optimizer=optimizer, data="embedded")
    trainer = agents.make(
        "random_search",
        envs=[env],
        learned_optimizer=optimizer,
        population=2,
        trunc_length=2,
        horizon=(2, 4),
    )
    result = agents.train(trainer, [{}], outer_steps=1)
    trained = result.learned_optimizer
    path = learned.save(tmp_path / "theta.safetensors", trained, result.theta)
    loaded, theta = learned.load(path)
    same(theta, result.theta)
    fields = ("name", "config", "trained_horizon", "trained_size")
    said = [[getattr(o, field) for field in fields] for o in (trained, loaded)]
    config, size = {**optimizer.config, "time_clamp": 4}, num_weights(env.task, {})
    assert said[0] == said[1] == ["mlp", config, 4, size]
    assert trainer.learned_optimizer.config["time_clamp"] is None

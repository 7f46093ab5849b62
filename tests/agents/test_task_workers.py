"""Worker processes that hold the tasks: the same numbers as in one process, whoever dies."""

import os
import signal
from functools import partial
from multiprocessing import Pipe

import jax
import numpy as np
import optax
import pytest

import agents
from agents import task_workers as task_workers_file
from agents.records import Call
from agents.task_workers import task_workers
from tests import toy

NUM_TASKS = 5


def make_trainer(grow_by=2, learning_rate=1e-2, broken=False):
    """PES on five quadratics, two an outer step, two more with every step."""
    if broken:
        raise RuntimeError("cannot be made")
    envs = [toy.sgd_env(toy.quadratic(n, noise=0.1))[0] for n in range(2, 7)]
    return agents.make(
        "pes",
        envs=agents.task_mix(envs, per_step=2, grow_by=grow_by),
        learned_optimizer=toy.sgd_env(toy.quadratic())[1],
        outer_optimizer=optax.adam(learning_rate),
        num_pairs=3,
        trunc_length=2,
        horizon=(2, 4),
        sigma=0.05,
    )


def test_tasks_become_live_by_and_by():
    mix = agents.task_mix(make_trainer().envs, per_step=2, grow_by=2)
    assert [len(mix.live(step)) for step in range(4)] == [2, 4, 5, 5]
    assert [mix.pick(step) for step in range(3)] == [(0, 1), (2, 3), (4, 0)]
    slowly = mix._replace(grow_by=1)
    assert [slowly.pick(step) for step in range(3)] == [(0,), (0, 1), (1, 2)]
    assert "grow_by" not in make_trainer(grow_by=0).config["mix"]
    for settings, said in (
        ({"grow_by": -1}, "grow_by must be an integer >= 0, got -1"),
        ({"grow_by": 1, "max_programs": 3}, "needs all 5 tasks live in the end"),
    ):
        with pytest.raises(ValueError, match=said):
            agents.task_mix(mix.envs, (), per_step=2, **settings)


def test_held_tasks_give_the_same_numbers_and_small_checkpoints(tmp_path):
    trainer, seen = make_trainer(), []
    data = [{} for _ in trainer.envs]
    alone = agents.train(trainer, data, outer_steps=5)
    told = lambda ready, of: seen.append((ready, of))  # noqa: E731
    with task_workers(make_trainer, 2, told) as workers:
        spread = workers.spread(trainer)
        result = agents.train(spread, data, outer_steps=5, out=tmp_path)
        with pytest.raises(ValueError, match="makes another trainer than this"):
            workers.spread(trainer._replace(config={}))
    assert seen == [(i, NUM_TASKS) for i in range(NUM_TASKS + 1)]
    np.testing.assert_allclose(
        result.theta["learning_rate"], alone.theta["learning_rate"], rtol=1e-6
    )
    np.testing.assert_allclose(
        [report.outer_loss for report in result.reports],
        [report.outer_loss for report in alone.reports],
        rtol=1e-6,
    )
    assert result.state.estimators == dict.fromkeys(range(NUM_TASKS), ())
    assert not jax.tree.leaves(result.state.estimators)


def test_what_fails_in_a_worker_is_said():
    with (
        task_workers(partial(make_trainer, broken=True), 1) as workers,
        pytest.raises(ValueError, match=r"failed in a worker: RuntimeError: cannot be"),
    ):
        workers.spread(make_trainer())
    with (
        pytest.raises(ValueError, match="num_workers must be an integer >= 1, got 0"),
        task_workers(make_trainer, 0),
    ):
        pass


class Said:
    """A worker that has said something."""

    def __init__(self, *messages):
        self.pipe, theirs = Pipe()
        self.closed = False
        for message in messages:
            theirs.send(message)

    def send(self, kind, call):
        pass

    def close(self):
        self.closed = True


def test_after_a_task_failed_nobody_takes_old_answers_for_new_ones(monkeypatch):
    said = [Said(("error", 0, "no memory")), Said(("estimate", 1, "of this step"))]
    monkeypatch.setattr(task_workers_file, "_Process", lambda make, place: said[place])
    workers = task_workers_file.TaskWorkers(make_trainer, 2, lambda ready, of: None)
    calls = [Call(task, jax.random.key(0), {}, (), 0) for task in range(2)]
    with pytest.raises(ValueError, match="task 0: no memory"):
        workers._run((), calls)
    assert all(worker.closed for worker in said)
    with pytest.raises(RuntimeError, match="have ended: task 0: no memory"):
        workers._run((), calls)


@pytest.mark.slow  # half a minute: three processes start, one after another
def test_a_killed_worker_is_replaced_and_a_run_resumed(tmp_path, caplog):
    trainer = make_trainer()
    data = [{} for _ in trainer.envs]
    with task_workers(make_trainer, 2) as workers:
        before = workers.process_ids()

        def kill(progress):
            if progress.outer_step == 2:
                os.kill(before[0], signal.SIGKILL)

        spread = workers.spread(trainer)
        result = agents.train(
            spread, data, outer_steps=4, out=tmp_path, callbacks=[kill]
        )
        after = workers.process_ids()
        assert "worker 0 died" in caplog.text
        assert (after[0] != before[0], after[1] == before[1]) == (True, True)
        resumed = agents.train(spread, data, outer_steps=6, out=tmp_path, resume=True)
    assert resumed.outer_step == 6
    assert len(resumed.reports) == 2
    assert np.isfinite(resumed.theta["learning_rate"])
    assert result.theta["learning_rate"] != resumed.theta["learning_rate"]

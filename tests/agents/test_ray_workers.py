"""Tasks spread over worker processes: the same numbers, whoever dies."""

import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest

import agents
from agents.host_arrays import from_host, to_host
from agents.ray_workers import (
    Workers,
    divide,
    last_ends,
    ray_workers,
)
from tests import toy

pytestmark = pytest.mark.filterwarnings("ignore:.*os.fork")
OUTER_STEPS = 9  # a task comes that is new, and one that was away


def make_trainer():
    return toy.trainer_whose_tasks_take_turns(live=2)


@pytest.mark.slow  # minutes: four processes compile
def test_a_killed_worker_is_replaced_and_its_work_done_again(caplog):
    trainer, data = make_trainer()
    alone = agents.train(trainer, data, outer_steps=OUTER_STEPS)
    with ray_workers(make_trainer, num_workers=2) as workers:
        before = workers.process_ids()

        def kill(progress):
            if progress.outer_step == 2:
                os.kill(before[0], signal.SIGKILL)

        result = agents.train(
            workers.spread(trainer), data, outer_steps=OUTER_STEPS, callbacks=[kill]
        )
        after = workers.process_ids()
        with pytest.raises(ValueError, match="makes another trainer than this"):
            workers.spread(trainer._replace(config={}))
    assert "worker 0 died" in caplog.text
    assert (after[0] != before[0], after[1] == before[1]) == (True, True)
    np.testing.assert_allclose(
        result.theta["learning_rate"], alone.theta["learning_rate"], rtol=1e-6
    )


def test_work_is_divided_by_the_seconds_it_takes():
    seconds = [84.0, 199.0, 58.0, 109.0]
    workers = divide(seconds, 2)
    assert (workers, last_ends(workers, seconds)) == ([1, 0, 1, 1], 251.0)
    assert last_ends([0, 1, 0, 1], seconds) == 308.0
    assert divide([1.0] * 4, 2) == [0, 1, 0, 1]


def test_tasks_stay_where_they_are_compiled_unless_that_is_slow():
    workers = object.__new__(Workers)
    workers._workers, workers._home, workers._seconds = [None] * 2, {}, {}
    calls = [SimpleNamespace(task=i) for i in range(4)]
    assert workers._assigned(calls) == [0, 1, 0, 1]
    workers._seconds = {0: 1.0, 1: 1.1, 2: 1.0, 3: 1.1}  # [0, 1, 1, 0] is no better
    assert workers._assigned(calls) == [0, 1, 0, 1]
    workers._seconds = {0: 84.0, 1: 199.0, 2: 58.0, 3: 109.0}
    assert workers._assigned(calls) == [1, 0, 1, 1]
    assert workers._assigned(calls[:1]) == [1]


def test_what_is_sent_comes_back():
    import jax

    tree = (jax.random.key(3), {"x": jax.numpy.arange(3.0)}, 7)
    back = from_host(to_host(tree))
    assert jax.random.key_data(back[0]).tolist() == [0, 3]
    np.testing.assert_array_equal(back[1]["x"], [0, 1, 2])
    assert back[2] == 7


def test_mistakes_are_named():
    with (
        pytest.raises(ValueError, match="num_workers must be an integer >= 1, got 0"),
        ray_workers(make_trainer, num_workers=0),
    ):
        pass

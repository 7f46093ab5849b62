"""Unlike tasks spread over worker processes, on this machine or on many, through Ray.

    trainer = agents.make("pes", envs=agents.task_mix(envs, per_step=4), ...)
    with ray_workers(make_trainer, num_workers=4) as workers:
        agents.train(workers.spread(trainer), data, ...)

A worker is a process on one core, number i on core i of its machine, that makes the same
trainer and compiles the tasks it is given. It gets θ, a key and the state of a task's inner
problems, and returns their new state and a gradient estimate; the learner merges them. So
nothing is lost with a worker: one that died is replaced, and its work is done again, with the
same result. Tasks go to the worker that has them compiled, unless another division of them,
by the seconds that each was seen to take, would be done much sooner.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from agents.checkpoint import digest
from agents.host_arrays import from_host, to_host
from agents.records import Call, Estimate, GradientParts, OuterTrainer, Runner
from opt_gym.checks import check_whole
from opt_gym.records import Data
from opt_gym.runtime import strategy
from opt_gym.runtime.worker_processes import keep_to

MakeTrainer = Callable[[], tuple[OuterTrainer, Sequence[Data]]]
"""Makes a trainer and its data; called once in every worker. Ray sends it there."""

MAX_RETRIES = 3
"""A task whose worker dies so often in one outer step kills workers: that is an error."""

LOCAL_SLOTS = 256
"""Workers that may be on this machine; Ray counts cores, it does not bind them."""

MUCH_SOONER = 1.1
"""A division that is faster by this factor is worth compiling tasks anew."""

_log = logging.getLogger(__name__)


@contextmanager
def ray_workers(make_trainer: MakeTrainer, num_workers: int) -> Iterator["Workers"]:
    """Workers for as long as the context is open.

    Args:
        make_trainer: what every worker calls; the trainer must be the learner's.
        num_workers: processes, each with a core of its own.

    Raises:
        ValueError: num_workers < 1, Ray is not installed.
    """
    check_whole("num_workers", num_workers, 1)
    try:
        import ray
    except ImportError as error:
        raise ValueError("workers need the package ray: pip install ray") from error
    begun_here = not ray.is_initialized()
    if begun_here:
        ray.init(
            num_cpus=LOCAL_SLOTS,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
        )
    workers = Workers(make_trainer, num_workers)
    try:
        yield workers
    finally:
        workers.close()
        if begun_here:
            ray.shutdown()


class _Worker:
    """What runs in a worker process."""

    def __init__(self, make_trainer: MakeTrainer, core: int) -> None:
        keep_to(core)
        strategy.use_all_cores(1)
        trainer, data = make_trainer()
        assert trainer.parts is not None
        self._parts: GradientParts = trainer.parts
        self._config = digest(trainer.config)
        self._data = data
        self._compiled: set[int] = set()

    def config(self) -> str:
        """A digest of the trainer's config."""
        return self._config

    def process_id(self) -> int:
        """For who wants to look at it."""
        return os.getpid()

    def estimate(self, call: Any) -> Any:
        """(one task's estimate, seconds; None where some of them were compilation)."""
        began = time.monotonic()
        call = Call(*from_host(tuple(call)))
        estimate = to_host(self._parts.estimate(self._data[call.task], call))
        seconds = time.monotonic() - began if call.task in self._compiled else None
        self._compiled.add(call.task)
        return estimate, seconds


class Workers:
    """The worker processes, and which tasks each has compiled.

    Args:
        make_trainer, num_workers: as `ray_workers` takes them; Ray must be running.
    """

    def __init__(self, make_trainer: MakeTrainer, num_workers: int) -> None:
        import ray

        self._remote = ray.remote(num_cpus=1, max_restarts=0)(_Worker)
        self._make_trainer = ray.put(make_trainer)
        self._workers = [self._new(i) for i in range(num_workers)]
        self._home: dict[int, int] = {}
        self._seconds: dict[int, float] = {}

    def spread(self, trainer: OuterTrainer) -> OuterTrainer:
        """The same trainer, its estimates made by the workers.

        Raises:
            ValueError: a trainer that does not follow gradients, or another one than the
                workers made.
            ray.exceptions.RayActorError: `make_trainer` failed in a worker; it says why.
        """
        import ray

        parts = trainer.parts
        if parts is None:
            raise ValueError(f"the outer-trainer {trainer.name!r} has no estimates")
        theirs = ray.get([worker.config.remote() for worker in self._workers])
        if set(theirs) != {digest(trainer.config)}:
            raise ValueError(
                "the workers' make_trainer makes another trainer than this"
            )

        def begin(data: tuple[Data, ...], call: Call) -> Any:
            return parts.begin(data[call.task], call)

        def run(
            data: tuple[Data, ...], calls: list[Call]
        ) -> list[tuple[Any, Estimate]]:
            results = self._run([to_host(call) for call in calls])
            return [from_host(result) for result in results]

        return trainer._replace(step=parts.run_by(Runner(begin, run))[1])

    def process_ids(self) -> list[int]:
        """Of every worker."""
        import ray

        return ray.get([worker.process_id.remote() for worker in self._workers])

    def _run(self, calls: Sequence[Any]) -> list[Any]:
        """The results of all calls, in order."""
        import ray
        from ray.exceptions import RayActorError

        results: dict[int, Any] = {}
        cause: Exception | None = None
        for _ in range(1 + MAX_RETRIES):
            open_calls = [i for i in range(len(calls)) if i not in results]
            if not open_calls:
                break
            waiting = {}
            for i, worker in zip(
                open_calls, self._assigned([calls[i] for i in open_calls]), strict=True
            ):
                reference = self._workers[worker].estimate.remote(tuple(calls[i]))
                waiting[i] = (worker, reference)
            dead = set()
            for i, (worker, reference) in waiting.items():
                try:
                    results[i], seconds = ray.get(reference)
                    if seconds is not None:
                        task = calls[i].task
                        least = self._seconds.get(task, np.inf)
                        self._seconds[task] = min(float(seconds), least)
                except RayActorError as error:
                    cause = error
                    dead.add(worker)
            for worker in dead:
                _log.warning("worker %d died: a new one does its work again", worker)
                self._workers[worker] = self._new(worker)
        missing = [calls[i].task for i in range(len(calls)) if i not in results]
        if missing:
            raise RuntimeError(
                f"workers died {1 + MAX_RETRIES} times at the tasks {missing}"
            ) from cause
        return [results[i] for i in range(len(calls))]

    def close(self) -> None:
        """Ends all workers."""
        import ray

        for worker in self._workers:
            ray.kill(worker)

    def _new(self, index: int) -> Any:
        return self._remote.remote(self._make_trainer, index)

    def _assigned(self, calls: Sequence[Any]) -> list[int]:
        """A worker for each call."""
        tasks = [call.task for call in calls]
        known = [self._seconds[task] for task in tasks if task in self._seconds]
        usual = float(np.mean(known)) if known else 1.0
        seconds = [self._seconds.get(task, usual) for task in tasks]
        divided = divide(seconds, len(self._workers))
        if all(task in self._home for task in tasks):
            homes = [self._home[task] for task in tasks]
            if last_ends(homes, seconds) <= MUCH_SOONER * last_ends(divided, seconds):
                return homes
        self._home.update(zip(tasks, divided, strict=True))
        return divided


def divide(seconds: Sequence[float], num_workers: int) -> list[int]:
    """A worker for each piece of work, the longest first to who is free the soonest.

    `seconds` are those that each piece takes; a worker is a number below `num_workers`.
    """
    load, workers = [0.0] * num_workers, [0] * len(seconds)
    for i in sorted(range(len(seconds)), key=lambda i: -seconds[i]):
        workers[i] = int(np.argmin(load))
        load[workers[i]] += seconds[i]
    return workers


def last_ends(workers: Sequence[int], seconds: Sequence[float]) -> float:
    """When the busiest of the workers ends: `workers[i]` works for `seconds[i]`, for each i."""
    load: dict[int, float] = {}
    for worker, duration in zip(workers, seconds, strict=True):
        load[worker] = load.get(worker, 0.0) + duration
    return max(load.values())

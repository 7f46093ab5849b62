"""Unlike tasks spread over worker processes, on this machine or on many, through Ray.

    trainer = agents.make("pes", envs=agents.task_mix(envs, per_step=4), ...)
    with ray_workers(make_trainer, num_workers=4) as workers:
        agents.train(workers.spread(trainer), data, ...)

A worker is a process on one core, number i on core i of its machine, that makes the same
trainer and compiles the tasks it is given. It gets θ, a key and the state of a task's inner
problems, and returns their new state and a gradient estimate; the learner merges them. So
nothing is lost with a worker: one that died is replaced, and its work is done again, with the
same result. Tasks go to the worker that has them compiled.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from agents.checkpoint import digest
from agents.records import Call, GradientParts, OuterTrainer, Report
from opt_gym import strategy
from opt_gym.key_arrays import is_key
from opt_gym.records import Data

MakeTrainer = Callable[[], tuple[OuterTrainer, Sequence[Data]]]
"""Makes a trainer and its data; called once in every worker. Ray sends it there."""

MAX_RETRIES = 3
"""A task whose worker dies so often in one outer step kills workers: that is an error."""

LOCAL_SLOTS = 256
"""Workers that may be on this machine; Ray counts cores, it does not bind them."""

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
    if num_workers < 1:
        raise ValueError(f"num_workers must be >= 1, got {num_workers}")
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
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[core % len(cores)]})
        strategy.use_all_cores(1)
        trainer, data = make_trainer()
        assert trainer.parts is not None
        self._parts: GradientParts = trainer.parts
        self._config = digest(trainer.config)
        self._data = data

    def config(self) -> str:
        """A digest of the trainer's config."""
        return self._config

    def process_id(self) -> int:
        """For who wants to look at it."""
        return os.getpid()

    def estimate(self, call: Any) -> Any:
        """One task's estimate."""
        call = Call(*from_host(tuple(call)))
        return to_host(self._parts.estimate(self._data[call.task], call))


class Workers:
    """The worker processes, and which tasks each has compiled."""

    def __init__(self, make_trainer: MakeTrainer, num_workers: int) -> None:
        import ray

        self._remote = ray.remote(num_cpus=1, max_restarts=0)(_Worker)
        self._make_trainer = ray.put(make_trainer)
        self._workers = [self._new(i) for i in range(num_workers)]
        self._home: dict[int, int] = {}

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

        def step(
            key: PRNGKeyArray, data: tuple[Data, ...], state: Any
        ) -> tuple[Any, Report]:
            calls = parts.calls(key, state)
            found = self._run([to_host(call) for call in calls])
            return parts.merge(state, calls, [from_host(one) for one in found])

        return trainer._replace(step=step)

    def process_ids(self) -> list[int]:
        """Of every worker."""
        import ray

        return ray.get([worker.process_id.remote() for worker in self._workers])

    def _run(self, calls: Sequence[Any]) -> list[Any]:
        """The results of all calls, in order."""
        import ray
        from ray.exceptions import RayActorError

        found: dict[int, Any] = {}
        cause: Exception | None = None
        for _ in range(1 + MAX_RETRIES):
            open_calls = [i for i in range(len(calls)) if i not in found]
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
                    found[i] = ray.get(reference)
                except RayActorError as error:
                    cause = error
                    dead.add(worker)
            for worker in dead:
                _log.warning("worker %d died: a new one does its work again", worker)
                self._workers[worker] = self._new(worker)
        missing = [calls[i].task for i in range(len(calls)) if i not in found]
        if missing:
            raise RuntimeError(
                f"workers died {1 + MAX_RETRIES} times at the tasks {missing}"
            ) from cause
        return [found[i] for i in range(len(calls))]

    def close(self) -> None:
        """Ends all workers."""
        import ray

        for worker in self._workers:
            ray.kill(worker)

    def _new(self, index: int) -> Any:
        return self._remote.remote(self._make_trainer, index)

    def _assigned(self, calls: Sequence[Any]) -> list[int]:
        """A worker for each call: its task's own, unless that has its share of calls."""
        share = -(-len(calls) // len(self._workers))
        load = [0] * len(self._workers)
        found = []
        for call in calls:
            home = self._home.get(call.task)
            if home is None or load[home] >= share:
                home = int(np.argmin(load))
                self._home.setdefault(call.task, home)
            load[home] += 1
            found.append(home)
        return found


class _RawKey(NamedTuple):
    """The data of a PRNG key: keys themselves cannot be sent."""

    data: np.ndarray


def to_host(tree: PyTree) -> PyTree:
    """Numpy arrays for JAX arrays, in the same structure."""

    def one(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array):
            return leaf
        if is_key(leaf):
            return _RawKey(np.asarray(jax.random.key_data(leaf)))
        return np.asarray(leaf)

    return jax.tree.map(one, tree)


def from_host(tree: PyTree) -> PyTree:
    """The way back from `to_host`."""

    def is_raw(leaf: Any) -> bool:
        return isinstance(leaf, _RawKey)

    def one(leaf: Any) -> Any:
        if is_raw(leaf):
            return jax.random.wrap_key_data(jnp.asarray(leaf.data))
        return leaf if isinstance(leaf, int) else jnp.asarray(leaf)

    return jax.tree.map(one, tree, is_leaf=is_raw)

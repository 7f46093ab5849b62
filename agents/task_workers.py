"""Many tasks at once: worker processes that each hold a share of them.

    trainer = make_trainer()
    with task_workers(make_trainer, num_workers=6) as workers:
        agents.train(workers.spread(trainer), [()] * len(trainer.envs), ...)

A worker is a process on one core, number i on core i of the machine and from there around
again. It makes the same trainer, compiles the tasks of its share and keeps their unrolls; every
outer step it gets θ and keys, and returns gradients, which are the size of θ. So a task's
programs and unrolls lie in one place for good: a process can hold about 30 tasks, and 120 need
four. Tasks that become live later (`task_mix(grow_by=)`) compile while the others train. A step
waits for what it needs, so that results do not depend on who was quicker.

Unrolls are not part of a checkpoint, which so stays small: a resumed run goes on with θ and the
outer optimizer, bit for bit, and its tasks begin new episodes. So do those of a worker that
died, in a new one. (`agents.ray_workers` keeps unrolls with the learner instead: it loses
nothing with a worker, and can use many machines.)
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection, get_context
from typing import Any

from agents.checkpoint import digest
from agents.estimators.trainer_record import with_own_buffers
from agents.host_arrays import from_host, to_host
from agents.records import Call, Estimate, OuterTrainer, Runner
from opt_gym import factory
from opt_gym.checks import check_whole
from opt_gym.records import Data
from opt_gym.runtime import strategy
from opt_gym.runtime.worker_processes import describe, died, settle

MakeTrainer = Callable[[], OuterTrainer]
"""Makes a trainer; called once in every worker, it has to pickle."""

Told = Callable[[int, int], None]
"""Called as (tasks that are compiled, tasks of the trainer), first with 0, then with each."""

MAX_DEATHS = 3
"""Of workers in one outer step; what kills more of them is an error."""

_HELD = ()
"""The state of a task whose unrolls a worker has."""

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def task_workers(
    make_trainer: MakeTrainer, num_workers: int, told: Told = lambda ready, of: None
) -> Iterator["TaskWorkers"]:
    """Workers for as long as the context is open.

    Args:
        make_trainer: what every worker calls; the trainer must be the learner's.
        num_workers: processes, on the cores in turn. As many as a multiple of the cores, and
            no more than 30 tasks for each.
        told: how many tasks are compiled.

    Raises:
        ValueError: num_workers < 1.
    """
    check_whole("num_workers", num_workers, 1)
    workers = TaskWorkers(make_trainer, num_workers, told)
    try:
        yield workers
    finally:
        workers.close()


class TaskWorkers:
    """The worker processes; task t is that of worker t modulo their number.

    Args:
        make_trainer, num_workers, told: as `task_workers` takes them.
    """

    def __init__(self, make_trainer: MakeTrainer, num_workers: int, told: Told) -> None:
        self._make_trainer, self._told = make_trainer, told
        self._workers = [_Process(make_trainer, i) for i in range(num_workers)]
        self._begun: dict[int, Any] = {}
        self._failed = ""
        self._ready: set[int] = set()
        self._num_tasks = 0

    def spread(self, trainer: OuterTrainer) -> OuterTrainer:
        """The same trainer, whose tasks the workers have.

        A step raises ValueError where a task fails in a worker; then all workers end.

        Raises:
            ValueError: a trainer that does not follow gradients, or another one than the
                workers made.
        """
        if trainer.parts is None:
            raise ValueError(f"the outer-trainer {trainer.name!r} has no estimates")
        mine = digest(trainer.config)
        if any(worker.config() != mine for worker in self._workers):
            raise ValueError(
                "the workers' make_trainer makes another trainer than this"
            )
        self._num_tasks = len(trainer.envs)
        self._told(len(self._ready), self._num_tasks)
        init, step = trainer.parts.run_by(Runner(self._begin, self._run))
        return trainer._replace(init=with_own_buffers(init), step=step)

    def process_ids(self) -> list[int]:
        """Of every worker."""
        return [int(worker.process.pid or 0) for worker in self._workers]

    def close(self) -> None:
        """Ends all workers."""
        for worker in self._workers:
            worker.close()

    def _begin(self, data: tuple[Data, ...], call: Call) -> tuple[()]:
        self._begun[call.task] = to_host(call)
        self._of(call.task).send("begin", self._begun[call.task])
        return _HELD

    def _run(
        self, data: tuple[Data, ...], calls: list[Call]
    ) -> list[tuple[Any, Estimate]]:
        if self._failed:
            raise RuntimeError(f"these workers have ended: {self._failed}")
        found: dict[int, Estimate] = {}
        asked = {call.task: to_host(call) for call in calls}
        for call in asked.values():
            self._of(call.task).send("estimate", call)
        deaths = 0
        while len(found) < len(asked):
            pipes = {worker.pipe: worker for worker in self._workers}
            for pipe in connection.wait(list(pipes)):
                worker = pipes[pipe]  # type: ignore[index]
                try:
                    self._take(worker, found)
                except (EOFError, OSError):
                    deaths += 1
                    if deaths > MAX_DEATHS:
                        raise RuntimeError(
                            f"{deaths} workers died in one outer step"
                        ) from None
                    missing = [c for c in asked.values() if c.task not in found]
                    self._replace(worker, missing)
        return [(_HELD, from_host(found[call.task])) for call in calls]

    def _take(self, worker: "_Process", found: dict[int, Estimate]) -> None:
        kind, task, value = worker.pipe.recv()
        if kind == "error":
            self._failed = value if task is None else f"task {task}: {value}"
            self.close()  # the others' answers would be taken for those of a later step
            raise ValueError(self._failed)
        if kind == "estimate":
            found[task] = value
        else:
            self._ready.add(task)
            self._told(len(self._ready), self._num_tasks)

    def _replace(self, dead: "_Process", missing: Sequence[Call]) -> None:
        """A new worker with the tasks of a dead one, which begin anew."""
        place = self._workers.index(dead)
        _log.warning("worker %d died: its tasks begin anew in a new one", place)
        dead.close()
        worker = self._workers[place] = _Process(self._make_trainer, place)
        worker.config()
        for task, call in self._begun.items():
            if self._of(task) is worker:
                self._ready.discard(task)
                worker.send("begin", call)
        for call in missing:
            if self._of(call.task) is worker:
                worker.send("estimate", call)

    def _of(self, task: int) -> "_Process":
        return self._workers[task % len(self._workers)]


class _Process:
    """One worker, seen from the learner."""

    def __init__(self, make_trainer: MakeTrainer, place: int) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(
            target=_work, args=(make_trainer, place, theirs), daemon=True
        )
        self.process.start()
        theirs.close()
        self._config = ""

    def config(self) -> str:
        """A digest of its trainer's config, which it sends before anything else."""
        if not self._config:
            try:
                kind, _, value = self.pipe.recv()
            except (EOFError, OSError):
                self.process.join()
                said = died(self.process.exitcode, started=False)
                raise ValueError(f"a worker cannot be: {said}") from None
            if kind == "error":
                raise ValueError(f"make_trainer failed in a worker: {value}")
            self._config = value
        return self._config

    def send(self, kind: str, call: Any) -> None:
        # One that died is noticed where its answers are waited for.
        with contextlib.suppress(OSError):
            self.pipe.send((kind, tuple(call)))

    def close(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _work(make_trainer: MakeTrainer, place: int, pipe: Any) -> None:
    """What runs in a worker process, until the learner has gone."""
    settle(place)
    strategy.use_all_cores(1)
    with contextlib.suppress(EOFError, OSError):
        try:
            share = _Share(make_trainer(), pipe)
        except Exception as error:
            pipe.send(("error", None, describe(error)))
            return
        while True:
            # What is asked for comes first; else there may be something to compile.
            if not share.waiting or pipe.poll():
                share.answer(*pipe.recv())
            else:
                share.prepare(next(iter(share.waiting)))


class _Share:
    """The tasks of one worker: those that wait to be compiled, and the others' unrolls."""

    def __init__(self, trainer: OuterTrainer, pipe: Any) -> None:
        assert trainer.parts is not None
        self._trainer, self._parts, self._pipe = trainer, trainer.parts, pipe
        self._data: dict[int, Data] = {}
        self._states: dict[int, Any] = {}
        self.waiting: dict[int, Call] = {}
        pipe.send(("config", None, digest(trainer.config)))

    def answer(self, kind: str, sent: tuple) -> None:
        call = Call(*from_host(sent))
        if kind == "begin":
            self._states.pop(call.task, None)
            self.waiting[call.task] = call
            return
        if call.task in self.waiting:
            self.prepare(call.task)
        if call.task not in self._states:  # it could not be prepared, which was said
            return
        call = call._replace(state=self._states[call.task])
        with self._telling(call.task):
            state, estimate = self._parts.estimate(self._data[call.task], call)
            self._states[call.task] = state
            self._pipe.send(("estimate", call.task, to_host(estimate)))

    def prepare(self, task: int) -> None:
        """Compiles a task by a window that counts for nothing, and begins it."""
        call = self.waiting.pop(task)
        with self._telling(task):
            if task not in self._data:
                self._data[task] = factory.load_data(self._trainer.envs[task])
                data = self._data[task]
                state = self._parts.begin(data, call)
                self._parts.estimate(data, call._replace(state=state))
                strategy.trim_memory()
            self._states[task] = self._parts.begin(self._data[task], call)
            self._pipe.send(("ready", task, None))

    @contextlib.contextmanager
    def _telling(self, task: int) -> Iterator[None]:
        """Errors are the learner's to raise."""
        try:
            yield
        except (EOFError, OSError):
            raise
        except Exception as error:
            self._pipe.send(("error", task, describe(error)))

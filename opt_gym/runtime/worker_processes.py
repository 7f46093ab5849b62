"""Jobs in worker processes that may be slow, run out of memory or die: none ends the rest.

A worker keeps to one core, so that times of two workers compare, and is killed and replaced
where a job takes too long or too much. No JAX here: a worker starts its own.
"""

import contextlib
import importlib
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import Any, NamedTuple

from opt_gym.runtime.cores import usable_cores

_POLL_SECONDS = 0.25
_GIB = 2**30


class Outcome(NamedTuple):
    """What came of one job.

    Attributes:
        job: as it was handed in.
        result: what the function returned; after a failure the last that it reported,
            None if it reported nothing.
        error: "" if nothing went wrong.
    """

    job: Any
    result: Any
    error: str


def run_jobs(
    function: str,
    jobs: Sequence[Any],
    *,
    workers: int = 1,
    limit: float | None = None,
    memory: float | None = None,
) -> Iterator[Outcome]:
    """Outcomes in the order in which the jobs end.

    Args:
        function: "module:name" of `(job, report) -> result`. It may report results so far.
        jobs: anything that pickles.
        workers: processes; more than cores make times worthless. 0: this process does
            the jobs, one after the other, and neither limit nor memory is kept.
        limit: seconds a job may take, the start of its process included.
        memory: GiB that a worker may hold (checked on Linux only).

    Raises:
        ValueError: workers < 0, limit or memory not above 0.
    """
    if workers < 0:
        raise ValueError(f"workers must be >= 0, got {workers}")
    for key, value in (("limit", limit), ("memory", memory)):
        if value is not None and not value > 0:
            raise ValueError(f"{key} must be > 0, got {value}")
    if not workers:
        yield from _here(function, jobs)
        return
    waiting = list(reversed(jobs))
    busy: list[_Worker] = []
    idle = [_Worker(function, core) for core in range(min(workers, len(jobs)))]
    try:
        while waiting or busy:
            while waiting and idle:
                worker = idle.pop()
                worker.give(waiting.pop())
                busy.append(worker)
            connection.wait([worker.pipe for worker in busy], timeout=_POLL_SECONDS)
            for worker in list(busy):
                outcome = worker.look(limit, memory)
                if outcome is not None:
                    busy.remove(worker)
                    idle.append(worker)
                    yield outcome
    finally:
        for worker in (*busy, *idle):
            worker.kill()


def _here(function: str, jobs: Sequence[Any]) -> Iterator[Outcome]:
    call = named(function)
    for job in jobs:
        reported: list[Any] = [None]
        try:
            outcome = Outcome(job, call(job, reported.append), "")
        except Exception as error:
            outcome = Outcome(job, reported[-1], describe(error))
        yield outcome


def named(function: str) -> Callable[..., Any]:
    """What "module:name" stands for."""
    module, name = function.split(":")
    return getattr(importlib.import_module(module), name)


class _Worker:
    """A process on one core, started when it gets its first job."""

    def __init__(self, function: str, core: int) -> None:
        self.function, self.core = function, core
        self.process: Any = None
        self.pipe: Any = None
        self.job: Any = None
        self.result: Any = None
        self.began = 0.0
        self.refused = ""
        self.is_heard = False

    def give(self, job: Any) -> None:
        if self.process is None or not self.process.is_alive():
            context = get_context("spawn")
            self.pipe, theirs = context.Pipe()
            args = (self.function, self.core, theirs)
            self.process = context.Process(target=_work, args=args, daemon=True)
            self.process.start()
            theirs.close()
            self.is_heard = False
        self.job, self.result, self.began = job, None, time.monotonic()
        self.refused = ""
        try:
            self.pipe.send(job)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            self.refused = f"it cannot be sent to a process: {describe(error)}"

    def look(self, limit: float | None, memory: float | None) -> Outcome | None:
        """The outcome if the job has ended or is ended here."""
        if self.refused:
            return Outcome(self.job, None, self.refused)
        try:
            while self.pipe.poll():
                done, self.result, error = self.pipe.recv()
                self.is_heard = True
                if done:
                    return Outcome(self.job, self.result, error)
        except (EOFError, ConnectionResetError):
            self.process.join()
            return self._end(died(self.process.exitcode, started=self.is_heard))
        if limit is not None and time.monotonic() - self.began > limit:
            return self._end(f"took over {limit:g} s")
        if memory is not None and _resident_bytes(self.process.pid) > memory * _GIB:
            return self._end(f"took over {memory:g} GiB of memory")
        return None

    def _end(self, error: str) -> Outcome:
        self.kill()
        return Outcome(self.job, self.result, error)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None


def _work(function: str, core: int, pipe: Any) -> None:
    """The life of a worker."""
    settle(core)
    with contextlib.suppress(OSError):
        pipe.send((False, None, ""))  # it has started
    call = named(function)
    last: list[Any] = [None]

    def report(result: Any) -> None:
        last[0] = result
        pipe.send((False, result, ""))

    with contextlib.suppress(EOFError, OSError):  # the parent is gone
        while True:
            job = pipe.recv()
            last[0] = None
            try:
                pipe.send((True, call(job, report), ""))
            except Exception as error:
                pipe.send((True, last[0], describe(error)))


def settle(core: int) -> None:
    """What a worker process does first: it keeps to a core, and leaves its end to its parent.

    Args:
        core: number i is the machine's core i, and from there around again.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    keep_to(core)


def keep_to(core: int) -> None:
    """Keeps this process to a core, by its number, where the system lets it."""
    with contextlib.suppress(AttributeError, OSError):
        cores = usable_cores()
        os.sched_setaffinity(0, {cores[core % len(cores)]})


def died(exit_code: int | None, *, started: bool) -> str:
    """What is said of a worker that died."""
    said = f"its process died (exit code {exit_code})"
    if started or exit_code != 1:
        return said
    return (
        f"{said} as it started: a script that starts processes does so under "
        'if __name__ == "__main__":'
    )


def _end_with_parent() -> None:
    """A parent that was killed could not end its workers: a job may take minutes."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def describe(error: Exception) -> str:
    """First line of an error, at most 300 characters; its type too unless a ValueError."""
    lines = str(error).strip().splitlines() or [""]
    kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
    return f"{kind}{lines[0]}"[:300]


def _resident_bytes(pid: int) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0

"""The one loop around every outer-trainer: steps, callbacks, checkpoints, Ctrl-C."""

import functools
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from agents import checkpoint
from agents.callbacks import CsvLog
from agents.records import Callback, OuterTrainer, Progress, Report, TrainResult
from agents.run_lock import locked
from opt_gym import policy
from opt_gym.checks import check_whole
from opt_gym.numerics import with_fixed_numerics
from opt_gym.records import Config, Data
from opt_gym.runtime import strategy

CHECKPOINT_SECONDS = 30.0
_STOPPING = (signal.SIGINT, signal.SIGTERM)
_log = logging.getLogger(__name__)


def train(
    trainer: OuterTrainer,
    data: Sequence[Data],
    *,
    outer_steps: int,
    seed: int = 0,
    theta: PyTree | None = None,
    out: str | Path | None = None,
    callbacks: Sequence[Callback] = (),
    resume: bool = False,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    until: Callable[[Progress], bool] = lambda progress: False,
) -> TrainResult:
    """Runs an outer-trainer.

    Ctrl-C, or SIGTERM, ends it after the outer step under way, with a checkpoint if there is
    an `out`; a second one ends it at once. Outer step i uses the key fold_in(run key, i), so
    a resumed run goes on bit for bit (same versions, kind of CPU and device count).

    With several processes (`jax.distributed`) each calls this with the same arguments, and a
    folder that all of them see; the first one writes, and says when to save and to stop.

    Args:
        trainer: from `agents.make`.
        data: one per env of the trainer, from `opt_gym.load_data(env)`.
        outer_steps: in all, those before a resume included.
        seed: of the run key and of the initial θ.
        theta: to start from, instead of `learned_optimizer.init_theta`.
        out: folder for checkpoints and `log.csv`.
        callbacks: each called with a `Progress` after every step; see `Callback`.
        resume: go on from the newest checkpoint in `out`. Whether data and outer optimizer
            are the same is for the caller to see to: a checkpoint does not know them.
        checkpoint_seconds: at least so long between checkpoints.
        until: ends the run earlier, when it is true after a step.

    Raises:
        ValueError: outer_steps < 1, data that does not match, a checkpoint of another run, a
            folder that holds a run already (without `resume`) or that another process
            trains in; a `theta` that does not fit the architecture or is not of finite real
            numbers; a θ that is not finite any more.
        OSError: a checkpoint or log that cannot be written (a full disk); the checkpoint
            before stays whole, and the run can be resumed from it.
    """
    folder = None if out is None else Path(out)
    with _alone_in(folder):
        _check(trainer, data, outer_steps, folder, resume)
        check_whole("seed", seed, 0)
        _, k_init, run_key = _split(seed)
        if theta is None:
            theta = initial_theta(trainer, seed)
        else:
            theta = policy.as_theta(trainer.learned_optimizer, theta)
        # Arrays that were not yet put anywhere would make every program compile twice.
        placed, theta = strategy.gather((tuple(data), theta))
        if resume and folder:
            blank = functools.partial(trainer.init, k_init, placed, theta)
            state, done = _resumed(folder, blank, trainer.config, seed)
        else:
            state, done = trainer.init(k_init, placed, theta), 0
        state = strategy.gather(state)
        writes = folder is not None and jax.process_index() == 0
        logs: list[Callback] = [CsvLog(folder / "log.csv")] if folder and writes else []

        def save(state: PyTree, done: int) -> None:
            _check_theta(trainer.theta(state), done)
            state, config = strategy.gather(state), trainer.config
            if folder and writes:
                checkpoint.save(
                    folder, state, outer_step=done, seed=seed, config=config
                )

        reports: list[Report] = []
        ended = interrupted = False
        began = saved = time.monotonic()
        with _open([*callbacks, *logs], done) as call, _told_to_stop() as stop:
            while done < outer_steps and not ended:
                key = jax.random.fold_in(run_key, done)
                state, report = trainer.step(key, placed, state)
                done += 1
                # This step compiled a task's programs.
                if len(reports) < len(trainer.envs):
                    strategy.trim_memory()
                report = Report(*(float(value) for value in report))
                reports.append(report)
                seconds = time.monotonic() - began
                progress = Progress(done, outer_steps, report, seconds, trainer, state)
                call(progress)
                # Saving is done by all processes together, and no two clocks agree.
                interrupted, ended, due = strategy.as_first_process(
                    bool(stop.signal) and done < outer_steps,
                    bool(stop.signal) or until(progress),
                    time.monotonic() - saved >= checkpoint_seconds,
                )
                if due and not ended and done < outer_steps:
                    save(state, done)
                    saved = time.monotonic()
            save(state, done)
    seconds = time.monotonic() - began
    return TrainResult(
        trainer.theta(state),
        state,
        done,
        reports,
        seconds,
        interrupted,
        trainer.trained_optimizer,
        stop.signal if interrupted else 0,
    )


@with_fixed_numerics
def initial_theta(trainer: OuterTrainer, seed: int) -> PyTree:
    """The random θ that a run of this seed starts from."""
    return jax.jit(trainer.learned_optimizer.init_theta)(_split(seed)[0])


@with_fixed_numerics
def _split(seed: int) -> PRNGKeyArray:
    """The keys of θ, of the trainer's start, and of the run."""
    return jax.random.split(jax.random.key(seed), 3)


def _check(
    trainer: OuterTrainer,
    data: Sequence[Data],
    outer_steps: int,
    folder: Path | None,
    resume: bool,
) -> None:
    check_whole("outer_steps", outer_steps, 1)
    if len(data) != len(trainer.envs):
        raise ValueError(f"{len(trainer.envs)} envs need as many data, got {len(data)}")
    if resume and folder is None:
        raise ValueError("resume=True needs out=, the folder of the run")
    if folder and not resume and checkpoint.newest_header(folder) is not None:
        raise ValueError(f"{folder} holds a run already: resume it, or name another")


def _check_theta(theta: PyTree, done: int) -> None:
    """Raises ValueError for a θ with numbers that are not finite: nothing can come of it."""
    bad = [
        name
        for name, leaf in policy.named_leaves(theta)
        if not np.all(np.isfinite(np.asarray(leaf, np.float32)))
    ]
    if bad:
        raise ValueError(
            f"after outer step {done} θ is not finite ({', '.join(bad)}): the training is "
            "over; the checkpoint before, if there is one, still is"
        )


def _resumed(
    folder: Path, template: Callable[[int], PyTree], config: Config, seed: int
) -> tuple[PyTree, int]:
    """The state to go on from, and its outer step."""
    newest = checkpoint.load(folder, template, config)
    if newest is None:
        raise ValueError(f"{folder} holds no checkpoint to resume from")
    if newest.header["seed"] != seed:
        raise ValueError(
            f"{folder} was begun with seed {newest.header['seed']}, not {seed}"
        )
    here, there = checkpoint.environment(), newest.header["environment"]
    differs = [
        f"{k}: {there.get(k)} -> {here[k]}" for k in here if there.get(k) != here[k]
    ]
    if differs:
        _log.warning(
            "resumed equal up to rounding, not bit for bit: %s", ", ".join(differs)
        )
    return newest.state, newest.header["outer_step"]


@contextmanager
def _open(callbacks: Sequence[Callback], done: int) -> Iterator[Callback]:
    """All callbacks as one, begun before and closed after."""

    def call(progress: Progress) -> None:
        for callback in callbacks:
            callback(progress)

    try:
        for callback in callbacks:
            getattr(callback, "begin", lambda done: None)(done)
        yield call
    finally:
        for callback in callbacks:
            getattr(callback, "close", lambda: None)()


@contextmanager
def _alone_in(folder: Path | None) -> Iterator[None]:
    """The lock of a folder, which the first process holds for all."""
    if folder is None or jax.process_index() != 0:
        yield
        return
    with locked(folder):
        checkpoint.tidy(folder)
        yield


class _Stop:
    """Whether to stop, and which signal said so (0: none)."""

    signal = 0


@contextmanager
def _told_to_stop() -> Iterator[_Stop]:
    """What the first Ctrl-C or SIGTERM sets: a step must not be cut, its buffers are donated.

    A second one acts as it would have without this.
    """
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in _STOPPING}

    def first(number: int, _: Any) -> None:
        stop.signal = number
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in _STOPPING:
        signal.signal(number, first)
    try:
        yield stop
    finally:
        restore()

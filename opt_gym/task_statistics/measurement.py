"""Fills a row of the table of statistics: builds a task, compiles a step, takes some.

Two programs a task and nothing else: one draws the initial weights, one takes a number of
steps that is an argument, so that it serves single steps, whose losses are looked at, and
many, whose time is. An operation outside a program would be a small program of its own.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PyTree

from opt_gym import factory
from opt_gym.records import Config, Data, Task
from opt_gym.runtime import strategy
from opt_gym.runtime.worker_processes import describe
from opt_gym.task_statistics.statistics_table import NUM_STEPS, PER_10K, Row

LEARNING_RATE = 1e-3
"""Of Adam."""

TIMED_SECONDS = 0.6
"""A task's timed steps take about so long in all, the ten single steps included."""

_CALLS = 3
_SEED = 0


class TrainingSoFar(NamedTuple):
    """Where training stands. Shapes: t [] counts steps done; loss [] before the last one."""

    t: Int[Array, ""]
    params: PyTree
    moments: PyTree
    loss: Float[Array, ""]


Start = Callable[[Data, Any], tuple[TrainingSoFar, PyTree]]
Advance = Callable[[Data, Any, PyTree, TrainingSoFar, Any], TrainingSoFar]


def measure_job(job: tuple[str, Config | None, str], report: Callable) -> Row:
    """`measure` of (name, config or None, source), for a worker process."""
    # A program found in a cache would have been compiled in no time.
    jax.config.update("jax_enable_compilation_cache", False)
    name, config, source = job
    try:
        return measure(name, config, source, report)
    finally:
        jax.clear_caches()
        strategy.trim_memory()


def measure(
    name: str,
    config: Config | None = None,
    source: str = "embedded",
    report: Callable[[Row], None] = lambda row: None,
) -> Row:
    """The row of one task; an error becomes its `error`.

    Args:
        name: of the task.
        config: the task's, by default that behind the name.
        source: of the data.
        report: is told the row so far, in case this process does not come to its end.
    """
    row = Row(name)
    try:
        for reached in _stages(row, config, source):
            row = reached
            report(row)
    except Exception as error:
        return row._replace(error=describe(error))
    return row


def programs(task: Task) -> tuple[Start, Advance]:
    """(start, advance), jitted: the initial weights, and steps of Adam from anywhere.

    start(data, seed) -> (progress, ψ); advance(data, seed, ψ, progress, number of steps)
    -> progress, and the one handed in is consumed. The seed is an argument because XLA
    would draw from a known one while it compiles.
    """
    adam = optax.adam(LEARNING_RATE)

    def start(data: Data, seed: Any) -> tuple[TrainingSoFar, PyTree]:
        k_init, _ = jax.random.split(jax.random.key(seed))
        params, instance = task.init(k_init, data)
        begin = TrainingSoFar(
            jnp.int32(0), params, adam.init(params), jnp.float32(jnp.nan)
        )
        return begin, instance

    def advance(
        data: Data, seed: Any, instance: PyTree, progress: TrainingSoFar, num: Any
    ) -> TrainingSoFar:
        _, k_stream = jax.random.split(jax.random.key(seed))

        def step(_: Any, now: TrainingSoFar) -> TrainingSoFar:
            k_batch, k_loss = jax.random.split(jax.random.fold_in(k_stream, now.t))
            batch = task.sample_batch(k_batch, data, instance, "train")

            def loss_of(params: PyTree) -> Array:
                return task.loss(k_loss, params, instance, batch)[0]

            loss, grad = jax.value_and_grad(loss_of)(now.params)
            updates, moments = adam.update(grad, now.moments)
            params = task.constrain(optax.apply_updates(now.params, updates))
            return TrainingSoFar(now.t + 1, params, moments, loss)

        return jax.lax.fori_loop(0, num, step, progress)

    # Level 0 for what runs once.
    return (
        jax.jit(start, compiler_options=_compiler_options(0)),
        jax.jit(advance, donate_argnums=3, compiler_options=_compiler_options(1)),
    )


def _stages(row: Row, config: Config | None, source: str) -> Iterator[Row]:
    """The row after every stage."""
    clock = _Clock()
    config = config or factory.task_config(row.name)
    row = row._replace(family=config["family"])
    yield row
    task = factory.make_task(config)
    row = row._replace(batch_size=task.batch_size, dataset=task.dataset)
    yield row
    data = jax.device_put(task.load_data(source))
    start, advance = programs(task)
    seed = np.uint32(_SEED)
    progress, instance = jax.block_until_ready(start(data, seed))
    leaves = jax.tree.leaves(progress.params)
    row = row._replace(
        num_params=sum(leaf.size for leaf in leaves),
        num_tensors=len(leaves),
        build_seconds=clock.lap(),
        built=True,
    )
    yield row

    def steps(num: int) -> float:
        nonlocal progress
        clock.lap()
        progress = advance(data, seed, instance, progress, np.int32(num))
        jax.block_until_ready(progress)
        return clock.lap()

    row = row._replace(compile_seconds=steps(0))
    yield row
    seconds, losses = [], []
    for _ in range(NUM_STEPS):
        seconds.append(steps(1))
        losses.append(float(progress.loss))
        row = row._replace(
            first_loss=losses[0], seconds_per_10k_steps=PER_10K * min(seconds)
        )
        yield row
    finite = all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(progress.params))
    row = row._replace(
        last_loss=losses[-1], finite=bool(finite and np.isfinite(losses).all())
    )
    yield row
    # Starting a program takes longer than a small task's step: many steps a call.
    left = (TIMED_SECONDS - sum(seconds)) / _CALLS
    num = int(left / min(seconds))
    if num >= 2:
        best = min(steps(num) for _ in range(_CALLS)) / num
        yield row._replace(seconds_per_10k_steps=PER_10K * min(best, *seconds))


class _Clock:
    """Seconds between laps."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        now = time.perf_counter()
        self._last, before = now, self._last
        return now - before


def _compiler_options(level: int) -> dict[str, Any] | None:
    on_cpu = jax.default_backend() == "cpu"
    return {"xla_backend_optimization_level": level} if on_cpu else None

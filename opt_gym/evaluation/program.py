"""The one compiled program of an evaluation: every run of one optimizer on one task.

Runs are (θ variant × seed). Inner steps are counted by loops whose bounds are arguments, so
one program serves any horizon and any spacing of the evaluation points, and a pass without
evaluations can be timed with it. On 2 CPU cores such a loop of single steps takes the same
time as one scan over the whole horizon (0.27 s for 6 runs of 1,000 steps).

The loop evaluates at the top of its body and updates at the end, once more than there are
steps, for the last loss. So the gradient is compiled once, where a reset before a loop of steps
has it twice, and never lies in the loop's carry.
"""

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from opt_gym.answers import answer
from opt_gym.data.corruptions import corrupt
from opt_gym.env import halves
from opt_gym.episode import check_compatible
from opt_gym.evaluation.runs import EvaluationSettings
from opt_gym.numerics import with_fixed_numerics
from opt_gym.plugins import unknown
from opt_gym.records import Data, Env, EnvState, LearnedOptimizer, StepOut, UnrollState
from opt_gym.runtime import strategy

SPACINGS = ("log", "even")
COUNTED = {"train": 0, "valid": 1, "noisy": 3}
"""Which of the losses of `Curves` an objective is about."""

_EVALUATION_KEY = 1_234_567
"""Evaluation batches are the same at every point, of every seed and every optimizer."""

_NOISY_FACTOR = 4
"""Times as many corrupted batches: each draws one of about ten corruptions."""


class Curves(NamedTuple):
    """What a run leaves; each field has a leading axis [runs] where there are many.

    Shapes: losses [points, 3 or 4]: train, valid, test, and for "noisy" corrupted train;
    accuracy [points]: on test, NaN where the task has none; final_losses [3 or 4] and
    final_accuracy []: those of the last point once more, on `final_batches` batches;
    mean_cost []: ℓ̃ averaged over every inner step; diverged []; step_losses [kept]: of every
    inner step, inf once diverged.
    """

    losses: Float[Array, "points split"]
    accuracy: Float[Array, " points"]
    final_losses: Float[Array, " split"]
    final_accuracy: Float[Array, ""]
    mean_cost: Float[Array, ""]
    diverged: Bool[Array, ""]
    step_losses: Float[Array, " kept"]


class Schedule(NamedTuple):
    """How far to go and where to stop for an evaluation, as arguments of the program.

    Shapes: gaps [points + 1], inner steps before each point, the last of which is measured
    twice, without a step between; the rest are scalars. Only the first `num_active` points are
    run; `measure` says whether there is an evaluation.
    """

    horizon: Int[Array, ""]
    gaps: Int[Array, " points+1"]
    num_active: Int[Array, ""]
    measure: Bool[Array, ""]


class Program(NamedTuple):
    """A compiled evaluation.

    run: (θ with a leading axis, data, Schedule) -> Curves on the host, leading axis [runs],
    run r being variant r // num_seeds with seed r % num_seeds.
    """

    run: Callable[[PyTree, Data, Schedule], Curves]
    num_runs: int
    num_points: int


def evaluation_steps(horizon: int, num_points: int, spacing: str) -> np.ndarray:
    """The inner steps after which a run is evaluated: 0, ..., horizon, all different.

    There are num_points of them, fewer where the horizon has not as many steps.

    Raises:
        ValueError: horizon < 1, num_points < 2 or an unknown spacing.
    """
    if horizon < 1:
        raise ValueError(f"horizon must be >= 1, got {horizon}")
    if num_points < 2:
        raise ValueError(f"num_points must be >= 2, got {num_points}")
    if spacing not in SPACINGS:
        raise ValueError(unknown("spacing", spacing, list(SPACINGS)))
    if horizon + 1 <= num_points:
        return np.arange(horizon + 1)
    if spacing == "even":
        return np.round(np.linspace(0, horizon, num_points)).astype(int)
    # Rounding makes early ones coincide, so the grid is refined until enough are left.
    count, grid = num_points, np.zeros(0, int)
    while len(grid) < num_points - 1:
        grid = np.unique(np.round(np.geomspace(1, horizon, count)).astype(int))
        count += 1
    kept = grid[len(grid) - (num_points - 1) :]
    if len(kept) > 1:
        kept[0] = 1
    return np.concatenate([[0], kept])


@with_fixed_numerics
def schedule(
    steps: Sequence[int] | np.ndarray, num_points: int, measure: bool = True
) -> Schedule:
    """The schedule that stops after each of `steps`, the last of which is the horizon."""
    gaps = np.zeros(num_points + 1, np.int32)
    gaps[: len(steps)] = np.diff(np.asarray(steps), prepend=0)
    return Schedule(
        horizon=jnp.int32(steps[-1]),
        gaps=jnp.asarray(gaps),
        num_active=jnp.int32(len(steps) + measure),
        measure=jnp.bool_(measure),
    )


@with_fixed_numerics
def build_program(
    env: Env,
    learned_optimizer: LearnedOptimizer,
    settings: EvaluationSettings,
    *,
    num_variants: int,
    num_kept: int = 0,
) -> Program:
    """The program of one task; it compiles at its first call.

    Args:
        env: made for this learned optimizer.
        learned_optimizer: the policy.
        settings: seeds, points (at most) and batches. Seed s has the same initial weights
            and batches for every variant and every optimizer. Nothing else counts here.
        num_variants: leading axis of θ.
        num_kept: keep the losses of the first so many inner steps.
    """
    num_seeds, num_points = settings.num_seeds, settings.num_points
    measure = _measurement(env, max(settings.num_batches, settings.final_batches))
    num_splits = 4 if env.objective == "noisy" else 3

    check_compatible(env, learned_optimizer)
    begin = halves(env).begin
    step = _evaluate_then_update(env, learned_optimizer)

    def one_run(pair: tuple, shared: tuple) -> Curves:
        variant, key = pair
        thetas, data, plan = shared
        theta = jax.tree.map(lambda leaf: leaf[variant], thetas)
        start = begin(key, data, plan.horizon)
        memory = learned_optimizer.init(theta, start.params, env.task.roles)

        def evaluated(state: UnrollState) -> tuple[PyTree, PyTree]:
            params = state.env.params
            if learned_optimizer.evaluated is not None:
                params = learned_optimizer.evaluated(theta, state.carry, params)
            return params, state.env.instance

        def inner_step(_: Any, carry: tuple) -> tuple:
            state, total, kept = carry
            t = state.env.t
            state, out = step(theta, data, state)
            if num_kept:
                loss = jnp.where(out.terminated, jnp.inf, out.loss)
                place = jnp.where(t > 0, t - 1, num_kept)  # dropped at t = 0
                kept = kept.at[place].set(loss, mode="drop")
            return state, total + jnp.where(t > 0, out.cost, 0.0), kept

        def to_point(index: Any, carry: tuple) -> tuple:
            *running, losses, accuracy = carry
            beyond = index == plan.num_active  # the last loss is what is missing there
            gap = jnp.where(
                beyond, 1, plan.gaps.at[index].get(mode="fill", fill_value=0)
            )
            running = jax.lax.fori_loop(0, gap, inner_step, tuple(running))
            again = index == plan.num_active - 1
            count = jnp.where(again, settings.final_batches, settings.num_batches)
            row, right = jax.lax.cond(
                plan.measure & ~beyond,
                lambda: measure(data, evaluated(running[0]), count),
                lambda: (jnp.zeros(num_splits), jnp.zeros(())),
            )
            losses = losses.at[index].set(row, mode="drop")
            return *running, losses, accuracy.at[index].set(right, mode="drop")

        first = (
            UnrollState(_without_gradient(start), memory),
            jnp.zeros(()),
            jnp.zeros(num_kept),
            jnp.zeros((num_points + 1, num_splits)),
            jnp.zeros(num_points + 1),
        )
        state, total, kept, losses, accuracy = jax.lax.fori_loop(
            0, plan.num_active + 1, to_point, first
        )
        final = plan.num_active - 1
        return Curves(
            losses=losses,
            accuracy=accuracy,
            final_losses=losses[final],
            final_accuracy=accuracy[final],
            mean_cost=total / plan.horizon,
            diverged=state.env.dead,
            step_losses=kept,
        )

    num_runs = num_variants * num_seeds
    padded = _padded(num_runs)
    # What is left over to fill the devices repeats the first runs, and is dropped.
    runs = np.arange(padded) % num_runs
    variants = jnp.asarray(runs // num_seeds, jnp.int32)
    keys = jax.random.split(jax.random.key(settings.seed), num_seeds)[runs % num_seeds]
    mapped = strategy.map_unrolls(one_run, padded)

    def run(thetas: PyTree, data: Data, plan: Schedule) -> Curves:
        out = strategy.gather(mapped((variants, keys), (thetas, data, plan)))
        active = int(plan.num_active) - bool(plan.measure)
        curves = jax.tree.map(lambda leaf: np.asarray(leaf)[:num_runs], out)
        return curves._replace(
            losses=curves.losses[:, :active], accuracy=curves.accuracy[:, :active]
        )

    return Program(with_fixed_numerics(run), num_runs, num_points)


@with_fixed_numerics
def compile_now(program: Program, thetas: PyTree, data: Data) -> None:
    """Compiles the program by a call that makes no inner step. Threads may do this."""
    program.run(thetas, data, _empty(program))


@with_fixed_numerics
def seconds_per_step(
    program: Program, thetas: PyTree, data: Data, horizon: int
) -> float:
    """Seconds of one inner step of one run, from a timed pass without evaluations.

    All runs go through the first tenth of the horizon (at least 100 steps), every device on
    one run at a time (on CPU; on accelerators they share it): wall time x devices / runs /
    steps. The time of a call without steps is subtracted, compilation is not in it.
    """
    steps = min(horizon, max(100, horizon // 10))
    timed = schedule([steps], program.num_points, measure=False)
    timed = timed._replace(horizon=jnp.int32(horizon))
    seconds = []
    for plan in (_empty(program), timed):
        begin = time.perf_counter()
        program.run(thetas, data, plan)
        seconds.append(time.perf_counter() - begin)
    padded = _padded(program.num_runs)
    runs_each = padded / len(strategy.devices_for(padded))
    return max(seconds[1] - seconds[0], 1e-9) / (runs_each * steps)


def _evaluate_then_update(
    env: Env, learned_optimizer: LearnedOptimizer
) -> Callable[[PyTree, Data, UnrollState], tuple[UnrollState, StepOut]]:
    """(θ, data, state) -> (state, what the evaluation before the update told)."""
    _, apply, evaluate = halves(env)

    def step(
        theta: PyTree, data: Data, state: UnrollState
    ) -> tuple[UnrollState, StepOut]:
        env_state, out = evaluate(data, state.env)
        signal, observation = env.observe(env_state)
        carry, action = answer(
            learned_optimizer, theta, state.carry, signal, observation
        )
        env_state = _without_gradient(apply(env_state, action))
        return UnrollState(env_state, carry), out

    return step


def _without_gradient(state: EnvState) -> EnvState:
    return state._replace(grad=())


def _measurement(
    env: Env, most_batches: int
) -> Callable[[Data, tuple[PyTree, PyTree], Array], tuple[Array, Array]]:
    """(data, (φ, ψ), number of batches) -> (mean losses [3 or 4], accuracy on test).

    One loop over splits and batches: the forward pass is compiled once (three copies of it
    were a third of what compiles here).
    """
    task = env.task
    k_splits, k_noisy = jax.random.split(jax.random.key(_EVALUATION_KEY))
    keys = jax.random.split(k_splits, most_batches)
    noisy_keys = jax.random.split(k_noisy, most_batches * _NOISY_FACTOR)
    splits = ("train", "valid_outer", "test")

    def measure(
        data: Data, weights: tuple[PyTree, PyTree], count: Array
    ) -> tuple[Array, Array]:
        params, instance = weights

        def batch_of(split: Array, key: PRNGKeyArray) -> Any:
            draw = [partial(task.sample_batch, key, data, instance, s) for s in splits]
            return jax.lax.switch(split, draw)

        def clean(split: Array, number: Array) -> Array:
            k_batch, k_loss = jax.random.split(keys[number])
            batch = batch_of(split, k_batch)
            loss, aux = task.loss(k_loss, params, instance, batch)
            return jnp.stack([loss, jnp.asarray(aux.get("accuracy", jnp.nan))])

        def corrupted(number: Array) -> Array:
            k_batch, k_loss, k_corrupt = jax.random.split(noisy_keys[number], 3)
            batch = task.sample_batch(k_batch, data, instance, "train")
            inputs = corrupt(k_corrupt, batch.inputs, env.settings.corruption)
            return task.loss(k_loss, params, instance, batch._replace(inputs=inputs))[0]

        means = jax.lax.map(
            lambda split: _mean(partial(clean, split), count, (2,)), jnp.arange(3)
        )
        losses = means[:, 0]
        if env.objective == "noisy":
            noisy = _mean(corrupted, count * _NOISY_FACTOR, ())
            losses = jnp.append(losses, noisy)
        return losses, means[2, 1]

    return measure


def _mean(of: Callable[[Array], Array], count: Array, shape: tuple[int, ...]) -> Array:
    """The mean of `of(0)`, ... `of(count - 1)`, arrays of a shape."""
    total = jax.lax.fori_loop(0, count, lambda i, sum: sum + of(i), jnp.zeros(shape))
    return total / count


def _padded(num_runs: int) -> int:
    """The next number of runs that the devices share evenly."""
    devices = min(num_runs, jax.device_count())
    return math.ceil(num_runs / devices) * devices


def _empty(program: Program) -> Schedule:
    plan = schedule([1], program.num_points, measure=False)
    return plan._replace(num_active=jnp.int32(0))

"""A gradient estimator and an optax transformation make an outer-trainer.

`gradient_trainer` is for any estimator; `evolution_spec` has the settings that the estimators
on antithetic pairs share.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from agents.estimators import task_gradients, theta_averages
from agents.estimators.live_programs import LivePrograms
from agents.estimators.slots import SlotSettings
from agents.estimators.trainer_record import outer_trainer
from agents.records import (
    AGGREGATIONS,
    Call,
    Estimate,
    GradientEstimator,
    GradientParts,
    Horizon,
    OuterTrainer,
    Report,
    Runner,
    counted_as,
    lengths_of,
)
from agents.task_mixes import TaskMix
from opt_gym.checks import check_choice, check_positive, check_whole
from opt_gym.numerics import with_fixed_numerics
from opt_gym.plugins import Spec
from opt_gym.records import Config, Data, Env, LearnedOptimizer
from opt_gym.runtime import strategy


class GradientTrainerState(NamedTuple):
    """θ, its running average (unbiased when read), the optax state, and the estimators'.

    theta: the last θ; average: from zeros; count: outer steps done; optimizer: the optax
    state; estimators: of every live task, by its place in the mix; sizes: where tasks are
    balanced, of each the mean square of its gradients' norms, and how many there were,
    [tasks, 2].
    """

    theta: PyTree
    average: PyTree
    count: Int[Array, ""]
    optimizer: PyTree
    estimators: dict[int, Any]
    sizes: Any = ()


def gradient_trainer(
    name: str,
    config: Config,
    estimator: Callable[[Env], GradientEstimator],
    mix: TaskMix,
    learned_optimizer: LearnedOptimizer,
    outer_optimizer: optax.GradientTransformation,
    *,
    theta_average: float = 0.0,
    balanced: bool = False,
    horizon: int | None = None,
) -> OuterTrainer:
    """The outer-trainer that follows an estimator's gradients.

    A gradient that is not finite never reaches θ: that task is left out of the step's mean
    and counted in the report, and where all of them are, θ stays.

    Args:
        name, config: of the estimator.
        estimator: env -> its estimator; called again for a task whose programs were freed.
        mix: the tasks.
        learned_optimizer: whose θ.
        outer_optimizer: any optax transformation; one that takes `value` (a learned
            optimizer does) is given the outer-loss.
        theta_average: decay of the average of θ that `theta` returns; 0 for the last θ.
        balanced: whether each task's gradient is divided by the running RMS of its norm, so
            that tasks whose losses differ much from θ to θ do not drown the others.
        horizon: of the longest episode.

    Raises:
        ValueError: theta_average outside [0, 1).
    """
    theta_averages.check_decay(theta_average)
    optimizer = optax.with_extra_args_support(outer_optimizer)
    estimators = LivePrograms(estimator, mix)
    mix.check_episodes(estimators.of(0, 0).num_windows)
    update = _update(optimizer, theta_average)

    def begin(data: Data, call: Call) -> Any:
        of_task = estimators.of(call.task, call.outer_step)
        # Arrays that were not yet put anywhere would make its programs compile twice.
        return strategy.gather(of_task.init(call.key, data, call.theta))

    def estimate(data: Data, call: Call) -> tuple[Any, Estimate]:
        of_task = estimators.of(call.task, call.outer_step)
        return of_task.step(call.key, data, call.theta, call.state, call.outer_step)

    here = Runner(
        begin=lambda data, call: begin(data[call.task], call),
        run=lambda data, calls: [estimate(data[call.task], call) for call in calls],
    )

    def run_by(runner: Runner) -> tuple[Any, Any]:
        live = _live_states(runner, mix)

        def init(
            key: PRNGKeyArray,
            data: tuple[Data, ...],
            theta: PyTree,
            outer_step: int = 0,
        ) -> GradientTrainerState:
            return GradientTrainerState(
                theta=theta,
                average=jax.tree.map(jnp.zeros_like, theta),
                count=jnp.zeros((), jnp.int32),
                optimizer=optimizer.init(theta),
                estimators=live({}, key, data, theta, outer_step),
                sizes=task_gradients.no_sizes(len(mix.envs)) if balanced else (),
            )

        step = _step(runner, mix, live, update)
        return with_fixed_numerics(init), with_fixed_numerics(step)

    init, step = run_by(here)

    def theta(state: GradientTrainerState) -> PyTree:
        count = int(state.count)
        return theta_averages.read(state.theta, state.average, count, theta_average)

    return outer_trainer(
        name,
        {
            "estimator": {"name": name, **config},
            "theta_average": theta_average,
            **({"balanced": True} if balanced else {}),
        },
        mix,
        learned_optimizer,
        init=init,
        step=step,
        theta=theta,
        parts=GradientParts(begin, estimate, run_by),
        horizon=horizon,
    )


Estimator = Callable[[Env, LearnedOptimizer, SlotSettings], GradientEstimator]


def slots_trainer(
    name: str,
    config: Config,
    estimator: Estimator,
    settings: SlotSettings,
    mix: TaskMix,
    learned_optimizer: LearnedOptimizer,
    outer_optimizer: optax.GradientTransformation,
    theta_average: float,
    balanced: bool = False,
) -> OuterTrainer:
    """`gradient_trainer` of an estimator on slots.

    Args:
        name: of the trainer.
        config: its settings beside lengths and aggregation.
        estimator: what it does on one environment.
        settings: of the slots.
        mix, learned_optimizer, outer_optimizer, theta_average, balanced: as those of
            `gradient_trainer`.

    Raises:
        ValueError: an unknown aggregation.
    """
    aggregation, lengths = settings.aggregation, settings.lengths
    check_choice("aggregation", aggregation, AGGREGATIONS)

    def of_env(env: Env) -> GradientEstimator:
        return estimator(env, learned_optimizer, settings)

    return gradient_trainer(
        name,
        {**config, "aggregation": aggregation, **lengths._asdict()},
        of_env,
        mix,
        learned_optimizer,
        outer_optimizer,
        theta_average=theta_average,
        balanced=balanced,
        horizon=lengths.high,
    )


def evolution_spec(
    name: str,
    estimator: Estimator,
    source: str,
    *,
    sigma: float = 0.1,
    horizon: Horizon = (50, 1000),
    theta_average: float = 0.998,
) -> Spec:
    """The `SPEC` of an estimator on antithetic pairs.

    Args:
        name: of the outer-trainer.
        estimator: what it does on one environment.
        source: where it comes from.
        sigma, horizon, theta_average: the defaults of these settings; good for `nominal`.
    """

    def make(
        *,
        mix: TaskMix,
        learned_optimizer: LearnedOptimizer,
        outer_optimizer: optax.GradientTransformation,
        num_pairs: int = 8,
        trunc_length: int = 50,
        sigma: float = sigma,
        horizon: Horizon = horizon,
        curriculum: int = 0,
        aggregation: str = "mean",
        sign: bool = False,
        bend: float = 0.0,
        last_tenth: float = 0.0,
        balanced: bool = False,
        theta_average: float = theta_average,
    ) -> OuterTrainer:
        """The outer-trainer.

        Args:
            mix: the tasks.
            learned_optimizer: whose θ is trained.
            outer_optimizer: any optax transformation.
            num_pairs: antithetic pairs (slots) of each task.
            trunc_length: K, the inner steps of a compiled window.
            sigma: standard deviation of the perturbations, in units of θ.
            horizon: a length, or (low, high) of a log-uniform one; rounded up to multiples
                of K.
            curriculum: outer steps over which `high` grows from `low`; 0 for none.
            aggregation: what is minimized: the "mean" over an unroll, or the "final" loss
                (the mean over the last K steps).
            sign: take only the sign of a pair's difference (VeLO), so that tasks whose
                losses differ in scale count alike.
            bend: of the losses' scale, 0 for none: asinh(ℓ̃/bend)/asinh(1/bend) counts.
            last_tenth: share of the outer-loss that is the mean over an episode's last tenth.
            balanced: divide each task's gradient by the running RMS of its norm.
            theta_average: decay of the average of θ that is handed out; 0 for the last θ.

        Raises:
            ValueError: a setting out of its range.
        """
        check_whole("num_pairs", num_pairs, 1)
        check_positive("sigma", sigma)
        lengths = lengths_of(horizon, trunc_length, curriculum)
        counted = counted_as(bend, last_tenth, horizon)
        config = {"num_pairs": num_pairs, "sigma": sigma, "sign": sign}
        # Runs from before there was a choice go on.
        config |= {key: value for key, value in counted._asdict().items() if value}
        return slots_trainer(
            name,
            config,
            estimator,
            SlotSettings(num_pairs, lengths, sigma, aggregation, sign, counted),
            mix,
            learned_optimizer,
            outer_optimizer,
            theta_average,
            balanced,
        )

    return Spec("trainer", name, make, source)


def _live_states(runner: Runner, mix: TaskMix) -> Callable[..., dict[int, Any]]:
    """(known, key, data, θ, outer_step) -> the estimators' states of the live tasks."""

    def live(
        known: dict[int, Any],
        key: PRNGKeyArray,
        data: tuple[Data, ...],
        theta: PyTree,
        outer_step: int,
    ) -> dict[int, Any]:
        def begin(task: int) -> Any:
            # Calls of the same outer step have the keys of the tasks themselves.
            own_key = jax.random.fold_in(key, len(mix.envs) + task)
            return runner.begin(data, Call(task, own_key, theta, None, outer_step))

        return mix.of_live(outer_step, known, begin)

    return live


def _step(
    runner: Runner,
    mix: TaskMix,
    live: Callable[..., dict[int, Any]],
    update: Callable[..., Any],
) -> Callable[..., Any]:
    """An outer step."""

    def step(
        key: PRNGKeyArray, data: tuple[Data, ...], state: GradientTrainerState
    ) -> tuple[GradientTrainerState, Report]:
        outer_step, states = int(state.count), dict(state.estimators)
        calls = [
            Call(
                task,
                jax.random.fold_in(key, task),
                state.theta,
                states[task],
                outer_step,
            )
            for task in mix.pick(outer_step)
        ]
        results = runner.run(data, calls)
        for call, (new, _) in zip(calls, results, strict=True):
            states[call.task] = new
        estimates = [estimate for _, estimate in results]
        tasks = np.array([call.task for call in calls])
        state, report = update(state._replace(estimators={}), estimates, tasks)
        states = live(states, key, data, state.theta, outer_step + 1)
        return state._replace(estimators=states), report

    return step


def _update(
    optimizer: optax.GradientTransformationExtraArgs, theta_average: float
) -> Callable[..., tuple[GradientTrainerState, Report]]:
    """(state without estimators, estimates, their tasks) -> (state afterwards, Report)."""

    @jax.jit
    def apply(
        state: GradientTrainerState,
        estimates: list[Estimate],
        tasks: Int[Array, " calls"],
    ) -> tuple[GradientTrainerState, Report]:
        sizes = state.sizes
        if not isinstance(sizes, tuple):
            estimates, sizes = task_gradients.balanced(estimates, tasks, sizes)
        grad, report = task_gradients.averaged(estimates)
        updates, moved = optimizer.update(
            grad, state.optimizer, state.theta, value=report.outer_loss
        )
        moved = (optax.apply_updates(state.theta, updates), moved)
        some = report.skipped < len(estimates)
        theta, optimizer_state = jax.tree.map(
            lambda new, old: jnp.where(some, new, old),
            moved,
            (state.theta, state.optimizer),
        )
        average = theta_averages.updated(state.average, theta, theta_average)
        moved = theta, average, state.count + 1, optimizer_state
        return GradientTrainerState(*moved, {}, sizes), report

    return apply

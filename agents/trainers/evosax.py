"""Black-box strategies of evosax (CMA-ES, OpenAI-ES, SNES, ...), driven by ask and tell.

    θ₁ … θ_P ~ the strategy's distribution;  it is told mean ℓ̃ of each on the same episodes

evosax minimizes, and so do we. θ is the distribution's mean. `pip install 'opt-gym[evosax]'`
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from agents.estimators import populations
from agents.estimators.trainer_record import outer_trainer
from agents.records import Horizon, OuterTrainer, Report, TrainerTraits, longest
from agents.task_mixes import TaskMix
from opt_gym.checks import check_choice, check_positive, is_number
from opt_gym.plugins import Spec, unknown
from opt_gym.records import Data, LearnedOptimizer
from opt_gym.setting_kinds import check_kind

OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "adam": optax.adam,
    "sgd": optax.sgd,
}
"""What a strategy that estimates a gradient may follow it with."""

_NOT_FOR_US = {
    "PersistentES": "it wants costs of single windows: use the outer-trainer 'pes'",
    "NoiseReuseES": "it wants costs of single windows: use the outer-trainer 'pes'",
    "RandomSearch": "it needs a function: use the outer-trainer 'random_search'",
    "SV_CMA_ES": "it has several means",
    "SV_Open_ES": "it has several means",
}
_OURS = {
    *("self", "population_size", "solution", "optimizer", "std_schedule"),
    *("fitness_shaping_fn", "metrics_fn", "params", "params_path"),
}
"""Arguments of a strategy's constructor that are no options here."""


class EvosaxState(NamedTuple):
    """strategy: evosax's own state; turn: outer steps done."""

    strategy: PyTree
    turn: Int[Array, ""]


def make(
    *,
    mix: TaskMix,
    learned_optimizer: LearnedOptimizer,
    strategy: str = "CMA_ES",
    population: int = 16,
    num_episodes: int = 1,
    sigma: float = 0.01,
    learning_rate: float | None = None,
    optimizer: str = "adam",
    strategy_options: Mapping[str, Any] | None = None,
    trunc_length: int = 50,
    horizon: Horizon = 1000,
    aggregation: str = "mean",
) -> OuterTrainer:
    """The outer-trainer "evosax".

    A report's outer-loss is the mean over the population. CMA_ES and others with a full
    covariance keep a [d, d] matrix of θ's d numbers; Sep_CMA_ES does not.

    Args:
        mix: the tasks.
        learned_optimizer: whose θ is trained.
        strategy: a distribution-based one, by evosax's name.
        population: P, candidates of a step.
        num_episodes: of every candidate.
        sigma: the initial standard deviation (of strategies with a schedule: the constant
            one; of GradientlessDescent: its largest), in units of θ.
        learning_rate: for strategies that follow a gradient; by default they use the
            optimizer that evosax gives them.
        optimizer: "adam" or "sgd", with `learning_rate`.
        strategy_options: what else its constructor takes (`use_antithetic_sampling`), and
            fields of its params (`std_min`), numbers by name.
        trunc_length: K, the inner steps of a compiled window.
        horizon: a length, or (low, high) of a log-uniform one; rounded up to multiples of K.
        aggregation: what counts: the "mean" over an episode, or the "final" loss (the mean
            over the last K steps).

    Raises:
        ValueError: an unknown strategy or option, a setting out of its range.
        ImportError: evosax is not installed.
        FloatingPointError: in a step, from a strategy that is beside itself (LM_MA_ES in few
            dimensions): a θ that is not finite is never handed on.
    """
    check_positive("sigma", sigma)
    check_choice("optimizer", optimizer, list(OPTIMIZERS))
    settings: dict[str, Any] = {
        "population": population,
        "num_episodes": num_episodes,
        "trunc_length": trunc_length,
        "horizon": horizon,
        "aggregation": aggregation,
    }
    evaluate = populations.evaluator(mix, learned_optimizer, **settings)
    chosen = {
        "strategy": strategy,
        "sigma": sigma,
        "learning_rate": learning_rate,
        "optimizer": optimizer,
        "strategy_options": dict(strategy_options or {}),
    }
    shapes = jax.eval_shape(learned_optimizer.init_theta, jax.random.key(0))
    built, params = _build(shapes, population, **chosen)

    def init(
        key: PRNGKeyArray, data: tuple[Data, ...], theta: PyTree, outer_step: int = 0
    ) -> EvosaxState:
        with jax.numpy_rank_promotion("allow"):  # evosax broadcasts
            state = _strong(built.init(key, theta, params))
        return EvosaxState(state, jnp.zeros((), jnp.int32))

    def step(
        key: PRNGKeyArray, data: tuple[Data, ...], state: EvosaxState
    ) -> tuple[EvosaxState, Report]:
        k_ask, k_tell, k_episodes = jax.random.split(key, 3)
        with jax.numpy_rank_promotion("allow"):
            thetas, asked = built.ask(k_ask, state.strategy, params)
        # Costs are never NaN, which would poison a strategy's mean: the dead pay 2.
        evaluated = evaluate(k_episodes, thetas, data, int(state.turn))
        with jax.numpy_rank_promotion("allow"):
            moved, _ = built.tell(k_tell, thetas, evaluated.costs, asked, params)
        if not np.all(np.isfinite(moved.mean)):
            raise FloatingPointError(
                f"evosax's {strategy} moved its mean to numbers that are not finite"
            )
        report = populations.report(evaluated, jnp.mean(evaluated.costs))
        return EvosaxState(_strong(moved), state.turn + 1), report

    return outer_trainer(
        "evosax",
        {"evosax": {**settings, **chosen}},
        mix,
        learned_optimizer,
        init=init,
        step=step,
        theta=lambda state: built.get_mean(state.strategy),
        horizon=longest(horizon),
    )


def _build(
    shapes: PyTree,
    population: int,
    *,
    strategy: str,
    sigma: float,
    learning_rate: float | None,
    optimizer: str,
    strategy_options: Mapping[str, Any],
) -> tuple[Any, Any]:
    """(evosax's strategy, its params)."""
    known = _strategies()
    if strategy in _NOT_FOR_US:
        raise ValueError(f"strategy {strategy!r}: {_NOT_FOR_US[strategy]}")
    if strategy not in known:
        raise ValueError(unknown("strategy of evosax", strategy, list(known)))
    arguments = set(inspect.signature(known[strategy].__init__).parameters)
    options = {k: v for k, v in strategy_options.items() if k in arguments - _OURS}
    for name, value in options.items():
        check_kind(f"strategy {strategy!r}", name, value, known[strategy].__init__)
    if "std_schedule" in arguments:
        options["std_schedule"] = optax.constant_schedule(sigma)
    if learning_rate is not None:
        _check_learning_rate(strategy, arguments, learning_rate)
        options["optimizer"] = OPTIMIZERS[optimizer](learning_rate)
    solution = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    try:
        built = known[strategy](population, solution, **options)
        params = built.default_params
    except (AssertionError, TypeError, ValueError) as error:
        raise ValueError(f"evosax's {strategy}: {error}") from error
    known_fields = {field.name for field in fields(params)} - _OURS
    replaced = {k: v for k, v in strategy_options.items() if k not in options}
    _check_fields(strategy, replaced, known_fields, arguments - _OURS)
    for name in {"std_init", "radius_max"} & known_fields:
        replaced.setdefault(name, sigma)
    return built, params.replace(**replaced)


def _check_fields(
    strategy: str, replaced: Mapping[str, Any], fields: set[str], arguments: set[str]
) -> None:
    """Raises ValueError for what is no field of the strategy's params, or no number."""
    for name, value in replaced.items():
        if name not in fields:
            listed = sorted(arguments | fields)
            raise ValueError(
                unknown(
                    f"entry of strategy_options, option of {strategy}", name, listed
                )
            )
        if not (is_number(value) and np.isfinite(value)):
            raise ValueError(
                f"strategy {strategy!r}: {name} must be a finite number, got {value!r}"
            )


def _strategies() -> dict[str, Any]:
    try:
        from evosax.algorithms import distribution_based_algorithms
    except ImportError:
        raise ImportError(
            "the outer-trainer 'evosax' needs evosax: pip install 'opt-gym[evosax]'"
        ) from None
    return {
        name: algorithm
        for name, algorithm in distribution_based_algorithms.items()
        if name not in _NOT_FOR_US
    }


def _check_learning_rate(
    strategy: str, arguments: set[str], learning_rate: float
) -> None:
    if "optimizer" not in arguments:
        raise ValueError(
            f"strategy {strategy!r} has no use for a learning_rate, got {learning_rate!r}"
        )
    check_positive("learning_rate", learning_rate)


def _strong(state: PyTree) -> PyTree:
    """The state without weak types, as a checkpoint gives it back: one program for both."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, leaf.dtype), state)


SPEC = Spec(
    kind="trainer",
    name="evosax",
    make=make,
    source="Lange 2022, evosax, arXiv 2212.04180 (version 0.3.2)",
    traits=TrainerTraits(settings={"strategy": "CMA_ES"}),
)

"""TaskSet's search spaces of optimizers: trial number -> published settings -> θ.

    space = SPACES["nadamw_grid"]
    config = space.sample(3)      # what TaskSet publishes as nadamw_grid_seed3
    entries = space.theta(config)    # θ of the architecture `space.architecture`

A trial is a seed: 0 to 999 are published, others are drawn in the same way. The order and
the kind of every draw is part of the format, as for task configs.

Where TaskSet's code has faults, a space takes the architecture's `faithful` form, with which
the published curves were made; `<space>_corrected` is the same settings without the faults.

Source: Metz et al. 2020, arXiv 2002.11887 (google-research/task_set, optimizers/).
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.random import RandomState

from opt_gym.evaluation.opt_list_order import SEEDS
from opt_gym.records import Config
from opt_gym.tasks.building.samplers import log_float, uniform

MAX_TRIALS = 2000
"""How many trials of a space a baseline may have: twice what is published."""

LOG10_RATES = tuple(-7 + 0.5 * step for step in range(17))
"""The learning rates of TaskSet's fixed grids, as powers of ten: -7, -6.5, ... 1."""


class SearchSpace(NamedTuple):
    """An ordered list of settings of one hand-designed optimizer, drawn when asked for.

    Attributes:
        title: for reports.
        architecture: the plug-in whose θ the settings are.
        options: its settings that are not in θ.
        num_trials: how many there are.
        sample: trial, 0 to num_trials − 1 -> settings, as published.
        theta: settings -> entries of θ; those it leaves out stay the architecture's own.
    """

    title: str
    architecture: str
    options: Config
    num_trials: int
    sample: Callable[[int], Config]
    theta: Callable[[Config], dict[str, float]]

    def trial(self, number: int) -> dict[str, float]:
        """The entries of θ of one trial.

        Raises:
            ValueError: a number that the space does not have.
        """
        if not 0 <= number < self.num_trials:
            raise ValueError(
                f"trial must be 0 to {self.num_trials - 1} for {self.title!r}, got "
                f"{number}"
            )
        return self.theta(self.sample(number))


def log_uniform_box(
    architecture: str, bounds: Mapping[str, Sequence[float]]
) -> SearchSpace:
    """Entries of θ, each log-uniform in [low, high]; trial i is what seed i draws.

    Args:
        architecture: whose θ they belong to.
        bounds: by entry, (low, high), 0 < low <= high; entries are drawn in this order.

    Raises:
        ValueError: no bounds, or bounds that cannot be.
    """
    if not bounds:
        raise ValueError("a box needs the bounds of at least one entry of θ")
    for entry, interval in bounds.items():
        if len(interval) != 2 or not 0 < interval[0] <= interval[1] < np.inf:
            raise ValueError(
                f"bounds of {entry!r} must be 0 < low <= high, got {tuple(interval)}"
            )

    def draw(trial: int) -> Config:
        rng = RandomState(trial)
        return {
            entry: log_float(rng, low, high) for entry, (low, high) in bounds.items()
        }

    return SearchSpace("box", architecture, {}, MAX_TRIALS, draw, _plain)


def sample(space: str, seed: int) -> Config:
    """The settings of one seed of a search space: keys and values as TaskSet publishes them.

    Args:
        space: one of `SAMPLERS`.
        seed: 0 to 999 are published; any other >= 0 is drawn in the same way.

    Raises:
        ValueError: an unknown space, or a seed that numpy's RandomState cannot take.
    Source: TaskSet, optimizers/<space>.py.
    """
    if space not in SAMPLERS:
        raise ValueError(f"unknown space {space!r} (known: {', '.join(SAMPLERS)})")
    offset, draw = SAMPLERS[space]
    if not 0 <= seed < 2**32 - offset:
        raise ValueError(
            f"seed of {space!r} must be 0 to {2**32 - 1 - offset}, got {seed}"
        )
    return draw(RandomState(seed + offset))


def _adam1p(rng: RandomState) -> Config:
    return {"learning_rate": log_float(rng, 1e-8, 10.0)}


def _adam4p(rng: RandomState) -> Config:
    return {
        "learning_rate": log_float(rng, 1e-8, 10.0),
        "beta1": 1 - log_float(rng, 1e-4, 1.0),
        "beta2": 1 - log_float(rng, 1e-6, 1.0),
        "epsilon": log_float(rng, 1e-10, 1e3),
    }


def _decays(rng: RandomState) -> Config:
    # The bounds of the second are in TaskSet's order, upper first.
    return {
        "linear_decay": log_float(rng, 1e-7, 1e-4),
        "exponential_decay": log_float(rng, 1e-3, 1e-6),
    }


def _adam6p(rng: RandomState) -> Config:
    return {**_adam4p(rng), **_decays(rng)}


def _adam8p(rng: RandomState) -> Config:
    return {
        **_adam4p(rng),
        "l1": log_float(rng, 1e-8, 10.0),
        "l2": log_float(rng, 1e-8, 10.0),
        **_decays(rng),
    }


def _nadamw(rng: RandomState) -> Config:
    adam = {
        "learning_rate": log_float(rng, 1e-5, 1.0),
        "beta1": 1 - log_float(rng, 1e-3, 1.0),
        "beta2": 1 - log_float(rng, 1e-5, 1.0),
        "epsilon": log_float(rng, 1e-8, 1e4),
        "use_nesterov": uniform(rng, 0.0, 1.0) > 0.5,
    }
    # A third of the settings have the one decay, a third the other, a third both.
    kind = uniform(rng, 0.0, 1.0)
    adamw = 0.0 if 0.3333 <= kind < 0.6666 else log_float(rng, 1e-5, 1e-1)
    l2 = 0.0 if kind < 0.3333 else log_float(rng, 1e-5, 1e-1)
    has_warmup = uniform(rng, 0.0, 1.0) > 0.5
    warmup = log_float(rng, 1e-5, 1e-1) if has_warmup else 0.0
    ends_at_zero = uniform(rng, 0.0, 1.0) > 0.5
    lowest = 0.0 if ends_at_zero else log_float(rng, 1e-5, 1.0)
    return {
        **adam,
        "adamw_weight_decay": adamw,
        "l2_weight_decay": l2,
        "warmup_fraction": warmup,
        "min_learning_rate_mult": lowest,
        "constant_fraction": uniform(rng, 0.0, 1.0),
    }


def _adagrad(rng: RandomState) -> Config:
    return {
        "learning_rate": log_float(rng, 1e-8, 10.0),
        "initial_accumulator_value": log_float(rng, 1e-10, 1e3),
    }


SAMPLERS: dict[str, tuple[int, Callable[[RandomState], Config]]] = {
    "adam1p_wide_grid": (4123, _adam1p),
    "adam4p_wide_grid": (0, _adam4p),
    "adam6p_wide_grid": (123455, _adam6p),
    "adam8p_wide_grid": (0, _adam8p),
    "nadamw_grid": (14358, _nadamw),
    "adagrad_wide_grid": (0, _adagrad),
}
"""By space: what is added to the seed, and the draws."""

_TF_ADAM = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}


def _plain(config: Config) -> dict[str, float]:
    return {key: float(value) for key, value in config.items()}


def _with_rounded_betas(config: Config) -> dict[str, float]:
    """θ of an Adam that rounds β to float32 and then takes it from 1, as TensorFlow's does."""
    return _one_minus_betas(
        config, lambda beta: float(np.float32(1) - np.float32(beta))
    )


def _with_exact_betas(config: Config) -> dict[str, float]:
    """θ of an Adam that takes β from 1 in float64, as TaskSet's own does."""
    return _one_minus_betas(config, lambda beta: 1 - beta)


def _one_minus_betas(
    config: Config, one_minus: Callable[[float], float]
) -> dict[str, float]:
    rest = {k: v for k, v in config.items() if k not in ("beta1", "beta2")}
    return {
        **_plain(rest),
        "one_minus_b1": one_minus(config["beta1"]),
        "one_minus_b2": one_minus(config["beta2"]),
    }


def _tf_adam(config: Config) -> dict[str, float]:
    return _with_rounded_betas({**_TF_ADAM, **config})


def _rate_of_grid(number: int) -> Config:
    return {"learning_rate": 10.0 ** LOG10_RATES[number]}


def _of_list(number: int) -> Config:
    return sample("nadamw_grid", SEEDS[number])


def _space(
    name: str,
    architecture: str,
    theta: Callable[[Config], dict[str, float]],
    options: Config | None = None,
) -> SearchSpace:
    draw = partial(sample, name)
    return SearchSpace(name, architecture, options or {}, MAX_TRIALS, draw, theta)


_FAITHFUL = {"faithful": True}
_nadamw_space = _space("nadamw_grid", "nadamw", _with_rounded_betas, _FAITHFUL)

_OF_TASKSET = (
    _space("adam1p_wide_grid", "tf_adam", _tf_adam),
    _space("adam4p_wide_grid", "tf_adam", _tf_adam),
    # TaskSet's adam6p is its adam8p without penalties, and is told the number of steps.
    _space("adam6p_wide_grid", "adam8p", _with_exact_betas),
    _space("adam8p_wide_grid", "adam8p", _with_exact_betas, _FAITHFUL),
    _nadamw_space,
    _space("adagrad_wide_grid", "adagrad", _plain),
    SearchSpace(
        "adam_lr_grid", "tf_adam", {}, len(LOG10_RATES), _rate_of_grid, _tf_adam
    ),
    SearchSpace(
        "adagrad_lr_grid", "adagrad", {}, len(LOG10_RATES), _rate_of_grid, _plain
    ),
    _nadamw_space._replace(title="opt_list", num_trials=len(SEEDS), sample=_of_list),
)

_CORRECTED = tuple(
    space._replace(title=f"{space.title}_corrected", options={})
    for space in _OF_TASKSET
    if space.options
)

SPACES = {space.title: space for space in (*_OF_TASKSET, *_CORRECTED)}
"""By title: TaskSet's six, its two fixed grids of learning rates (`adam_lr_-7` is the first
trial of `adam_lr_grid`), OptList in its published order, and the corrected ones."""

"""The settings of every kind of losg_tasks: drawn as TaskSet draws them, and checked."""

import math
from collections.abc import Callable
from typing import Any

from numpy.random import RandomState

from opt_gym.records import Config
from opt_gym.tasks.building import config_checks, samplers
from opt_gym.tasks.losg import losg_plane

BASES = (
    "quadratic",
    "bowl",
    "optimization_test_problems",
    "fully_connected",
    "norm",
    "dependency_chain",
    "outward_snake",
    "min_max_well",
    "sum_of_quadratics",
    "projection_quadratic",
)
"""What a wrapper can wrap, in the order of the draw."""

ANGLES = (0.0, 0.0, math.pi / 4, math.pi / 3)


def sample_settings(rng: RandomState, kind: str) -> Config:
    """The settings of one kind, drawn in TaskSet's order."""
    return _SAMPLERS[kind](rng)


def check_settings(where: str, kind: str, settings: Any) -> None:
    """Raises a ValueError, by name, unless they are settings of this kind."""
    checks = CHECKS[kind]
    optional = ("initial",) if kind in ("bowl", "optimization_test_problems") else ()
    config_checks.check_keys(where, settings, tuple(checks), optional)
    for key, check in checks.items():
        check(where, key, settings[key])
    if "initial" in settings:
        _check_point(where, "initial", settings["initial"])


def _noise(rng: RandomState, noisy: bool) -> float:
    # Whether there is noise is drawn first, how much of it later.
    return samplers.log_float(rng, 0.01, 10) if noisy else 0.0


def _base(rng: RandomState) -> list[Any]:
    kind = samplers.pick(rng, BASES)
    return [kind, sample_settings(rng, kind)]


def _quadratic(rng: RandomState) -> Config:
    noisy = samplers.coin(rng, 0.5)
    dim = samplers.log_int(rng, 10, 1000)
    return {"dim": dim, "noise_stdev": _noise(rng, noisy)}


def _bowl(rng: RandomState) -> Config:
    noisy = samplers.coin(rng, 0.5)
    cond = samplers.log_float(rng, 0.01, 100)
    angle = samplers.pick(rng, ANGLES)
    return {"cond": cond, "angle": angle, "noise_stdev": _noise(rng, noisy)}


def _sparse_softmax(rng: RandomState) -> Config:
    noisy = samplers.coin(rng, 0.5)
    return {
        "n_features": samplers.log_int(rng, 2, 100),
        "n_classes": 2,
        "noise_stdev": _noise(rng, noisy),
        "bs": samplers.log_int(rng, 1, 50),
        "n_samples": samplers.log_int(rng, 1, 30),
    }


def _test_function(rng: RandomState) -> Config:
    noisy = samplers.coin(rng, 0.5)
    problem = samplers.pick(rng, losg_plane.SAMPLED)
    return {"problem": problem, "noise_stdev": _noise(rng, noisy)}


def _fully_connected(rng: RandomState) -> Config:
    depth = samplers.pick(rng, (2, 3, 4, 5))
    equal = samplers.coin(rng, 0.5)
    settings = {
        "n_features": samplers.log_int(rng, 1, 16),
        "n_classes": 2,
        "activation": samplers.activation(rng),
        "bs": samplers.log_int(rng, 1, 200),
        "n_samples": samplers.log_int(rng, 1, 30),
    }
    sizes = [samplers.log_int(rng, 4, 32) for _ in range(1 if equal else depth)]
    return {**settings, "hidden_sizes": sizes * depth if equal else sizes}


def _norm(rng: RandomState) -> Config:
    dim = samplers.log_int(rng, 3, 1000)
    return {"dim": dim, "norm_power": samplers.uniform(rng, 0.1, 5)}


def _rows(rng: RandomState) -> Config:
    return {
        "dim": samplers.log_int(rng, 3, 100),
        "bs": samplers.log_int(rng, 1, 200),
        "n_samples": samplers.log_int(rng, 100, 20000),
    }


def _sparse(rng: RandomState) -> Config:
    noisy = samplers.coin(rng, 0.5)
    return {
        "base": _base(rng),
        "zero_probability": samplers.uniform(rng, 0.9, 0.99),
        "noise_stdev": _noise(rng, noisy),
    }


def _rescale(rng: RandomState) -> Config:
    return {"base": _base(rng), "scale": samplers.log_float(rng, 0.001, 1000)}


_SAMPLERS: dict[str, Callable[[RandomState], Config]] = {
    "bowl": _bowl,
    "dependency_chain": _rows,
    "fully_connected": _fully_connected,
    "log_objective": lambda rng: {"base": _base(rng)},
    "min_max_well": _quadratic,
    "norm": _norm,
    "optimization_test_problems": _test_function,
    "outward_snake": _rows,
    "projection_quadratic": _rows,
    "quadratic": _quadratic,
    "rescale_problems": _rescale,
    "sparse_problems": _sparse,
    "sparse_softmax_regression": _sparse_softmax,
    "sum_of_quadratics": _rows,
}
KINDS = tuple(_SAMPLERS)
"""All 14, in the order of the draw."""

Check = Callable[[str, str, Any], None]


def _at_least(least: int) -> Check:
    return lambda where, key, value: config_checks.check_int(where, key, value, least)


def _check_stdev(where: str, key: str, value: Any) -> None:
    valid = config_checks.is_number(value) and value >= 0
    config_checks.check(where, key, value, valid, "a number >= 0")


def _check_number(where: str, key: str, value: Any) -> None:
    config_checks.check(where, key, value, config_checks.is_number(value), "a number")


def _check_probability(where: str, key: str, value: Any) -> None:
    valid = config_checks.is_number(value) and 0 <= value < 1
    config_checks.check(where, key, value, valid, "a number in [0, 1)")


def _check_two(where: str, key: str, value: Any) -> None:
    valid = config_checks.is_int(value, 2) and value == 2
    config_checks.check(where, key, value, valid, "2")


def _check_activation(where: str, key: str, value: Any) -> None:
    config_checks.check_activation(where, value)


def _check_point(where: str, key: str, value: Any) -> None:
    pair = isinstance(value, list | tuple) and len(value) == 2
    valid = pair and all(map(config_checks.is_number, value))
    config_checks.check(where, key, value, valid, "two numbers")


def _check_function(where: str, key: str, value: Any) -> None:
    config_checks.check_choice(where, key, value, tuple(losg_plane.FUNCTIONS))


def _check_base(where: str, key: str, value: Any) -> None:
    pair = isinstance(value, list | tuple) and len(value) == 2
    config_checks.check(where, key, value, pair, "[kind, {settings}]")
    kind, settings = value
    config_checks.check_choice(where, f"kind of {key}", kind, BASES)
    check_settings(f"{where}: {key} {kind}", kind, settings)


def _row_checks(least_samples: int, least_dim: int = 1) -> dict[str, Check]:
    return {
        "dim": _at_least(least_dim),
        "bs": _at_least(1),
        "n_samples": _at_least(least_samples),
    }


CHECKS: dict[str, dict[str, Check]] = {
    "bowl": {
        "cond": config_checks.check_positive,
        "angle": _check_number,
        "noise_stdev": _check_stdev,
    },
    "dependency_chain": _row_checks(1),
    "fully_connected": {
        "n_features": _at_least(1),
        "n_classes": _check_two,
        "activation": _check_activation,
        "bs": _at_least(1),
        "n_samples": _at_least(1),
        "hidden_sizes": config_checks.check_sizes,
    },
    "log_objective": {"base": _check_base},
    "min_max_well": {"dim": _at_least(1), "noise_stdev": _check_stdev},
    "norm": {
        "dim": config_checks.check_side,
        "norm_power": config_checks.check_positive,
    },
    "optimization_test_problems": {
        "problem": _check_function,
        "noise_stdev": _check_stdev,
    },
    "outward_snake": _row_checks(1, least_dim=2),
    # Rows come in pairs z, -z.
    "projection_quadratic": _row_checks(2),
    "quadratic": {"dim": config_checks.check_side, "noise_stdev": _check_stdev},
    "rescale_problems": {"base": _check_base, "scale": config_checks.check_positive},
    "sparse_problems": {
        "base": _check_base,
        "zero_probability": _check_probability,
        "noise_stdev": _check_stdev,
    },
    "sparse_softmax_regression": {
        "n_features": _at_least(1),
        "n_classes": _check_two,
        "noise_stdev": _check_stdev,
        "bs": _at_least(1),
        "n_samples": _at_least(1),
    },
    "sum_of_quadratics": _row_checks(2),
}
"""Kind -> its keys as published, and what their values must be."""

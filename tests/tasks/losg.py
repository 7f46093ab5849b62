"""Small synthetic problems of every kind, and what their tests share."""

import math
from functools import partial

import jax
import numpy as np

from opt_gym.tasks import losg_tasks

ROWS = {"dim": 2, "bs": 2, "n_samples": 6}
PARITY = {"n_features": 2, "n_classes": 2, "noise_stdev": 0.0, "bs": 4, "n_samples": 8}
NET = {
    "n_features": 2,
    "n_classes": 2,
    "activation": "tanh",
    "bs": 3,
    "n_samples": 5,
    "hidden_sizes": [1],
}
SETTINGS = {
    "bowl": {"cond": 4.0, "angle": math.pi / 2, "noise_stdev": 0.0},
    "dependency_chain": ROWS,
    "fully_connected": NET,
    "min_max_well": {"dim": 3, "noise_stdev": 0.0},
    "norm": {"dim": 2, "norm_power": 0.5},
    "optimization_test_problems": {"problem": "rosenbrock", "noise_stdev": 0.0},
    "outward_snake": ROWS,
    "projection_quadratic": ROWS,
    "quadratic": {"dim": 2, "noise_stdev": 0.0},
    "sparse_softmax_regression": PARITY,
    "sum_of_quadratics": ROWS,
    "log_objective": {"base": ["quadratic", {"dim": 2, "noise_stdev": 3.0}]},
    "rescale_problems": {
        "base": ["quadratic", {"dim": 2, "noise_stdev": 3.0}],
        "scale": 2.0,
    },
    "sparse_problems": {
        "base": ["quadratic", {"dim": 2, "noise_stdev": 3.0}],
        "zero_probability": 0.9,
        "noise_stdev": 0.5,
    },
}
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
"""Everything here runs once."""

PARITY_KIND = "sparse_softmax_regression"


def config(kind, seed: int | None = 3, **changes):
    settings = {**SETTINGS[kind], **changes}
    return {"kind": kind, "settings": settings, "problem_seed": seed}


def build(kind, seed: int | None = 3, **changes):
    return losg_tasks.build(config(kind, seed, **changes))


def start(task):
    """(φ, ψ, a batch) of one key, as numpy arrays."""
    return jax.tree.map(lambda array: array[0], starts(task, 1))


def starts(task, num):
    """(φ, ψ, a batch), each with a leading axis of so many keys."""
    data = task.load_data("embedded")

    def both(key, data):
        params, instance = task.init(key, data)
        k_batch = jax.random.fold_in(key, 1)
        return params, instance, task.sample_batch(k_batch, data, instance, "train")

    keys = jax.random.split(jax.random.key(0), num)
    found = jit(jax.vmap(both, in_axes=(0, None)))(keys, data)
    return jax.tree.map(np.asarray, found)

"""Networks that solve differential equations: losses that span many decades."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray
from numpy.random import RandomState

from opt_gym.records import Batch, Config, Data
from opt_gym.tasks.building import config_checks, layers, samplers
from opt_gym.tasks.building.activations import ACTIVATIONS
from opt_gym.tasks.building.model import (
    Design,
    Loss,
    Model,
    Params,
    Source,
    family_spec,
    linear_tensors,
    no_data,
)

FAMILY = "physics"
KEYS = (
    *("equation", "frequency", "boundary_weight", "batch_size"),
    *("layer_sizes", "activation", "w_init"),
)
SMOOTH = ("cos", "sigmoid", "swish", "tanh")
"""Activations with two derivatives."""

DAMPING = 2.0

Field = Callable[[Float[Array, "b d"]], Float[Array, " b"]]
"""Points in the unit cube -> u there."""


class Equation(NamedTuple):
    """A differential equation on the unit interval or the unit square of (x, t).

    Attributes:
        axes: d, coordinates of a point.
        residual: (u, points [b, d], frequency) -> [b], 0 where u solves it.
        boundary: (u, s [b] in [0, 1], frequency) -> arrays [b], 0 where u fits.
        solution: (points, frequency) -> u [b].
    """

    axes: int
    residual: Callable[[Field, Array, int], Array]
    boundary: Callable[[Field, Array, int], tuple[Array, ...]]
    solution: Callable[[Array, int], Array]


def sample_config(seed: int) -> Config:
    """A config of our own: 1-4 hidden layers of 16-128 units, 32-512 points a batch."""
    rng = RandomState(seed)
    depth = samplers.pick(rng, (1, 2, 3, 4))
    return {
        "equation": samplers.pick(rng, tuple(EQUATIONS)),
        "frequency": samplers.pick(rng, (1, 2, 3, 4)),
        "boundary_weight": samplers.log_float(rng, 1.0, 1000.0),
        "batch_size": samplers.log_int(rng, 32, 512),
        "layer_sizes": [samplers.log_int(rng, 16, 128) for _ in range(depth)],
        "activation": samplers.pick(rng, SMOOTH),
        "w_init": [samplers.pick(rng, ("glorot_normal", "glorot_uniform")), None],
    }


def design(config: Config) -> Design:
    """A perceptron u of the coordinates, mapped to [-1, 1]; no data, points are drawn anew.

    loss = mean residual² + boundary_weight · Σ mean (misfit at a side)². φ = (w0, b0, w1,
    b1, ...). error: √(Σ (u − solution)² / Σ solution²) over the batch's points.
    k is the `frequency`:

        poisson      u'' = −(πk)² sin(πk x),  u(0) = u(1) = 0
        oscillator   u'' + 4 u' + (2πk)² u = 0,  u(0) = 1,  u'(0) = 0
        advection    u_t + u_x = 0,  u(x, 0) = sin(2πk x),  u(0, t) = u(1, t)
        heat         u_t = u_xx/(πk)²,  u(x, 0) = sin(πk x),  u(0, t) = u(1, t) = 0

    Source: Raissi et al. 2019, doi 10.1016/j.jcp.2018.10.045 (physics-informed networks).

    Raises:
        ValueError: a key or a value that cannot be used, by name.
    """
    config = _checked(config)
    equation = EQUATIONS[config["equation"]]
    activation = ACTIVATIONS[config["activation"]]
    w_init = (config["w_init"][0], config["w_init"][1])
    size, weight, k = (
        config["batch_size"],
        config["boundary_weight"],
        config["frequency"],
    )
    units = [equation.axes, *config["layer_sizes"], 1]
    tensors = linear_tensors(units, w_init)

    def loss(
        params: Params, instance: Any, noise: tuple[Array, ...], batch: Batch
    ) -> Loss:
        def u(points: Array) -> Array:
            return layers.mlp(params, 2.0 * points - 1.0, activation)[:, 0]

        points, sides = batch.inputs, batch.targets
        value = jnp.mean(equation.residual(u, points, k) ** 2)
        for misfit in equation.boundary(u, sides, k):
            value = value + weight * jnp.mean(misfit**2)
        true = equation.solution(points, k)
        error = jnp.sqrt(jnp.sum((u(points) - true) ** 2) / jnp.sum(true**2))
        return value, {"error": error}

    def sample(key: PRNGKeyArray, data: Data, split: str) -> Batch:
        drawn = jax.random.uniform(key, (size, equation.axes + 1))
        return Batch(drawn[:, :-1], drawn[:, -1])

    source = Source("none", size, "array", no_data, sample)
    return Design(FAMILY, config, Model(tuple(tensors), loss), source)


def slope(u: Field, points: Float[Array, "b d"], axis: int) -> Float[Array, " b"]:
    """∂u/∂(coordinate `axis`) at the `points`."""
    along = jnp.zeros_like(points).at[:, axis].set(1.0)
    return jax.jvp(u, (points,), (along,))[1]


def curvature(u: Field, points: Float[Array, "b d"], axis: int) -> Float[Array, " b"]:
    """∂²u/∂(coordinate `axis`)² at the `points`."""
    return slope(lambda inner: slope(u, inner, axis), points, axis)


def _at(x: Array | float, t: Array | float | None, like: Array) -> Array:
    """Points [b, d] of coordinates that may be one number."""
    parts = [x] if t is None else [x, t]
    return jnp.stack([jnp.broadcast_to(part, like.shape) for part in parts], axis=1)


def _poisson(u: Field, points: Array, k: int) -> Array:
    force = (math.pi * k) ** 2 * jnp.sin(math.pi * k * points[:, 0])
    return curvature(u, points, 0) + force


def _oscillator(u: Field, points: Array, k: int) -> Array:
    moved = curvature(u, points, 0) + 2.0 * DAMPING * slope(u, points, 0)
    return moved + (2.0 * math.pi * k) ** 2 * u(points)


def _oscillation(points: Array, k: int) -> Array:
    t, own = points[:, 0], math.sqrt((2.0 * math.pi * k) ** 2 - DAMPING**2)
    swing = jnp.cos(own * t) + DAMPING / own * jnp.sin(own * t)
    return jnp.exp(-DAMPING * t) * swing


def _fixed_ends(u: Field, s: Array, k: int) -> tuple[Array, ...]:
    return u(_at(0.0, None, s)), u(_at(1.0, None, s))


def _released(u: Field, s: Array, k: int) -> tuple[Array, ...]:
    start = _at(0.0, None, s)
    return u(start) - 1.0, slope(u, start, 0)


def _advected(u: Field, s: Array, k: int) -> tuple[Array, ...]:
    start = u(_at(s, 0.0, s)) - jnp.sin(2.0 * math.pi * k * s)
    return start, u(_at(0.0, s, s)) - u(_at(1.0, s, s))


def _heated(u: Field, s: Array, k: int) -> tuple[Array, ...]:
    start = u(_at(s, 0.0, s)) - jnp.sin(math.pi * k * s)
    return start, u(_at(0.0, s, s)), u(_at(1.0, s, s))


EQUATIONS = {
    "poisson": Equation(
        1, _poisson, _fixed_ends, lambda z, k: jnp.sin(math.pi * k * z[:, 0])
    ),
    "oscillator": Equation(1, _oscillator, _released, _oscillation),
    "advection": Equation(
        2,
        lambda u, z, k: slope(u, z, 1) + slope(u, z, 0),
        _advected,
        lambda z, k: jnp.sin(2.0 * math.pi * k * (z[:, 0] - z[:, 1])),
    ),
    "heat": Equation(
        2,
        lambda u, z, k: slope(u, z, 1) - curvature(u, z, 0) / (math.pi * k) ** 2,
        _heated,
        lambda z, k: jnp.exp(-z[:, 1]) * jnp.sin(math.pi * k * z[:, 0]),
    ),
}
"""By name; see `design`."""


def _checked(config: Config) -> Config:
    config = config_checks.strip(FAMILY, config, KEYS)
    config_checks.check_choice(FAMILY, "equation", config["equation"], list(EQUATIONS))
    config_checks.check_int(FAMILY, "frequency", config["frequency"], 1)
    config_checks.check_int(FAMILY, "batch_size", config["batch_size"], 1)
    config_checks.check_positive(FAMILY, "boundary_weight", config["boundary_weight"])
    config_checks.check_sizes(FAMILY, "layer_sizes", config["layer_sizes"], 1)
    config_checks.check_choice(FAMILY, "activation", config["activation"], SMOOTH)
    config_checks.check_initializer(FAMILY, "w_init", config["w_init"])
    return config


SPEC = family_spec(
    FAMILY,
    design,
    sample_config,
    source="ours; Raissi et al. 2019, doi 10.1016/j.jcp.2018.10.045",
)

"""Equations hold for their solutions, and derivatives are those of finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from opt_gym import plugins
from opt_gym.records import Batch
from opt_gym.tasks import physics

CONFIG = {
    "family": "physics",
    "equation": "heat",
    "frequency": 2,
    "boundary_weight": 10.0,
    "batch_size": 64,
    "layer_sizes": [8, 6],
    "activation": "tanh",
    "w_init": ["glorot_normal", None],
}


@pytest.mark.parametrize("name", physics.EQUATIONS)
def test_the_solution_solves_the_equation_and_nothing_else_does(name):
    equation, k = physics.EQUATIONS[name], 2
    points = jax.random.uniform(jax.random.key(0), (32, equation.axes))
    sides = jax.random.uniform(jax.random.key(1), (32,))

    def solution(points):
        return equation.solution(points, k)

    size = np.abs(physics.slope(solution, points, 0)).max() ** 2
    residual = equation.residual(solution, points, k)
    np.testing.assert_allclose(residual, np.zeros(32), atol=1e-5 * size)
    for misfit in equation.boundary(solution, sides, k):
        np.testing.assert_allclose(misfit, np.zeros(32), atol=1e-4)

    def other(points):
        return solution(points) + 0.1 * points[:, 0] ** 2

    off = equation.residual(other, points, k)
    misfits = equation.boundary(other, sides, k)
    assert max(np.abs(x).max() for x in (off, *misfits)) > 0.01


def test_loss_and_gradient_by_finite_differences():
    with jax.enable_x64(True):
        task = plugins.spec("task", "physics").make(CONFIG)
        random = np.random.default_rng(0)
        shapes = [(2, 8), (8,), (8, 6), (6,), (6, 1), (1,)]
        params = [0.5 * random.standard_normal(shape) for shape in shapes]
        points, sides = random.random((64, 2)), random.random(64)
        h = 1e-4

        def u(x, t):
            z = 2 * np.stack([x, t], axis=1) - 1
            for i in (0, 2):
                z = np.tanh(z @ params[i] + params[i + 1])
            return (z @ params[4] + params[5])[:, 0]

        x, t = points.T
        u_t = (u(x, t + h) - u(x, t - h)) / (2 * h)
        u_xx = (u(x + h, t) - 2 * u(x, t) + u(x - h, t)) / h**2
        zero, one = np.zeros(64), np.ones(64)
        expected = np.mean((u_t - u_xx / (2 * np.pi) ** 2) ** 2)
        for misfit in (
            u(sides, zero) - np.sin(2 * np.pi * sides),
            u(zero, sides),
            u(one, sides),
        ):
            expected += 10 * np.mean(misfit**2)
        batch = Batch(jnp.asarray(points), jnp.asarray(sides))

        def loss(params):
            return task.loss(jax.random.key(0), params, (), batch)[0]

        leaves = tuple(map(jnp.asarray, params))
        found, grads = jax.jit(jax.value_and_grad(loss))(leaves)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        direction = [random.standard_normal(shape) for shape in shapes]
        moved = [
            loss(tuple(p + s * d for p, d in zip(leaves, direction, strict=True)))
            for s in (1e-5, -1e-5)
        ]
        slope = sum(np.sum(g * d) for g, d in zip(grads, direction, strict=True))
        np.testing.assert_allclose(slope, (moved[0] - moved[1]) / 2e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"equation": "burgers"}, "equation"),
        ({"activation": "relu"}, "activation"),
        ({"frequency": 0}, "frequency"),
        ({"boundary_weight": 0.0}, "boundary_weight"),
        ({"layer_sizes": []}, "layer_sizes"),
    ],
)
def test_what_cannot_be_is_named(change, said):
    with pytest.raises(ValueError, match=said):
        plugins.spec("task", "physics").make({**CONFIG, **change})

"""Large tensors in pieces give the numbers of the whole, in both frameworks."""

from typing import Any

import jax
import numpy as np
import pytest
import torch

import learned
from learned.building import networks
from learned.torch import LearnedOptim
from opt_gym.maths import pieces

SHAPES = [(260, 130), (3, 3, 40, 91), (33_000,)]


@pytest.mark.parametrize(
    ("shape", "hidden"), [*((shape, 4) for shape in SHAPES), (SHAPES[0], 32)]
)
def test_in_jax(monkeypatch, shape, hidden):
    lopt = learned.make("adafactor_mlp", hidden=hidden)
    theta = lopt.init_theta(jax.random.key(0))
    random = np.random.default_rng(1)
    params, grads = (
        {"w": random.standard_normal(shape).astype(np.float32)} for _ in range(2)
    )

    def update():
        tx: Any = learned.to_optax(lopt, theta)
        return jax.jit(tx.update)(grads, tx.init(params), params)[0]["w"]

    large = update()
    monkeypatch.setattr(networks, "LARGE", 10**9)
    monkeypatch.setattr(pieces, "JAX_SIZE", 10**9)
    np.testing.assert_allclose(large, update(), rtol=1e-4, atol=1e-9)


def test_a_gradient_goes_through_pieces():
    lopt = learned.make("mlp")
    theta = lopt.init_theta(jax.random.key(0))
    params, grads = (jax.random.normal(jax.random.key(i), (300, 120)) for i in (1, 2))

    def moved(theta):
        tx: Any = learned.to_optax(lopt, theta)
        return (tx.update(grads, tx.init(params), params)[0] ** 2).sum()

    slopes = jax.jit(jax.grad(moved))(theta)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(slopes))
    assert any(np.any(leaf != 0) for leaf in jax.tree.leaves(slopes))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["mlp", "adafactor_mlp", "nominal"])
def test_in_torch(monkeypatch, shape, name):
    torch.manual_seed(1)
    grad = torch.randn(shape)
    lopt = learned.make(name)
    theta = lopt.init_theta(jax.random.key(0))

    def updates():
        param = torch.nn.Parameter(torch.zeros(shape))
        optimizer = LearnedOptim([param], (lopt, theta))
        for _ in range(2):
            param.grad = grad
            optimizer.step(loss=1.0)
        return param.detach()

    cut = updates()
    monkeypatch.setattr(pieces, "SIZE", 10**9)
    torch.testing.assert_close(cut, updates(), rtol=1e-4, atol=1e-8)

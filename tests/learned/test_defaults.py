"""What stands where nobody names a θ: "general" with a horizon, "general_free" without."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import learned
from learned import contest, theta_file
from learned.torch import LearnedOptim

PARAMS: Any = {"w": np.linspace(-1.0, 1.0, 6, dtype=np.float32).reshape(3, 2)}
GRADS: Any = {"w": np.linspace(1.0, -2.0, 6, dtype=np.float32).reshape(3, 2)}


def updates_of(transformation: Any, **more: Any) -> np.ndarray:
    state = transformation.init(PARAMS)
    updates, _ = transformation.update(GRADS, state, PARAMS, **more)
    return np.asarray(updates["w"])


@pytest.mark.parametrize("horizon", [None, 200])
@pytest.mark.parametrize("way_out", [learned.to_optax, learned.scale_by_learned])
def test_in_optax(way_out, horizon):
    named = theta_file.GENERAL if horizon else theta_file.FREE
    expected = way_out(*learned.load(named), horizon=horizon)
    np.testing.assert_array_equal(
        updates_of(way_out(horizon=horizon)), updates_of(expected)
    )


def test_a_theta_alone_or_an_optimizer_alone_is_refused():
    optimizer, theta = learned.load(theta_file.GENERAL)
    with pytest.raises(ValueError, match="theta was given without"):
        learned.to_optax(theta=theta)
    with pytest.raises(ValueError, match="theta"):
        learned.to_optax(optimizer)


def test_in_torch_as_in_optax():
    for horizon in (None, 200):
        param = torch.nn.Parameter(torch.tensor(PARAMS["w"].T))  # as torch has a kernel
        optimizer = LearnedOptim([param], horizon=horizon)
        param.grad = torch.tensor(GRADS["w"].T)
        optimizer.step()
        moved = param.detach().numpy().T - PARAMS["w"]
        expected = updates_of(learned.to_optax(horizon=horizon))
        np.testing.assert_allclose(moved, expected, rtol=1e-4, atol=1e-7)


def test_a_bare_step_needs_nothing():
    """Neither loss nor horizon, and what is said of them changes nothing."""
    optimizer, theta = learned.load(theta_file.FREE)
    assert (optimizer.needs, optimizer.welcomes) == ((), ())
    tx = learned.to_optax(optimizer, theta)
    np.testing.assert_array_equal(updates_of(tx), updates_of(tx, value=jnp.float32(3)))


def test_what_decays_by_itself_is_not_decayed_again():
    general, _ = learned.load(theta_file.GENERAL)
    small, _ = learned.load("nominal_small")
    assert contest.decay_for(general, 1_000_000) is None
    assert contest.decay_for(small, 1_000_000) == "cosine"


def test_what_knows_its_horizon_is_far_from_home_at_ten_times():
    general, theta = learned.load(theta_file.GENERAL)
    trained = general.trained_horizon or 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learned.to_optax(general, theta, horizon=10 * trained)
    with pytest.warns(
        UserWarning, match="goes beyond: what follows then was not seen$"
    ):
        learned.to_optax(general, theta, horizon=10 * trained + 1)


def test_it_is_what_one_compares_with():
    def loss(params, batch):
        return jnp.mean((batch @ params["w"] - 1.0) ** 2)

    batches = [jax.random.normal(jax.random.key(0), (8, 3))]
    found = learned.compare_on(loss, PARAMS, batches, budget_s=20)
    assert [entry.name for entry in found.entries if entry.is_learned] == ["general"]

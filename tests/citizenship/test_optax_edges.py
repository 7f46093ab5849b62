"""Edges: nothing to move, numbers near the limits of float32, other types, other programs."""

import itertools
import logging
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from jax import export

import learned
from learned.torch import LearnedOptim
from tests.citizenship.subjects import EVERY_ARCHITECTURE, PARAMS, transformation
from tests.learned.problems import moving_theta


@EVERY_ARCHITECTURE
def test_a_tensor_without_elements_is_ignored(name):
    tx = transformation(name)
    step: Any = jax.jit(tx.update)
    with_empty = {**PARAMS, "a": jnp.zeros((0, 4)), "c": jnp.zeros(0)}
    state, plain = tx.init(with_empty), tx.init(PARAMS)
    for _ in range(2):
        updates, state = step(with_empty, state, with_empty, value=1.0)
        expected, plain = step(PARAMS, plain, PARAMS, value=1.0)
        for key, update in expected.items():
            np.testing.assert_allclose(updates[key], update, rtol=1e-6)
    assert updates["a"].shape == (0, 4)
    assert (int(state.t), int(state.skipped)) == (2, 0)


@EVERY_ARCHITECTURE
def test_nothing_to_move_is_no_fault(name):
    tx = transformation(name)
    for nothing in ({}, {"a": jnp.zeros((0, 4))}):
        state = tx.init(nothing)
        updates, state = jax.jit(tx.update)(nothing, state, nothing, value=1.0)
        assert jax.tree.map(jnp.shape, updates) == jax.tree.map(jnp.shape, nothing)
        assert (int(state.t), int(state.skipped)) == (1, 0)


SIZES = [float(f"1e{power}") for power in range(-38, 39, 4)]


@EVERY_ARCHITECTURE
def test_a_finite_gradient_always_gives_a_finite_step(name):
    """Also with a loss, and weights, of that size; and in torch."""
    optimizer, theta = moving_theta(name)
    tx = transformation(name)
    step: Any = jax.jit(tx.update)
    random = np.random.default_rng(0)
    for size, scale in itertools.product(SIZES, (1.0, 1e30)):
        state = tx.init(PARAMS)
        params = {k: jnp.float32(scale) * leaf for k, leaf in PARAMS.items()}
        tensors = [
            torch.nn.Parameter(torch.tensor(np.array(leaf).T))
            for leaf in params.values()
        ]
        ours = LearnedOptim(tensors, (optimizer, theta), horizon=10)
        for _ in range(2):
            grads = {
                k: jnp.float32(size * random.standard_normal(np.shape(leaf)))
                for k, leaf in PARAMS.items()
            }
            loss = np.float32(size)
            updates, state = step(grads, state, params, value=loss)
            for tensor, grad in zip(tensors, grads.values(), strict=True):
                tensor.grad = torch.tensor(np.array(grad).T)
            before = [tensor.detach().clone() for tensor in tensors]
            ours.step(loss=loss)
            for tensor, start in zip(tensors, before, strict=True):
                assert torch.isfinite(tensor).all(), (size, scale)
                tensor.data.copy_(start)
            for update in updates.values():
                assert np.isfinite(update).all(), (size, scale)
        assert (int(state.skipped), ours.skipped) == (0, 0), (size, scale)


@pytest.mark.parametrize("name", ["nominal_small", "adafactor_mlp_small"])
def test_it_can_be_exported_and_calls_nobody_back(name):
    tx: Any = learned.to_optax(*learned.load(name), warn=True)
    state = tx.init(PARAMS)

    def step(grads, state, params):
        return tx.update(grads, state, params, value=1.0)

    program = export.export(jax.jit(step))(PARAMS, state, PARAMS)
    assert "callback" not in program.mlir_module()
    updates, _ = program.call(PARAMS, state, PARAMS)
    expected, _ = step(PARAMS, state, PARAMS)
    jax.tree.map(np.testing.assert_allclose, updates, expected)


@EVERY_ARCHITECTURE
def test_an_update_that_nobody_compiled_compiles_once(name, caplog):
    tx = transformation(name)
    state = tx.init(PARAMS)
    _, state = tx.update(PARAMS, state, PARAMS, value=1.0)
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        tx.update(PARAMS, state, PARAMS, value=2.0)
    assert not [line for line in caplog.messages if "ompil" in line]


@pytest.mark.parametrize("name", ["nominal", "velo_like"])
def test_a_horizon_can_be_injected(name):
    optimizer, theta = moving_theta(name)

    def make(horizon):
        return learned.to_optax(optimizer, theta, horizon=horizon)

    tx: Any = optax.inject_hyperparams(make)(horizon=100)
    updates, _ = tx.update(PARAMS, tx.init(PARAMS), PARAMS, value=1.0)
    plain = make(100)
    expected, _ = plain.update(PARAMS, plain.init(PARAMS), PARAMS, value=1.0)
    jax.tree.map(np.testing.assert_allclose, updates, expected)


@EVERY_ARCHITECTURE
def test_complex_parameters_are_refused_by_name_and_floats_are_moved(name):
    tx = transformation(name)
    params: Any = {"x": 0.5}
    with pytest.raises(ValueError, match=r"complex parameter 'net\.z' of shape \[3\]"):
        tx.init({"net": {"z": jnp.ones(3, jnp.complex64)}})
    with pytest.raises(ValueError, match="complex gradient 'x'"):
        tx.update({"x": jnp.complex64(1.0)}, tx.init(params), params, value=1.0)
    updates, _ = tx.update({"x": 0.25}, tx.init(params), params, value=1.0)
    assert np.isfinite(params["x"] + updates["x"])


def test_the_horizon_is_stated_and_going_beyond_is_told():
    lopt, theta = learned.load("nominal_small")
    lopt = lopt._replace(trained_horizon=2)
    with pytest.warns(UserWarning, match="trained for 2 steps"):
        learned.to_optax(lopt, theta, horizon=3)
    tx: Any = optax.chain(
        optax.clip_by_global_norm(1.0), learned.scale_by_learned(lopt, theta)
    )
    state = tx.init(PARAMS)
    told = []
    for _ in range(3):
        told.append(learned.beyond(state))
        _, state = tx.update(PARAMS, state, PARAMS, value=1.0)
    assert [*told, learned.beyond(state)] == [False, False, False, True]
    assert int(state[1].trained_horizon) == 2
    with pytest.raises(ValueError, match="no part of a learned optimizer"):
        learned.beyond(optax.adam(0.1).init(PARAMS))

"""The coordinate-wise LSTM and the cells, beside the same equations in numpy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import learned
from learned.architectures.lstm import preprocess
from learned.building.cells import LstmState, lstm_step, lstm_theta
from opt_gym.maths import pieces
from opt_gym.records import Memory, Signal
from tests.learned.problems import moving_theta


def count(theta):
    return sum(leaf.size for leaf in jax.tree.leaves(theta))


@pytest.mark.parametrize(
    ("preprocessing", "weights"), [("code", 5141), ("paper", 5141), ("raw", 5061)]
)
def test_it_has_the_published_number_of_weights(preprocessing, weights):
    optimizer = learned.make("lstm", preprocessing=preprocessing)
    theta = optimizer.init_theta(jax.random.key(0))
    assert count(theta) == weights
    carry = optimizer.init(theta, {"w": jnp.ones((3, 2))}, ("kernel",))
    assert count(carry) == 80 * 6


def test_the_paper_s_two_cases():
    grad = np.array([0.0, 1.0, -2.0, 3e-5, -4.5e-5, 4.6e-5, 1e-20, 1e30, -1e-3])
    large = np.abs(grad) >= np.exp(-10)
    with np.errstate(divide="ignore"):
        log = np.where(large, np.log(np.abs(grad)) / 10, -1.0)
    sign = np.where(large, np.sign(grad), np.exp(10) * grad)
    seen = preprocess(jnp.asarray(grad, jnp.float32), "paper", 10.0)
    np.testing.assert_allclose(seen, [log, sign], rtol=1e-5, atol=1e-6)


def test_the_released_form():
    grad = np.array([0.0, 1.0, -2.0, 6e-3, -7e-3, 1e-20, 1e30, -1e-3])
    epsilon = np.finfo(np.float32).eps
    log = np.maximum(np.log(np.abs(grad) + epsilon) / 5, -1.0)
    sign = np.clip(grad * np.exp(5), -1.0, 1.0)
    seen = preprocess(jnp.asarray(grad, jnp.float32), "code", 5.0)
    np.testing.assert_allclose(seen, [log, sign], rtol=1e-5, atol=1e-6)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_by_hand(theta, x, h, c):
    """One coordinate, float64: i, g, f, o as the rows of the weights are."""
    units = len(h)
    pre = theta["w_inputs"] @ x + theta["w_hidden"] @ h + theta["b"]
    i, g, f, o = (pre[k * units : (k + 1) * units] for k in range(4))
    c = sigmoid(f + 1) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def signal_of(params, grad, t) -> Any:
    tensors = jax.tree.leaves(params)
    return Signal(
        params=params,
        grad=grad,
        loss=jnp.zeros(()),
        has_loss=jnp.ones((), bool),
        valid_loss=jnp.zeros(()),
        has_valid=jnp.zeros((), bool),
        t=jnp.int32(t),
        horizon=jnp.int32(10),
        ages=(jnp.int32(t),) * len(tensors),
    )


def test_three_steps_by_hand():
    optimizer = learned.make("lstm", hidden=4, scale=0.1)
    theta = optimizer.init_theta(jax.random.key(0))
    assert float(jnp.abs(theta["layers"][0]["b"]).min()) > 0  # Sonnet draws them
    exact: Any = jax.tree.map(lambda x: np.asarray(x, np.float64), theta)
    params = (jnp.ones((3, 2)), jnp.ones(()))
    carry = optimizer.init(theta, params, ("kernel", "bias"))
    memory = np.zeros((7, 2, 2, 4))  # coordinate, layer, (h, c), unit
    for t in range(3):
        keys = jax.random.split(jax.random.key(t))
        grad = (jax.random.normal(keys[0], (3, 2)), 1e-3 * jax.random.normal(keys[1]))
        signal = signal_of(params, grad, t)
        f = optimizer.features.init(params)
        seen = optimizer.features.observe(f, signal)
        carry, (deltas,) = optimizer.step(theta, carry, signal, seen)
        flat = np.concatenate([np.ravel(g) for g in grad]).astype(np.float64)
        expected = []
        for index, g in enumerate(flat):
            x: Any = [
                max(np.log(abs(g) + np.finfo(np.float32).eps) / 5, -1),
                np.clip(g * np.exp(5), -1, 1),
            ]
            for layer, weights in enumerate(exact["layers"]):
                memory[index, layer] = lstm_by_hand(weights, x, *memory[index, layer])
                x = memory[index, layer, 0]
            expected.append(0.1 * (exact["w_out"][0] @ x + exact["b_out"][0]))
        ours = np.concatenate([np.ravel(d) for d in deltas])
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-7)
    hidden = np.moveaxis(np.asarray(carry.tensors[0][1].hidden), 0, -1).reshape(6, 4)
    np.testing.assert_allclose(hidden, memory[:6, 1, 0], rtol=1e-4, atol=1e-7)


def test_the_cell_is_torch_s():
    theta = lstm_theta(jax.random.key(0), 3, 5, drawn_biases=True)
    x, h, c = (
        jax.random.normal(jax.random.key(k), (size, 7))
        for k, size in ((1, 3), (2, 5), (3, 5))
    )
    outputs, after = lstm_step(theta, x, LstmState(h, c))
    cell = torch.nn.LSTMCell(3, 5)
    order = [*range(5), *range(10, 15), *range(5, 10), *range(15, 20)]  # i, f, g, o
    with torch.no_grad():
        bias = np.asarray(theta["b"])[order].copy()
        bias[5:10] += 1.0  # the forget bias
        for name, value in (
            ("weight_ih", np.asarray(theta["w_inputs"])[order]),
            ("weight_hh", np.asarray(theta["w_hidden"])[order]),
            ("bias_ih", bias),
            ("bias_hh", np.zeros(20, np.float32)),
        ):
            getattr(cell, name).copy_(torch.tensor(value))
        x, h, c = (torch.tensor(np.asarray(a)).T for a in (x, h, c))
        their_h, their_c = cell(x, (h, c))
    np.testing.assert_allclose(outputs, their_h.T, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after.cell, their_c.T, rtol=1e-5, atol=1e-6)


def test_a_large_tensor_in_pieces_is_the_whole_in_torch(monkeypatch):
    optimizer, theta = moving_theta("lstm")
    weights = jax.tree.map(lambda x: torch.tensor(np.asarray(x)), theta)
    torch.manual_seed(0)
    param = torch.randn(30, 17).T  # axes in memory the other way round
    grads = [torch.randn(17, 30) for _ in range(3)]

    def run(size):
        monkeypatch.setattr(pieces, "SIZE", size)
        carry = optimizer.init(weights, [param], ("kernel",))
        for t, grad in enumerate(grads):
            signal = signal_of([param], [grad], t)._replace(loss=torch.zeros(()))
            seen = optimizer.features.observe(Memory(), signal)
            carry, (deltas,) = optimizer.step(weights, carry, signal, seen)
        return deltas[0], carry.tensors[0][1].cell

    for cut, whole in zip(run(100), run(10**9), strict=True):
        torch.testing.assert_close(cut, whole, rtol=1e-5, atol=1e-6)


def test_the_outer_gradient_is_finite_where_a_gradient_is_zero():
    optimizer = learned.make("lstm", hidden=4, preprocessing="paper")
    theta = optimizer.init_theta(jax.random.key(0))
    params = (jnp.ones(3),)

    def outer_loss(theta, grad):
        def body(carry, t):
            signal = signal_of(params, (grad,), t)
            seen = optimizer.features.observe(Memory(), signal)
            carry, (deltas,) = optimizer.step(theta, carry, signal, seen)
            return carry, deltas[0].sum()

        carry = optimizer.init(theta, params, ("bias",))
        return jax.lax.scan(body, carry, jnp.arange(3))[1].sum()

    slopes = jax.grad(outer_loss, argnums=(0, 1))(theta, jnp.array([0.0, 1e-6, 1.0]))
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(slopes))
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(slopes[0]))


def test_wrong_settings_are_said():
    with pytest.raises(ValueError, match="unknown preprocessing: 'papers'"):
        learned.make("lstm", preprocessing="papers")
    with pytest.raises(ValueError, match="p must be in"):
        learned.make("lstm", p=0.0)
    with pytest.raises(ValueError, match="p must be None"):
        learned.make("lstm", preprocessing="raw", p=5.0)
    with pytest.raises(ValueError, match="must be an integer >= 1"):
        learned.make("lstm", hidden=0)

"""Wichrowska's three levels beside the same equations in numpy, one parameter at a time.

Most of it in torch, which compiles nothing; that JAX gives the same is tested for every
architecture in test_torch.py.
"""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import learned
from opt_gym.maths import pieces
from opt_gym.records import Memory
from tests.learned.test_lstm import count, sigmoid, signal_of

SHAPES = ((3, 2), (), (4,))
ROLES = ("kernel", "bias", "bias")


@cache
def untrained_theta():
    return jax.jit(learned.make("hierarchical_rnn").init_theta)(jax.random.key(1))


def moved_theta():
    """An optimizer and a θ at which every part of it acts."""
    optimizer, numbers = learned.make("hierarchical_rnn"), np.random.default_rng(0)
    return optimizer, jax.tree.map(
        lambda x: np.float32(x + 0.05 * numbers.normal(size=x.shape)), untrained_theta()
    )


def gru_by_hand(theta, x, h, bias: Any = 0.0):
    """Float64, r inside of the product."""
    n = len(h)
    pre = theta["w_inputs"] @ x + theta["b"] + bias
    w = theta["w_hidden"]
    r = sigmoid(pre[:n] + w[:n] @ h)
    u = sigmoid(pre[n : 2 * n] + w[n : 2 * n] @ h)
    return u * h + (1 - u) * np.tanh(pre[2 * n :] + w[2 * n :] @ (r * h))


def said(link, state):
    return link["w"] @ state + link["b"]


class ByHand:
    """The optimizer on flat tensors, written from the source's order of things."""

    def __init__(self, theta, sizes):
        self.theta: Any = jax.tree.map(lambda x: np.asarray(x, np.float64), theta)
        first = self.theta["initial"]
        self.everything = first["all"]
        self.tensors: list[Any] = [
            {
                "H": first["tensor"],
                "h": np.tile(first["parameter"], (size, 1)),
                "m": np.zeros((size, 4)),
                "v": np.zeros((size, 4)),
                "inp": np.zeros(size),
                "scl": np.zeros(size),
                "lr": np.full(size, np.log(1e-4)),
            }
            for size in sizes
        ]

    def step(self, grads):
        mean_lr = np.mean(np.concatenate([tensor["lr"] for tensor in self.tensors]))
        deltas = [
            self.of_tensor(tensor, grad, mean_lr)
            for tensor, grad in zip(self.tensors, grads, strict=True)
        ]
        heard = np.mean([tensor["H"] for tensor in self.tensors], axis=0)
        self.everything = gru_by_hand(self.theta["all"], heard, self.everything)
        return deltas

    def of_tensor(self, tensor, grad, mean_lr):
        theta = self.theta
        bias = said(theta["tensor_to_parameter"], tensor["H"])
        bias = bias + said(theta["all_to_parameter"], self.everything)
        heard, direction, log_step = [], [], []
        for i, g in enumerate(grad):
            x, s = self.look(tensor, i, g, mean_lr)
            h = gru_by_hand(theta["parameter"], x, tensor["h"][i], bias)
            out = theta["w_out"] @ h
            tensor["inp"][i] = sigmoid(out[1] + theta["b_out"][0])
            tensor["scl"][i] = sigmoid(out[2] + theta["b_out"][1])
            log_step.append(
                np.clip(tensor["lr"][i] + out[3] + theta["b_out"][2], -33, 33)
            )
            kept = sigmoid(theta["smoothing_logit"])
            tensor["lr"][i] = kept * tensor["lr"][i] + (1 - kept) * log_step[-1]
            direction.append(out[0] + theta["shortcut"] @ s)
            tensor["h"][i] = h
            heard.append([*h, *x])
        tensor["H"] = gru_by_hand(
            theta["tensor"],
            np.mean(heard, axis=0),
            tensor["H"],
            said(theta["all_to_tensor"], self.everything),
        )
        direction = direction / np.sqrt(np.mean(np.square(direction)) + 1e-16)
        return -np.exp(np.array(log_step) + theta["rate_offset"]) * direction

    def look(self, tensor, i, g, mean_lr):
        m, v = tensor["m"][i], tensor["v"][i]
        for k in range(4):
            decay = tensor["inp"][i] ** (0.5**k)
            m[k] = g * (1 - decay) + decay * m[k]
            v[k] = (1 - tensor["scl"][i]) * (m[k] ** 2 + 1e-12) + tensor["scl"][i] * v[
                k
            ]
        scaled = m / np.sqrt(v + 1e-16)
        s = np.log(scaled + np.sqrt(1 + scaled**2))
        logs = np.log(v + 1e-16)
        x = [*s, *(s[:3] * s[1:]), *(logs - logs.mean()), tensor["lr"][i] - mean_lr]
        return np.array(x), s


def gradients(t):
    numbers = np.random.default_rng(t)
    return [
        torch.tensor(scale * numbers.normal(size=shape), dtype=torch.float32)
        for shape, scale in zip(SHAPES, (1.0, 1e-3, 1e-6), strict=True)
    ]


def step_of(optimizer, theta, carry, params, grads):
    signal = signal_of(params, grads, 0)
    if isinstance(grads[0], torch.Tensor):
        signal = signal._replace(loss=torch.zeros(()))
    seen = optimizer.features.observe(Memory(), signal)
    carry, (deltas,) = optimizer.step(theta, carry, signal, seen)
    return carry, deltas


def in_torch(theta):
    return jax.tree.map(lambda x: torch.tensor(np.asarray(x)), theta)


PARAMS = [torch.ones(shape) for shape in SHAPES]


def test_six_steps_by_hand():
    optimizer, theta = moved_theta()
    weights = in_torch(theta)
    carry = optimizer.init(weights, PARAMS, ROLES)
    by_hand = ByHand(theta, [leaf.numel() for leaf in PARAMS])
    for t in range(6):
        carry, deltas = step_of(optimizer, weights, carry, PARAMS, gradients(t))
        expected = by_hand.step([g.ravel().double().numpy() for g in gradients(t)])
        for ours, theirs in zip(deltas, expected, strict=True):
            np.testing.assert_allclose(ours.ravel(), theirs, rtol=1e-3, atol=1e-9)
    np.testing.assert_allclose(carry.shared, by_hand.everything, rtol=1e-4, atol=1e-6)
    for ours, theirs in zip(carry.tensors, by_hand.tensors, strict=True):
        np.testing.assert_allclose(ours.tensor, theirs["H"], rtol=1e-4, atol=1e-6)
        rates = ours.log_rate.ravel()
        np.testing.assert_allclose(rates, theirs["lr"], rtol=1e-5, atol=1e-6)
    assert float(carry.tensors[0].log_rate.std()) > 0


def test_weights_and_memory():
    optimizer = learned.make("hierarchical_rnn")
    assert count(untrained_theta()) == 8349
    carry = optimizer.init(in_torch(untrained_theta()), PARAMS, ROLES)
    size = sum(leaf.numel() for leaf in jax.tree.leaves(carry))
    assert size == 21 * (6 + 1 + 4) + 20 * 3 + 20


def test_an_untrained_step_has_the_size_of_its_learning_rate():
    optimizer = learned.make("hierarchical_rnn", initial_rate=3e-3)
    theta = in_torch(untrained_theta())
    carry = optimizer.init(theta, PARAMS, ROLES)
    for t in range(3):
        carry, deltas = step_of(optimizer, theta, carry, PARAMS, gradients(t))
        for delta in deltas:  # w_ℓ is 0 at first
            size = float((delta**2).mean().sqrt())
            np.testing.assert_allclose(size, 3e-3 * np.exp(-1), rtol=1e-4)


def test_a_tensor_left_out_is_not_heard_of():
    optimizer, theta = moved_theta()
    theta = in_torch(theta)
    whole = optimizer.init(theta, PARAMS, ROLES)
    part = whole._replace(tensors=whole.tensors[:2])
    alone = optimizer.init(theta, PARAMS[:2], ROLES[:2])
    for t in range(2):
        grads = gradients(t)[:2]
        part, ours = step_of(optimizer, theta, part, PARAMS[:2], grads)
        alone, theirs = step_of(optimizer, theta, alone, PARAMS[:2], grads)
        jax.tree.map(np.testing.assert_array_equal, (part, ours), (alone, theirs))


def test_a_large_tensor_in_pieces_is_the_whole_in_torch(monkeypatch):
    optimizer, theta = moved_theta()
    weights = in_torch(theta)
    torch.manual_seed(0)
    param = torch.randn(30, 17).T  # axes in memory the other way round
    grads = [torch.randn(17, 30) for _ in range(3)]

    def run(size):
        monkeypatch.setattr(pieces, "SIZE", size)
        carry, deltas = optimizer.init(weights, [param], ("kernel",)), []
        for grad in grads:
            carry, deltas = step_of(optimizer, weights, carry, [param], [grad])
        return deltas[0], carry.tensors[0].log_rate, carry.tensors[0].tensor

    for cut, whole in zip(run(100), run(10**9), strict=True):
        torch.testing.assert_close(cut, whole, rtol=1e-5, atol=1e-7)


def test_the_outer_gradient_is_finite_and_reaches_all_of_theta():
    optimizer, theta = moved_theta()
    params = [jnp.ones(3)]

    def outer_loss(theta, grads):
        def body(carry, t):
            carry, deltas = step_of(optimizer, theta, carry, params, grads)
            return carry, 1e3 * (deltas[0] ** 3).sum()

        carry = optimizer.init(theta, params, ROLES[1:])
        return jax.lax.scan(body, carry, jnp.arange(4))[1].sum()

    grads = [jnp.array([0.0, 1e-6, -1.0])]
    with jax.debug_nans(True):
        slopes = jax.jit(jax.grad(outer_loss, argnums=(0, 1)))(theta, grads)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(slopes))
    for path, leaf in jax.tree_util.tree_leaves_with_path(slopes[0]):
        assert float(jnp.abs(leaf).max()) > 0, path


def test_log_rates_are_clipped_with_the_slope_of_the_identity():
    from learned.architectures.hierarchical_rnn import _clip

    at = jnp.array([-40.0, -5.0, 35.0])
    np.testing.assert_allclose(_clip(at), [-33.0, -5.0, 33.0])
    np.testing.assert_array_equal(jax.grad(lambda x: _clip(x).sum())(at), 1.0)


def test_wrong_settings_are_said():
    with pytest.raises(ValueError, match="tensor_units must be an integer >= 1, got 0"):
        learned.make("hierarchical_rnn", tensor_units=0)
    with pytest.raises(ValueError, match="num_scales must be an integer >= 2, got 1"):
        learned.make("hierarchical_rnn", num_scales=1)
    with pytest.raises(
        ValueError, match=r"initial_rate must be a number > 0, got 0\.0"
    ):
        learned.make("hierarchical_rnn", initial_rate=0.0)

"""NNAdam against its equations, written a second time in numpy."""

import jax
import numpy as np
import pytest

import learned
from tests.learned.hand_worked import count, moved, signals, updates


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def log_magnitude(x):
    return 0.5 * np.clip(np.log(1e-8 + np.abs(x)), -5, 5)


class Reference:
    """Of one tensor, alone."""

    def __init__(self, theta, param, decay_strength=0.0):
        self.theta = jax.tree.map(lambda x: np.asarray(x, np.float64), theta)
        start = self.theta["start"]
        self.x, self.h, self.c = start["scaled"], start["hidden"], start["cell"]
        self.m, self.v = np.zeros(param.shape), np.zeros(param.shape)
        self.decay_strength = decay_strength

    def step(self, p, g):
        g = np.clip(np.float64(g), -1000, 1000)
        lr, b1, b2, epsilon = self.hyperparameters()
        self.m = b1 * self.m + (1 - b1) * g
        self.v = b2 * self.v + (1 - b2) * g**2
        delta = -lr * (1 + epsilon) * self.m / (epsilon + np.sqrt(self.v + 1e-10))
        self.lstm(self.look(np.float64(p), g))
        out = self.theta["out"]
        x = self.x + 0.01 * (out["w"] @ self.h + out["b"])
        self.x = x - self.decay_strength * (x - self.theta["start"]["scaled"])
        return delta

    def hyperparameters(self):
        lr, new1, new2, epsilon = np.exp(10 * self.x)
        return lr, 1 - new1, 1 - new2, epsilon

    def look(self, p, g):
        pooled = (self.m, self.v, p, g)
        means = [np.mean(array) for array in pooled]
        return np.array(
            [
                *log_magnitude([*means, *map(np.var, pooled), np.mean(np.abs(g))]),
                *np.sign(means),
                1.0 if p.ndim == 0 else -1.0,
                1.0 if p.ndim == 1 else -1.0,
                *(self.x / 5),
            ]
        )

    def lstm(self, z):
        weights = self.theta["lstm"]
        gates = weights["w_inputs"] @ z + weights["w_hidden"] @ self.h + weights["b"]
        i, g, f, o = np.split(gates, 4)
        self.c = sigmoid(f + 1) * self.c + sigmoid(i) * np.tanh(g)
        self.h = sigmoid(o) * np.tanh(self.c)


def near_adam(optimizer):
    """A θ at which every part acts, hyperparameters within their limits."""
    theta = moved(optimizer)
    theta["start"]["scaled"] = np.array([-0.5, -0.2, -0.4, -0.8], np.float32)
    return theta


def test_it_has_the_published_number_of_weights():
    assert count(learned.make("nn_adam")) == 6856


@pytest.mark.parametrize("decay_strength", [0.0, 0.1])
def test_steps_are_those_of_the_equations(decay_strength):
    optimizer = learned.make("nn_adam", decay_strength=decay_strength)
    theta, given = near_adam(optimizer), list(signals(6))
    references = [Reference(theta, p, decay_strength) for p in given[0][0]]
    ours = updates(optimizer, theta, given)
    for deltas, (params, grads, _, _) in zip(ours, given, strict=True):
        for delta, one, p, g in zip(deltas, references, params, grads, strict=True):
            np.testing.assert_allclose(delta, one.step(p, g), rtol=2e-4)
    # The hyperparameters have moved, and differently from tensor to tensor.
    rates = [one.hyperparameters()[0] for one in references]
    assert len({f"{rate:.3e}" for rate in [*rates, np.exp(-5.0)]}) == 4


def test_untrained_it_is_adam_without_correction_of_the_bias():
    optimizer = learned.make("nn_adam", learning_rate=0.01)
    theta = optimizer.init_theta(jax.random.key(0))
    given = list(signals(5))
    m = [np.zeros(p.shape) for p in given[0][0]]
    v = [np.zeros(p.shape) for p in given[0][0]]
    ours = updates(optimizer, jax.tree.map(np.asarray, theta), given)
    for deltas, (_, grads, _, _) in zip(ours, given, strict=True):
        grads = [np.clip(np.float64(g), -1000, 1000) for g in grads]
        m = [0.9 * a + 0.1 * g for a, g in zip(m, grads, strict=True)]
        v = [0.999 * a + 0.001 * g * g for a, g in zip(v, grads, strict=True)]
        for delta, a, b in zip(deltas, m, v, strict=True):
            expected = -0.01 * a / (1e-8 + np.sqrt(b + 1e-10))
            np.testing.assert_allclose(delta, expected, rtol=1e-4)


def test_hyperparameters_stay_within_their_limits():
    optimizer = learned.make("nn_adam")
    theta = near_adam(optimizer)
    theta["out"]["b"] = np.array([1e3, 1e3, -1e3, 1e3], np.float32)
    deltas = updates(optimizer, theta, list(signals(3)))
    assert all(np.all(np.isfinite(delta)) for step in deltas for delta in step)
    # 1 − β₁ = 1: the step is lr (1 + ε) g/(ε + √(v + 1e-10)), lr and ε at their highest.
    _, grads, _, _ = list(signals(3))[1]
    expected = -1000.0 * np.float64(grads[1]) * (1 + 1e4) / 1e4
    np.testing.assert_allclose(deltas[1][1], expected, rtol=1e-3)


def test_large_epsilons_are_momentum():
    optimizer = learned.make("nn_adam", learning_rate=0.1, b1=0.5, epsilon=1e4)
    theta = jax.tree.map(np.asarray, optimizer.init_theta(jax.random.key(0)))
    given = list(signals(2))
    deltas = updates(optimizer, theta, given)
    m = 0.5 * (0.5 * given[0][1][1]) + 0.5 * given[1][1][1]
    np.testing.assert_allclose(deltas[1][1], -0.1 * m, rtol=1e-3)


def test_what_is_wrong_is_said():
    with pytest.raises(ValueError, match="lstm_hidden must be an integer >= 1, got 0"):
        learned.make("nn_adam", lstm_hidden=0)
    with pytest.raises(ValueError, match=r"< 1, got 0\.0001, 1e-08, 1\.0 and"):
        learned.make("nn_adam", b1=1.0)
    with pytest.raises(ValueError, match="must be within"):
        learned.make("nn_adam", learning_rate=1e4)

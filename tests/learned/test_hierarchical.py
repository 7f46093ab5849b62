"""The hierarchical optimizer against its equations, written a second time in numpy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import learned
import opt_gym
from learned.torch import LearnedOptim
from opt_gym import plugins, policy
from opt_gym.features.hierarchical import statistics
from opt_gym.maths import pieces
from tests.learned.hand_worked import count, moved, signal_of, signals, updates

DECAYS = np.array([0.5, 0.9, 0.99, 0.999, 0.9999])
TIMES = np.array([1, 3, 10, 30, 100, 300, 1e3, 3e3, 1e4, 3e4, 1e5])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def log_magnitude(x):
    return np.clip(np.log(1e-8 + np.abs(x)), -5, 5)


class Reference:
    """One row a parameter, one object for all tensors, nothing folded or batched."""

    def __init__(self, theta, params):
        self.theta = jax.tree.map(lambda x: np.asarray(x, np.float64), theta)
        start = self.theta["start"]
        self.message = start["message"]
        self.tensors = [
            {
                "m": np.zeros((p.size, 5)),
                "v": np.zeros((p.size, 5)),
                "h": start["hidden"],
                "c": start["cell"],
                "e": start["feedback"],
            }
            for p in params
        ]
        self.size, self.mean, self.var = 0.01, 0.0, 0.0
        self.valid, self.num_valid = 0.0, 0

    def losses(self, t, loss, valid):
        self.mean = 0.9 * self.mean + 0.1 * loss
        self.var = 0.9 * self.var + 0.1 * (self.mean - loss) ** 2
        correct = 1 / (1 - 0.9 ** (t + 1))
        mean, std = self.mean * correct, np.sqrt(self.var * correct + 1e-8)
        if valid is not None:
            self.valid = 0.95 * self.valid + 0.05 * valid
            self.num_valid += 1
        seen = [(loss - mean) / std, 0.0]
        if self.num_valid:
            average = self.valid / (1 - 0.95**self.num_valid)
            seen[1] = (average - mean) / std
        return np.clip(seen, -5, 5)

    def step(self, t, params, grads, loss, valid):
        losses = self.losses(t, loss, valid)
        bound = 10 * self.size / (1 - 0.99 ** (t + 1))
        grads = [np.clip(np.float64(g), -bound, bound) for g in grads]
        square = np.mean([np.mean(g**2) for g in grads])
        self.size = 0.99 * self.size + 0.01 * np.sqrt(1e-8 + square)
        deltas, messages, said = [], [], self.message
        for p, g, memory in zip(params, grads, self.tensors, strict=True):
            p, g = np.float64(p).reshape(-1, 1), g.reshape(-1, 1)
            memory["m"] = DECAYS * memory["m"] + (1 - DECAYS) * g
            memory["v"] = DECAYS * memory["v"] + (1 - DECAYS) * g * g
            shape = params[len(deltas)].shape
            numbers = self.numbers(p, g, memory, shape)
            z = np.concatenate([said, memory["e"], numbers, losses])
            self.lstm(memory, z)
            messages.append(self.linear("message", memory["h"]))
            rows = self.rows(p, g, memory)
            norm = np.log(np.sqrt(np.sum(p**2)) + 1e-8)
            shared = [
                *np.sin(t / (np.pi * TIMES)),
                np.log(len(params)) - 1,
                np.log(p.size),
                norm,
                *self.linear("advice", memory["h"]),
            ]
            out = self.mlp(np.concatenate([rows, np.tile(shared, (p.size, 1))], 1))
            memory["e"] = out[:, 2:].mean(0)
            step = -0.001 * out[:, 0] * np.exp(0.001 * out[:, 1])
            deltas.append(step.reshape(shape))
        self.message = np.mean(messages, 0)
        return deltas

    def numbers(self, p, g, memory, shape):
        means = [np.mean(x) for x in (memory["m"], memory["v"], p)]
        variances = [
            np.mean((x - np.mean(x)) ** 2) for x in (memory["m"], memory["v"], p)
        ]
        lengths = (*shape, 1, 1, 1, 1)[:4]
        return np.array(
            [
                *log_magnitude([np.linalg.norm(g), np.linalg.norm(p)]),
                *log_magnitude(means),
                *log_magnitude(variances),
                *np.sign(means),
                1.0 if shape == () else -1.0,
                *(np.log(lengths) - 1),
            ]
        )

    def rows(self, p, g, memory):
        m, v = memory["m"], memory["v"]
        r = (v + 1e-6) ** -0.5
        x = np.concatenate([g, p, np.log(np.abs(p) + 1e-8), m, v, m * r, r], 1)
        return x / np.sqrt(1e-5 + np.mean(x**2, 0))

    def lstm(self, memory, z):
        weights = self.theta["lstm"]
        gates = (
            weights["w_inputs"] @ z + weights["w_hidden"] @ memory["h"] + weights["b"]
        )
        i, g, f, o = np.split(gates, 4)
        memory["c"] = sigmoid(f + 1) * memory["c"] + sigmoid(i) * np.tanh(g)
        memory["h"] = sigmoid(o) * np.tanh(memory["c"])

    def linear(self, name, x):
        return self.theta[name]["w"] @ x + self.theta[name]["b"]

    def mlp(self, x):
        net = self.theta["mlp"]
        h = x @ np.concatenate([net["w_rows"], net["w_shared"]], 1).T + net["b"]
        for layer in net["rest"]:
            h = np.maximum(h, 0) @ layer["w"].T + layer["b"]
        return h


def test_it_has_the_published_number_of_weights():
    optimizer = learned.make("hierarchical")
    theta = jax.eval_shape(optimizer.init_theta, jax.random.key(0))
    parts = {
        name: sum(leaf.size for leaf in jax.tree.leaves(part))
        for name, part in theta.items()
    }
    links = parts["message"] + parts["advice"]
    found = (parts["mlp"], parts["lstm"], links, parts["start"])
    assert found == (3410, 29_952, 2275, 162)
    assert count(optimizer) == 35_799


@pytest.mark.parametrize(("variant", "size"), [("ff", 2338), ("lstm", 9026)])
def test_variants_have_so_many_weights_and_need_no_loss(variant, size):
    optimizer = learned.make("hierarchical", variant=variant)
    assert count(optimizer) == size
    assert optimizer.needs == ()


def test_steps_are_those_of_the_equations():
    optimizer = learned.make("hierarchical")
    theta = moved(optimizer)
    given = list(signals(6))
    reference = Reference(theta, given[0][0])
    for t, (ours, parts) in enumerate(
        zip(updates(optimizer, theta, given), given, strict=True)
    ):
        for a, b in zip(ours, reference.step(t, *parts), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-7)


@pytest.mark.parametrize("variant", ["ff", "lstm"])
def test_torch_and_jax_have_the_same_variants(variant):
    optimizer = learned.make("hierarchical", variant=variant)
    theta, given = moved(optimizer), list(signals(4))
    in_jax = updates(optimizer, theta, given, jnp.asarray)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-8),
        updates(optimizer, theta, given),
        in_jax,
    )


def test_the_lstm_variant_by_hand():
    optimizer = learned.make("hierarchical", variant="lstm", hidden=3)
    theta, given = moved(optimizer), list(signals(1))
    params, grads, _, _ = given[0]
    ours = updates(optimizer, theta, given)[0]
    full = learned.make("hierarchical")
    reference = Reference(moved(full), params)
    reference.theta = jax.tree.map(lambda x: np.asarray(x, np.float64), theta)
    p, g = (np.float64(x[0]).reshape(-1, 1) for x in (params, grads))
    g = np.clip(g, -10, 10)
    memory: Any = {"m": (1 - DECAYS) * g, "v": (1 - DECAYS) * g * g}
    rows = reference.rows(p, g, memory)
    norm = np.log(np.linalg.norm(p) + 1e-8)
    shared = [*np.zeros(11), np.log(3) - 1, np.log(12), norm]
    for index, row in enumerate(rows):
        memory = {"h": np.zeros(3), "c": np.zeros(3)}
        reference.lstm(memory, np.concatenate([row, shared]))
        d, m = reference.linear("out", memory["h"])
        expected = -0.001 * d * np.exp(0.001 * m)
        np.testing.assert_allclose(ours[0].ravel()[index], expected, rtol=1e-4)


@pytest.mark.parametrize("variant", ["full", "ff", "lstm"])
def test_pieces_of_a_large_tensor_are_the_whole(variant, monkeypatch):
    optimizer = learned.make("hierarchical", variant=variant)
    theta, given = moved(optimizer), list(signals(2))
    whole = updates(optimizer, theta, given)
    monkeypatch.setattr(pieces, "SIZE", 5)
    cut = updates(optimizer, theta, given)
    monkeypatch.setattr(pieces, "JAX_SIZE", 5)
    in_jax = updates(optimizer, theta, given, jnp.asarray)
    for other in (cut, in_jax):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-8),
            other,
            whole,
        )


def features_after(signals_given, **config):
    features = plugins.build("features", "hierarchical", config)
    f = features.init(tuple(map(torch.tensor, signals_given[0][0])))
    for t, parts in enumerate(signals_given):
        signal = signal_of(t, *parts)
        f = features.update(f, signal)
    shown = features.observe(f, signal)  # pyright: ignore[reportPossiblyUnboundVariable]
    return dict(zip(features.shared_names, np.asarray(shown.numbers), strict=True))


def test_the_validation_loss_is_optional_and_shows():
    parts = list(signals(3))
    without = [(p, g, loss, None) for p, g, loss, _ in parts]
    high = [(p, g, loss, 3.0) for p, g, loss, _ in parts]
    assert features_after(without)["valid_loss_0.95"] == 0.0
    seen = features_after(high)
    assert seen["valid_loss_0.95"] > 0.0 > seen["loss_0.9"]


def test_an_environment_gives_it_validation_losses():
    task = {
        "family": "small_mlp",
        "layer_sizes": [4],
        "activation": "tanh",
        "w_init": ["glorot_normal", None],
        "dataset": ["digits", {"bs": 8}, None],
        "center_data": True,
    }
    optimizer = learned.make("hierarchical")
    env = opt_gym.make(
        task, learned_optimizer=optimizer, data="embedded", valid_every=10
    )
    reset = jax.jit(env.reset)
    state = reset(jax.random.key(0), opt_gym.load_data(env), jnp.int32(10))
    assert state.features.shared.num_valid == 1.0
    np.testing.assert_allclose(
        state.features.shared.valid_mean, [0.05 * state.valid_loss], rtol=1e-5
    )
    assert state.valid_loss > 0.0


def test_losses_at_several_time_scales():
    config = {"loss_decays": [0.5, 0.9, 0.99], "valid_decays": [0.5, 0.95]}
    seen = features_after(list(signals(4)), **config)
    assert [name for name in seen if "loss" in name] == [
        *("loss_0.5", "loss_0.9", "loss_0.99"),
        *("valid_loss_0.5", "valid_loss_0.95"),
    ]
    one = features_after(list(signals(4)))
    np.testing.assert_allclose(seen["loss_0.9"], one["loss_0.9"], rtol=1e-5)
    optimizer = learned.make("hierarchical", **config)
    assert count(optimizer) == 35_799 + 256 * 3
    with pytest.raises(ValueError, match="valid_decays need loss_decays"):
        plugins.build("features", "hierarchical", {"loss_decays": []})
    with pytest.raises(ValueError, match=r"decays must be in \[0, 1\)"):
        plugins.build("features", "hierarchical", {"loss_decays": [1.0]})


def test_a_mean_of_rounding_errors_has_no_sign():
    logits = jax.random.normal(jax.random.key(0), (40, 7))
    grad = jax.nn.softmax(logits) - jax.nn.one_hot(jnp.arange(40) % 7, 7)
    means, variances = statistics((grad, grad + 1.0, jnp.zeros(3), jnp.float32(-2.0)))
    np.testing.assert_allclose(means, [0.0, 1.0, 0.0, -2.0], rtol=1e-6)
    assert means[0] == 0.0
    np.testing.assert_allclose(variances[0], np.var(grad), rtol=1e-5)
    assert variances[0] > 0.0


def test_a_message_arrives_one_step_later():
    optimizer = learned.make("hierarchical")
    theta, given = moved(optimizer), list(signals(2))

    def other_tensor(factor):
        changed = [
            (params, [factor * grads[0], *grads[1:]], loss, valid)
            for params, grads, loss, valid in given
        ]
        return [delta[1] for delta in updates(optimizer, theta, changed)]

    a, b = other_tensor(np.float32(1.0)), other_tensor(np.float32(-2.0))
    np.testing.assert_array_equal(a[0], b[0])
    assert np.abs(a[1] - b[1]).max() > 1e-7


def test_tensors_without_a_gradient_send_no_message():
    optimizer = learned.make("hierarchical")
    theta = moved(optimizer)

    def run(with_idle):
        torch.manual_seed(0)
        weight = torch.nn.Parameter(torch.randn(4, 3))
        idle = [torch.nn.Parameter(torch.randn(5))] if with_idle else []
        tuned = LearnedOptim([*idle, weight], (optimizer, theta))
        for t in range(3):
            weight.grad = torch.sin(t + weight.detach())
            tuned.step(loss=1.0, valid_loss=2.0)
        return weight.detach()

    assert torch.equal(run(True), run(False))


def test_derivatives_by_theta_are_finite_where_a_bias_is_zero():
    optimizer = learned.make("hierarchical", hidden=4, lstm_hidden=4)
    theta = moved(optimizer)
    bias = (jnp.zeros(4),)
    given = signal_of(0, bias, (jnp.ones(4),), 1.0, None, jnp.asarray)

    def total(theta):
        def body(state, t):
            memories, params = state
            signal = given._replace(params=params, t=t, ages=(t,))
            memories, delta = policy.advance(optimizer, theta, memories, signal)
            params = jax.tree.map(jnp.add, params, delta)
            return (memories, params), jnp.sum(params[0])

        start = policy.begin(optimizer, theta, bias, ("bias",)), bias
        return jnp.sum(jax.lax.scan(body, start, jnp.arange(3))[1])

    stacked = jax.tree.map(lambda x: jnp.stack([x, 1.1 * x]), theta)
    grads = jax.jit(jax.vmap(jax.grad(total)))(stacked)
    for leaf in jax.tree.leaves(grads):
        assert np.all(np.isfinite(leaf))
    assert np.abs(grads["message"]["w"]).max() > 0.0


def test_what_is_wrong_is_said():
    with pytest.raises(ValueError, match="unknown variant: 'fff'; did you mean 'ff'"):
        learned.make("hierarchical", variant="fff")
    with pytest.raises(ValueError, match="hidden must be an integer >= 1"):
        learned.make("hierarchical", hidden=0)

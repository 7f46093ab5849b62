"""Recurrent cores against numpy, their written-out gradient against JAX's and differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from opt_gym.tasks.building import recurrent_cores, recurrent_networks
from opt_gym.tasks.building.activations import ACTIVATIONS
from opt_gym.tasks.building.initializers import initialize
from opt_gym.tasks.building.token_loss import CHUNK, token_loss

CORES = {
    "vrnn": ["vrnn", {"core_dim": 6, "act_fn": "tanh"}],
    "irnn": ["irnn", {"core_dim": 6, "act_fn": "cos"}],
    "gru": ["gru", {"core_dim": 6}],
    "lstm": ["lstm", {"core_dim": 6}],
}
VOCAB, EMBED, BATCH, TIME = 11, 5, 3, 4
OPTIONS = {"xla_backend_optimization_level": 0}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def step_in_numpy(name, params, x, state):
    """One time step as Sonnet writes it; float64."""
    h = state[0]
    if name in ("vrnn", "irnn"):
        w, b, u, c = params
        act = np.tanh if name == "vrnn" else np.cos
        return (act(x @ w + b + h @ u + c),)
    if name == "gru":
        wz, uz, bz, wr, ur, br, wh, uh, bh = params
        z = sigmoid(x @ wz + h @ uz + bz)
        r = sigmoid(x @ wr + h @ ur + br)
        g = np.tanh(x @ wh + (r * h) @ uh + bh)
        return ((1 - z) * h + z * g,)
    gates, b = params
    i, j, f, o = np.split(np.concatenate([x, h], axis=1) @ gates + b, 4, axis=1)
    c = sigmoid(f + 1) * state[1] + sigmoid(i) * np.tanh(j)
    return np.tanh(c) * sigmoid(o), c


def made(name, embed=EMBED, trainable=True, vocab=VOCAB):
    """An encoder, random φ in float64, and tokens, some of them outside the vocabulary."""
    encoder = recurrent_networks.make_encoder(
        "here", CORES[name], vocab, embed, trainable
    )
    rng = np.random.RandomState(0)
    params = tuple(0.5 * rng.randn(*tensor.shape) for tensor in encoder.tensors)
    tokens = jnp.asarray(rng.randint(0, vocab + 4, (BATCH, TIME)), jnp.int32)
    return encoder, params, tokens


def in_numpy(name, params, tokens, vocab=VOCAB, embed=EMBED, trainable=True):
    rest, tokens = list(params), np.asarray(tokens)
    table = rest.pop(0) if embed else np.eye(vocab)
    count = 2 if name == "lstm" else 1
    shape = (BATCH, CORES[name][1]["core_dim"])
    rows = (
        [rest.pop(0) for _ in range(count)] if trainable else [np.zeros((1, 6))] * count
    )
    state = tuple(np.broadcast_to(row, shape) for row in rows)
    outputs = []
    for t in range(TIME):
        x = table[np.minimum(tokens[:, t], vocab - 1)]
        state = step_in_numpy(name, rest, x, state)
        outputs.append(state[0])
    return np.stack(outputs)


# 11 rows are projected once, 40 are more than the 12 tokens; None is one-hot. A vanilla
# core's 6 columns are 2 more than a multiple of 4, a GRU's 18 too, an LSTM's 24 are not.
@pytest.mark.parametrize("name", CORES)
@pytest.mark.parametrize(
    ("vocab", "embed", "trainable"), [(11, 5, True), (40, 5, False), (11, None, False)]
)
def test_outputs_equal_a_loop_in_numpy(name, vocab, embed, trainable):
    encoder, params, tokens = made(name, embed, trainable, vocab)
    expected = in_numpy(name, params, tokens, vocab, embed, trainable)
    single = tuple(jnp.asarray(p, jnp.float32) for p in params)
    outputs = encoder.apply(iter(single), tokens)
    assert outputs.shape == (TIME, BATCH, encoder.units)
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["vrnn", "gru", "lstm"])
def test_gradients_equal_finite_differences(name):
    with jax.enable_x64():
        encoder, params, tokens = made(name)
        weight = np.random.RandomState(1).randn(TIME, BATCH, encoder.units)

        def loss(params):
            return jnp.sum(weight * jnp.sin(encoder.apply(iter(params), tokens)))

        def moved(index, change):
            near = [p + change if i == index else p for i, p in enumerate(params)]
            return np.sum(weight * np.sin(in_numpy(name, near, tokens)))

        gradient = jax.jit(jax.grad(loss), compiler_options=OPTIONS)(params)
        for index, grad in enumerate(gradient):
            direction = np.random.RandomState(index).randn(*grad.shape)
            ends = [moved(index, step * direction) for step in (1e-5, -1e-5)]
            # The error of a central difference is of order 1e-10 here.
            slope = (ends[0] - ends[1]) / 2e-5
            np.testing.assert_allclose(np.sum(grad * direction), slope, rtol=1e-6)


@pytest.mark.parametrize("name", ["vrnn", "gru", "lstm"])
def test_the_written_out_gradient_can_be_differentiated_again(name):
    with jax.enable_x64():
        encoder, params, tokens = made(name)

        def norm(apply, params):
            def loss(params):
                return jnp.sum(apply(iter(params), tokens) ** 2)

            return sum(jnp.sum(g**2) for g in jax.tree.leaves(jax.grad(loss)(params)))

        def jax_own(params, tokens):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(
                    recurrent_networks,
                    "recur",
                    lambda *a: recurrent_networks._forward(*a)[0],
                )
                return encoder.apply(params, tokens)

        both = [
            jax.jit(jax.grad(lambda p, f=f: norm(f, p)), compiler_options=OPTIONS)
            for f in (encoder.apply, jax_own)
        ]
        for ours, reference in zip(both[0](params), both[1](params), strict=True):
            np.testing.assert_allclose(ours, reference, rtol=1e-9, atol=1e-12)


def test_vmap_over_weights_equals_a_loop():
    encoder, params, tokens = made("gru")
    many = tuple(np.stack([np.float32(p), np.float32(2 * p)]) for p in params)

    def grad(params):
        def loss(params):
            return jnp.sum(encoder.apply(iter(params), tokens) ** 2)

        return jax.grad(loss)(params)

    together = jax.jit(jax.vmap(grad), compiler_options=OPTIONS)(many)
    one = jax.jit(grad, compiler_options=OPTIONS)
    for k in range(2):
        alone = one(tuple(p[k] for p in many))
        for ours, reference in zip(together, alone, strict=True):
            np.testing.assert_allclose(ours[k], reference, rtol=2e-5, atol=1e-5)


def test_ids_beyond_the_vocabulary_count_as_the_last():
    table, kernel = jnp.eye(3), jnp.diag(jnp.array([1.0, 2.0, 3.0]))
    tokens = jnp.array([[0, 2, 9]])
    x = recurrent_networks.project_tokens(table, kernel, jnp.zeros(3), tokens)
    np.testing.assert_array_equal(x[0], np.asarray(kernel)[[0, 2, 2]])


def test_spare_columns_appear_only_at_slow_widths():
    for units, columns in ((4, 4), (5, 5), (6, 8), (7, 7)):
        kernel, bias = jnp.ones((3, units)), jnp.ones(units)
        tokens = jnp.zeros((2, 4), jnp.int32)
        x = recurrent_networks.project_tokens(None, kernel, bias, tokens)
        assert x.shape == (2, 4, columns)
        np.testing.assert_array_equal(x[..., units:], 0)


def test_default_initializers_are_sonnets():
    def tensors(name, **settings):
        core = [name, {"core_dim": 30, **settings}]
        return recurrent_cores.make_core("here", core, 70).tensors

    vanilla = tensors("vrnn", act_fn="tanh")
    assert [t.init[0] for t in vanilla] == ["sonnet", "zeros", "sonnet", "zeros"]
    assert tensors("irnn", act_fn="relu")[2].init == ("identity", None)
    assert {t.init for t in tensors("gru")} == {("glorot_uniform", None)}
    weights, bias = tensors("lstm", w_gates=["he_normal", None])
    assert weights.init == ("he_normal", None)
    # Whatever the weights have, the biases have a standard deviation of 1 / sqrt(70 + 30).
    assert bias.init == ("truncated", 0.1)
    drawn = initialize(jax.random.key(0), [bias.init], [(20_000,)])[0]
    assert 0.19 < float(jnp.max(jnp.abs(drawn))) <= 0.2


@pytest.mark.parametrize(
    ("core", "message"),
    [
        ("gru", "here: core must be .name.*, got 'gru'"),
        (["grU", {"core_dim": 3}], "here: unknown core.*'grU'"),
        (["gru", {}], "core gru: missing 'core_dim'"),
        (["gru", {"core_dim": 0}], "core_dim must be an integer >= 1, got 0"),
        (["gru", {"core_dim": 3, "w_gates": ["he_normal", None]}], "'w_gates'"),
        (["lstm", {"core_dim": 3, "w_gates": ["he", None]}], "w_gates: .*'he'"),
        (["vrnn", {"core_dim": 3}], "core vrnn: missing 'act_fn'"),
        (["vrnn", {"core_dim": 3, "act_fn": "gelu"}], "unknown act_fn.*'gelu'"),
    ],
)
def test_a_bad_core_is_named(core, message):
    with pytest.raises(ValueError, match=message):
        recurrent_cores.make_core("here", core, 4)


def test_gates_pull_back_through_their_values():
    x = jnp.linspace(-3, 3, 12).reshape(1, 12)
    for gate in (
        recurrent_cores.SIGMOID,
        recurrent_cores.TANH,
        recurrent_cores.IDENTITY,
        recurrent_cores.LSTM.gates[0],
    ):
        value, pull = jax.vjp(gate.of, x)
        d_value = jnp.cos(x)
        np.testing.assert_allclose(
            gate.pull(value, d_value),
            pull(d_value)[0],
            rtol=1e-5,
            atol=1e-6,
        )


@pytest.mark.parametrize("act_fn", ACTIVATIONS)
def test_a_vanilla_core_takes_every_activation(act_fn):
    core = recurrent_cores.make_core(
        "here", ["vrnn", {"core_dim": 2, "act_fn": act_fn}], 2
    )
    gates = (jnp.array([[-1.5, 0.5]]),)
    (h,) = core.cell.update(gates, (jnp.zeros((1, 2)),))
    np.testing.assert_array_equal(h, ACTIVATIONS[act_fn](gates[0]))


# 7 rows of 300,001 logits do not fit one chunk, nor a whole number of equal ones.
@pytest.mark.parametrize(("rows", "vocab"), [(9, 13), (7, 300_001)])
def test_token_loss_equals_log_softmax(rows, vocab):
    assert (rows * vocab > CHUNK) == (vocab > 1000)
    rng = np.random.RandomState(0)
    x, kernel = rng.randn(rows, 2), rng.randn(2, vocab)
    arrays = [a.astype(np.float32) for a in (x, kernel, 0.1 * rng.randn(vocab))]
    labels = rng.randint(0, vocab, rows).astype(np.int32)
    weights = rng.rand(rows).astype(np.float32)

    def plain(x, kernel, bias):
        logs = jax.nn.log_softmax(x @ kernel + bias[None, :])
        return -jnp.sum(weights * logs[jnp.arange(rows), labels])

    def ours(x, kernel, bias):
        return token_loss(x, kernel, bias, labels, weights)

    def both(arrays):
        parts = [
            jax.value_and_grad(f, argnums=(0, 1, 2))(*arrays) for f in (ours, plain)
        ]
        return parts, ours(*arrays)

    ((loss, grads), (expected, references)), alone = jax.jit(
        both, compiler_options=OPTIONS
    )(arrays)
    np.testing.assert_allclose([loss, alone], [expected, expected], rtol=1e-5)
    for grad, reference in zip(grads, references, strict=True):
        # Sums of 300,001 float32 terms of either sign, in chunks.
        np.testing.assert_allclose(grad, reference, rtol=1e-3, atol=1e-6)


def test_token_loss_can_be_differentiated_twice():
    rng = np.random.RandomState(0)
    with jax.enable_x64():
        arrays = (rng.randn(4, 2), rng.randn(2, 5), rng.randn(5))
        labels, weights = np.array([0, 4, 2, 2]), rng.rand(4)

        def plain(x, kernel, bias):
            logs = jax.nn.log_softmax(x @ kernel + bias[None, :])
            return -jnp.sum(weights * logs[jnp.arange(4), labels])

        def norm(loss, arrays):
            grads = jax.grad(lambda a: loss(*a))(arrays)
            return sum(jnp.sum(g**2) for g in grads)

        def ours(*arrays):
            return token_loss(*arrays, labels, weights)

        found = jax.jit(jax.grad(lambda a: norm(ours, a)))(arrays)
        expected = jax.jit(jax.grad(lambda a: norm(plain, a)))(arrays)
        for grad, reference in zip(found, expected, strict=True):
            np.testing.assert_allclose(grad, reference, rtol=1e-9, atol=1e-12)

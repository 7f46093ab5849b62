"""Transformers and mixers against Flax's own modules, and against numpy by hand."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from opt_gym import plugins, twins
from opt_gym.records import Batch
from opt_gym.tasks.building import patches, transformers
from opt_gym.tasks.building.activations import ACTIVATIONS

QUICK = {"xla_backend_optimization_level": 0}
COMMON = {
    "depth": 2,
    "width": 8,
    "activation": "tanh",
    "w_init": ["glorot_normal", None],
}
BLOCKS = {**COMMON, "heads": 2, "expansion": 2}
LM = {
    **BLOCKS,
    "family": "transformer_lm",
    "positions": "learned",
    "tied": False,
    "vocab_size": 20,
    "dataset": ["lm1b/bytes", {"patch_length": 7, "batch_size": 3}],
}
IMAGES = {"dataset": ["digits", {"bs": 3}, None], "center_data": False, "patch": 3}
VIT = {**BLOCKS, **IMAGES, "family": "vit", "pool": "class"}
MIXER = {
    **COMMON,
    **IMAGES,
    "family": "mixer",
    "token_width": 5,
    "channel_width": 6,
}
CONFIGS = {
    "learned": LM,
    "rotary": {**LM, "positions": "rotary"},
    "tied": {**LM, "tied": True},
    "class": VIT,
    "mean": {**VIT, "pool": "mean"},
    "mixer": MIXER,
}
WEIGHTS = {
    # Embeddings and positions, two blocks, the last norm, the head.
    "learned": 20 * 8 + 6 * 8 + 2 * 600 + 16 + 8 * 20 + 20,
    "rotary": 20 * 8 + 2 * 600 + 16 + 8 * 20 + 20,
    "tied": 20 * 8 + 6 * 8 + 2 * 600 + 16 + 20,
    "class": (9 * 8 + 8) + 8 + 5 * 8 + 2 * 600 + 16 + 8 * 10 + 10,
    "mean": (9 * 8 + 8) + 4 * 8 + 2 * 600 + 16 + 8 * 10 + 10,
    "mixer": (9 * 8 + 8)
    + 2 * (16 + (4 * 5 + 5 + 5 * 4 + 4) + 16 + (8 * 6 + 6 + 6 * 8 + 8))
    + 16
    + 8 * 10
    + 10,
}
"""By hand; a block of width 8, 2 heads and expansion 2 has 600."""


def task_of(name) -> Any:
    config = CONFIGS[name]
    return plugins.spec("task", config["family"]).make(config)


def drawn(task):
    """φ that is nowhere zero, and a batch without data."""
    shapes, _ = jax.eval_shape(lambda: task.init(jax.random.key(0), {}))
    random = np.random.default_rng(0)
    params = tuple(
        jnp.asarray(
            (leaf.ndim == 1) * 0.5 + 0.3 * random.standard_normal(leaf.shape), "f4"
        )
        for leaf in shapes
    )
    batch: Any
    if task.input_kind == "text":
        tokens = jnp.asarray(random.integers(0, 25, (3, 7)), "i4")
        batch = (tokens, None, jnp.asarray(random.integers(0, 2, (3, 7)), "f4"))
    else:
        images = jnp.asarray(random.random((3, 8, 8, 1)), "f4")
        batch = (images, jnp.asarray([1, 0, 7]), None)
    return params, batch


class Flax:
    """The same networks of Flax's modules, with φ put where they keep it."""

    def __init__(self, config, params):
        self.config, self.rest = config, iter(params)

    def norm(self, x) -> Any:
        scale, shift = next(self.rest), next(self.rest)
        module = nn.LayerNorm(epsilon=1e-5)
        return module.apply({"params": {"scale": scale, "bias": shift}}, x)

    def linear(self, x) -> Any:
        kernel, b = next(self.rest), next(self.rest)
        module = nn.Dense(kernel.shape[1])
        return module.apply({"params": {"kernel": kernel, "bias": b}}, x)

    def attention(self, x, causal) -> Any:
        width, heads = self.config["width"], self.config["heads"]
        kernel, b, out, b_out = (next(self.rest) for _ in range(4))
        kernels = kernel.reshape(width, 3, heads, -1)
        biases = b.reshape(3, heads, -1)
        names = ("query", "key", "value")
        params = {
            name: {"kernel": kernels[:, i], "bias": biases[i]}
            for i, name in enumerate(names)
        }
        params["out"] = {"kernel": out.reshape(heads, -1, width), "bias": b_out}
        mask = nn.make_causal_mask(x[..., 0]) if causal else None
        module = nn.MultiHeadDotProductAttention(heads)
        return module.apply({"params": params}, x, x, mask=mask)

    def blocks(self, x, causal) -> Any:
        activation = ACTIVATIONS[self.config["activation"]]
        for _ in range(self.config["depth"]):
            x = x + self.attention(self.norm(x), causal)
            x = x + self.linear(activation(self.linear(self.norm(x))))
        return x

    def mixers(self, x) -> Any:
        activation = ACTIVATIONS[self.config["activation"]]

        def perceptron(x):
            return self.linear(activation(self.linear(x)))

        for _ in range(self.config["depth"]):
            x = x + perceptron(self.norm(x).swapaxes(1, 2)).swapaxes(1, 2)
            x = x + perceptron(self.norm(x))
        return x


def cross_entropy(logits, labels):
    return -jnp.mean(
        jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], axis=-1)
    )


def flax_loss(config, params, batch):
    net = Flax(config, params)
    inputs, targets, _ = batch
    if config["family"] == "transformer_lm":
        tokens = jnp.minimum(inputs, config["vocab_size"] - 1)
        table = next(net.rest)
        x = table[tokens[:, :-1]] + next(net.rest)
        x = net.norm(net.blocks(x, causal=True))
        kernel = table.T if config["tied"] else next(net.rest)
        return cross_entropy(x @ kernel + next(net.rest), tokens[:, 1:])
    pieces = [
        inputs[:, i : i + 3, j : j + 3].reshape(3, -1) for i in (0, 3) for j in (0, 3)
    ]
    x = net.linear(jnp.stack(pieces, axis=1))
    if config["family"] == "mixer":
        pooled = net.norm(net.mixers(x)).mean(axis=1)
        return cross_entropy(net.linear(pooled), targets)
    if config["pool"] == "class":
        token = jnp.broadcast_to(next(net.rest), (3, 1, 8))
        x = jnp.concatenate([token, x], axis=1)
    x = net.norm(net.blocks(x + next(net.rest), causal=False))
    return cross_entropy(
        net.linear(x[:, 0] if config["pool"] == "class" else x.mean(axis=1)), targets
    )


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "rotary"])
def test_loss_and_gradient_are_flaxs(name):
    task, config = task_of(name), CONFIGS[name]
    params, batch = drawn(task)

    def ours(params):
        return task.loss(jax.random.key(0), params, (), Batch(*batch))[0]

    def theirs(params):
        with jax.numpy_rank_promotion("allow"):
            return flax_loss(config, params, batch)

    (loss, grads), (expected, expected_grads) = (
        jax.jit(jax.value_and_grad(one), compiler_options=QUICK)(params)
        for one in (ours, theirs)
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    size = max(np.abs(other).max() for other in expected_grads)
    for grad, other in zip(grads, expected_grads, strict=True):
        np.testing.assert_allclose(grad, other, rtol=1e-5, atol=1e-5 * size)


def test_rotary_attention_by_hand():
    random = np.random.default_rng(1)
    b, t, h, k = 2, 5, 2, 6
    projected = random.standard_normal((b, t, 3, h, k)).astype("f4")
    angles = transformers.angles(t, k)
    found = transformers.attention(jnp.asarray(projected), True, angles)
    q, key, v = np.moveaxis(projected.astype(np.float64), 2, 0)

    def turned(x):
        # A pair is a complex number, turned by e^(i t / 10000^(2i/k)).
        turns = np.exp(
            1j * np.arange(t)[:, None] / 10_000.0 ** (np.arange(0, k, 2) / k)
        )
        z = (x[..., : k // 2] + 1j * x[..., k // 2 :]) * turns[None, :, None]
        return np.concatenate([z.real, z.imag], axis=-1)

    q, key = turned(q), turned(key)
    for i, head in np.ndindex(b, h):
        for place in range(t):
            scores = key[i, : place + 1, head] @ q[i, place, head] / math.sqrt(k)
            shares = np.exp(scores) / np.exp(scores).sum()
            expected = shares @ v[i, : place + 1, head]
            np.testing.assert_allclose(found[i, place, head], expected, rtol=1e-4)


def test_only_the_distance_of_positions_counts_where_they_are_rotary():
    projected = np.random.default_rng(2).standard_normal((1, 6, 3, 1, 4))
    projected = jnp.asarray(projected, "f4")
    shifted = transformers.angles(9, 4)[3:]
    found = transformers.attention(projected, False, transformers.angles(6, 4))
    other = transformers.attention(projected, False, shifted)
    np.testing.assert_allclose(found, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_number_of_weights_is_that_by_hand(name):
    assert twins.num_weights(CONFIGS[name]) == WEIGHTS[name]


def test_a_fresh_language_model_knows_nothing():
    task = task_of("tied")
    params, _ = jax.jit(task.init)(jax.random.key(0), {})
    _, batch = drawn(task)
    loss, _ = task.loss(jax.random.key(0), params, (), Batch(*batch))
    np.testing.assert_allclose(loss, math.log(20), rtol=0.02)


def test_later_tokens_are_not_seen():
    task = task_of("rotary")
    params, batch = drawn(task)
    mask = jnp.zeros((3, 7)).at[:, :4].set(1.0)
    masked = plugins.spec("task", "transformer_lm").make(
        {**CONFIGS["rotary"], "masked": True}
    )
    tokens = batch[0]
    other = tokens.at[:, 4:].set(0)
    found, changed = (
        masked.loss(jax.random.key(0), params, (), Batch(x, None, mask))[0]
        for x in (tokens, other)
    )
    np.testing.assert_array_equal(found, changed)


def test_patches_are_cut_row_by_row_and_the_rest_is_left():
    images = jnp.arange(2 * 5 * 7 * 2).reshape(2, 5, 7, 2)
    cut = patches.cut(images, 2)
    assert cut.shape == (2, patches.num_patches((5, 7, 2), 2), 8)
    np.testing.assert_array_equal(cut[1, 4], np.ravel(images[1, 2:4, 2:4]))


@pytest.mark.parametrize(
    ("family", "change", "said"),
    [
        (LM, {"heads": 3}, "heads must be a divisor of the width 8"),
        (LM, {"positions": "rotary", "heads": 8}, "heads must be half of the width 8"),
        (LM, {"positions": "absolute"}, "positions"),
        (LM, {"tied": 1}, "tied"),
        (VIT, {"patch": 9}, "patch must be an integer, 1 ... 8"),
        (VIT, {"pool": "max"}, "pool"),
        (MIXER, {"token_width": 0}, "token_width must be"),
        (MIXER, {"heads": 2}, "heads"),
    ],
)
def test_what_cannot_be_is_named(family, change, said):
    with pytest.raises(ValueError, match=said):
        plugins.spec("task", family["family"]).make({**family, **change})


@pytest.mark.parametrize("family", ["transformer_lm", "vit", "mixer"])
def test_configs_of_seeds_have_twins(family):
    spec: Any = plugins.spec("task", family)
    for seed in range(6):
        config = {"family": family, **spec.sample_config(seed)}
        small = twins.twin(config)
        assert twins.twin(small) == small
        assert small["depth"] == config["depth"]

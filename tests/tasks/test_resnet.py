"""Residual networks against a plain lax program, and the named tasks of our own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import opt_gym
from opt_gym.records import Batch
from opt_gym.tasks import mobilenet, resnet
from opt_gym.tasks.building import residual_networks
from opt_gym.tasks.named import ours

QUICK = {"xla_backend_optimization_level": 0}
CONFIG = {
    "blocks": [1, 2],
    "width": 4,
    "groups": 2,
    "activation": "tanh",
    "w_init": ["he_normal", None],
    "dataset": ["digits", {"bs": 3}, None],
    "center_data": True,
}
SHAPES = [
    *[(3, 3, 1, 4), (4,), (4,)],
    *[(3, 3, 4, 4), (4,), (4,), (3, 3, 4, 4), (4,), (4,)],
    *[(3, 3, 4, 8), (8,), (8,), (3, 3, 8, 8), (8,), (8,), (1, 1, 4, 8), (8,), (8,)],
    *[(3, 3, 8, 8), (8,), (8,), (3, 3, 8, 8), (8,), (8,)],
    *[(8, 10), (10,)],
]
MOBILE = {**CONFIG, "family": "mobilenet", "expansion": 2}


def _inverted(inputs, outputs):
    inside = 2 * inputs
    widths = [(1, 1, inputs, inside), (3, 3, 1, inside), (1, 1, inside, outputs)]
    return [shape for kernel in widths for shape in (kernel, kernel[3:], kernel[3:])]


MOBILE_SHAPES = [
    *SHAPES[:3],
    *_inverted(4, 4),
    *_inverted(4, 8),
    *_inverted(8, 8),
    *SHAPES[-2:],
]


def random_case(model, shape, num=3):
    rng = np.random.RandomState(0)
    params = tuple(
        (0.3 * rng.standard_normal(t.shape)).astype(np.float32) for t in model.tensors
    )
    inputs = rng.random_sample((num, *shape)).astype(np.float32)
    return params, Batch(inputs, rng.randint(0, 10, num).astype(np.int32))


def plain_loss(params, batch, config):
    """NHWC, with lax; every norm as in the definition, example by example."""
    rest, groups = iter(params), config["groups"]

    def norm(x):
        gamma, beta = next(rest), next(rest)

        def one(image):
            parts = jnp.split(image, groups, axis=2)
            scaled = [(p - p.mean()) / jnp.sqrt(p.var() + 1e-5) for p in parts]
            return jnp.concatenate(scaled, axis=2)

        return jax.vmap(one)(x) * gamma[None, None, None] + beta[None, None, None]

    def conv(x, stride, alone=1):
        numbers = ("NHWC", "HWIO", "NHWC")
        strides = (stride, stride)
        y = jax.lax.conv_general_dilated(
            x,
            next(rest),
            strides,
            "SAME",
            dimension_numbers=numbers,
            feature_group_count=alone,
        )
        return norm(y)

    def residual(x, stride):
        y = conv(jnp.tanh(conv(x, stride)), 1)
        return jnp.tanh(y + (conv(x, stride) if stride > 1 else x))

    def inverted(x, stride):
        y = jnp.tanh(conv(x, 1))
        y = conv(jnp.tanh(conv(y, stride, y.shape[3])), 1)
        return x + y if stride == 1 else y

    block = inverted if "expansion" in config else residual
    x = jnp.tanh(conv(2 * batch.inputs - 1, 1))
    for stride in (1, 2, 1):
        x = block(x, stride)
    logits = x.mean(axis=(1, 2)) @ next(rest) + next(rest)[None]
    every = jax.nn.log_softmax(logits)
    return -jnp.mean(every[jnp.arange(len(batch.targets)), batch.targets])


@pytest.mark.parametrize(
    ("family", "config", "shapes"),
    [
        (resnet, {**CONFIG, "groups": 1}, SHAPES),
        (resnet, CONFIG, SHAPES),
        (mobilenet, MOBILE, MOBILE_SHAPES),
    ],
)
def test_loss_and_gradient_equal_a_plain_program(family, config, shapes):
    model = family.design(config).model
    assert [tensor.shape for tensor in model.tensors] == shapes
    params, batch = random_case(model, (8, 8, 1))

    def both(params):
        return (
            jax.value_and_grad(lambda p: model.loss(p, (), (), batch)[0])(params),
            jax.value_and_grad(lambda p: plain_loss(p, batch, config))(params),
        )

    (value, grad), (expected, plain) = jax.jit(both, compiler_options=QUICK)(params)
    assert float(value) == pytest.approx(float(expected), rel=1e-5)
    largest = max(np.abs(g).max() for g in plain)
    for one, other in zip(grad, plain, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5 * largest)


def test_group_norm_by_hand():
    # Two channels, one example, two pixels: 1 and 3, 10 and 30.
    x = jnp.array([1.0, 3.0, 10.0, 30.0]).reshape(2, 1, 1, 2)
    gamma, beta = jnp.array([1.0, 2.0]), jnp.array([0.0, 5.0])
    apart = residual_networks.group_norm(x, gamma, beta, 2).reshape(-1)
    np.testing.assert_allclose(apart, [-1, 1, 3, 7], rtol=1e-4)
    # Mean 11, variance (100 + 64 + 1 + 361) / 4 = 131.5.
    together = residual_networks.group_norm(x, gamma, beta, 1).reshape(-1)
    expected = np.array([-10, -8, -2, 38]) / np.sqrt(131.5) + np.array([0, 0, 5, 5])
    np.testing.assert_allclose(together, expected, rtol=1e-5)


def test_no_norm_looks_at_another_example():
    x = jax.random.normal(jax.random.key(0), (4, 3, 2, 2))
    gamma, beta = jnp.ones(4), jnp.zeros(4)
    together = residual_networks.group_norm(x, gamma, beta, 2)
    alone = residual_networks.group_norm(x[:, 1:2], gamma, beta, 2)
    np.testing.assert_allclose(together[:, 1:2], alone, rtol=1e-6)


def test_init_gives_roles_and_gains():
    task = resnet.SPEC.make(CONFIG)
    params, instance = task.init(jax.random.key(0), {})
    assert instance == ()
    assert [leaf.shape for leaf in params] == SHAPES
    assert task.roles[:3] == ("kernel", "norm", "norm")
    assert task.roles[-2:] == ("kernel", "bias")
    np.testing.assert_array_equal(params[1], np.ones(4))
    np.testing.assert_array_equal(params[2], np.zeros(4))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"groups": 3}, "groups must be a divisor of the width 4, got 3"),
        ({"groups": 0}, "groups must be an integer >= 1, got 0"),
        ({"width": 2.5}, "width must be an integer >= 1, got 2.5"),
        ({"blocks": []}, r"blocks must be .* got \[\]"),
        ({"blocks": [2, 0]}, r"blocks must be .* got \[2, 0\]"),
        ({"center_data": 1}, "center_data must be true or false, got 1"),
        ({"depth": 14}, "'depth'"),
        ({"w_init": ["zero", None]}, "w_init: .*'zero'"),
    ],
)
def test_bad_configs_are_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=f"resnet: .*{message}"):
        resnet.SPEC.make({**CONFIG, **changes})


def test_a_bottleneck_is_refused_by_name():
    with pytest.raises(ValueError, match="expansion must be an integer >= 1, got 0"):
        mobilenet.SPEC.make({**MOBILE, "expansion": 0})


@pytest.mark.parametrize("family", [resnet, mobilenet])
def test_every_drawn_config_can_be_built(family):
    for seed in range(60):
        config = family.sample_config(seed)
        assert config["width"] % config["groups"] == 0
        family.design(config)


@pytest.mark.parametrize("depth", [14, 34])
def test_a_depth_is_the_number_of_layers_with_weights(depth):
    model = resnet.design(ours.TASKS[f"ResNet{depth}_cifar10_bs128"]).model
    shapes = [tensor.shape for tensor in model.tensors if tensor.role == "kernel"]
    assert sum(shape[:2] != (1, 1) for shape in shapes) == depth


@pytest.mark.parametrize("name", [name for name in ours.TASKS if "10way" in name])
def test_subsets_have_ten_outputs(name):
    task = opt_gym.make_task(ours.TASKS[name])
    params, _ = jax.eval_shape(task.init, jax.random.key(0), {})
    assert params[-1].shape == (10,)
    if name.startswith("Conv3"):
        # 3 x 3 x 3 x 32, two of 3 x 3 x 32 x 32, 32 x 10, and their biases.
        assert sum(leaf.size for leaf in params) == 896 + 2 * 9248 + 330


def test_subsets_of_different_seeds_have_different_classes():
    names = [f"Conv3_cifar100_10way_seed{k}_bs128" for k in (0, 1)]
    first, second = (
        opt_gym.make_task(ours.TASKS[name]).load_data("embedded") for name in names
    )
    assert set(np.unique(first["train"].labels)) == set(range(10))
    assert not np.array_equal(first["train"].images[:20], second["train"].images[:20])


def test_the_valley_is_half_a_squared_difference():
    task = opt_gym.make_task(ours.TASKS["TwoD_HalfSquaredDifference"])
    data = task.load_data("embedded")
    k_init, k_batch = jax.random.split(jax.random.key(0))
    params, instance = task.init(k_init, data)
    batch = task.sample_batch(k_batch, data, instance, "train")
    place = jax.tree.map(lambda _: jnp.array([3.0, -1.0]), params)
    loss, grad = jax.value_and_grad(
        lambda p: task.loss(k_batch, p, instance, batch)[0]
    )(place)
    assert float(loss) == 8.0
    np.testing.assert_allclose(jax.tree.leaves(grad)[0], [4.0, -4.0])

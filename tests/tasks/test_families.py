"""The families themselves: shapes, hand-worked losses, gradients, errors, figures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs_registry.parity.cases import generate
from opt_gym import plugins
from opt_gym.records import SPLITS, Batch, Images

MLP = {
    "layer_sizes": [32],
    "activation": "relu",
    "w_init": ["he_normal", None],
    "dataset": ["digits", {"bs": 128}, None],
    "center_data": False,
}
CONV = {
    "strides": [[2, 2], [1, 1]],
    "hidden_units": [4, 5],
    "activation": "tanh",
    "w_init": ["glorot_uniform", None],
    "padding": ["SAME", "VALID"],
    "pool_type": "mean",
    "use_bias": True,
    "dataset": ["digits", {"bs": 16}, None],
    "center_data": True,
}
QUADRATIC = {
    "A_dist": ["normal", {"mean": 0.0, "std": 1.0}],
    "initial_dist": ["normal", {"mean": 0.0, "std": 1.0}],
    "output_fn": "identity",
    "dims": 6,
    "seed": 3,
    "loss_scale": 2.0,
    "noise": None,
}


def build(family, config):
    return plugins.spec("task", family).make(config)


def figure(family, config, scale=0.3):
    """A task's loss at weights and a batch that follow from names and shapes."""
    task = build(family, config)
    data = {split: Images(*_pixels(task)) for split in SPLITS}
    shapes, _ = jax.eval_shape(task.init, jax.random.key(0), data)
    leaves = [
        scale * generate(f"phi{i}", leaf.shape)
        for i, leaf in enumerate(jax.tree.leaves(shapes))
    ]
    params = jax.tree.unflatten(jax.tree.structure(shapes), leaves)
    inputs = np.float32(data["train"].images) / 255
    batch = Batch(inputs, data["train"].labels)
    return float(jax.jit(task.loss)(jax.random.key(0), params, (), batch)[0])


def _pixels(task):
    rng = np.random.RandomState(0)
    images = rng.randint(0, 256, (6, 8, 8, 1)).astype(np.uint8)
    return images, rng.randint(0, 10, 6).astype(np.int32)


@pytest.mark.parametrize(
    ("family", "changes", "expected"),
    [
        ("mlp", {}, 3.354948),
        ("mlp", {"center_data": True, "activation": "cos"}, 2.7087898),
        ("mlp", {"layer_sizes": [8, 8], "activation": "leaky_relu4"}, 3.391837),
        ("mlp", {"layer_sizes": []}, 4.185763),
        ("conv_pooling", {}, 2.2518849),
        ("conv_pooling", {"pool_type": "max", "activation": "swish"}, 1.9920369),
        ("conv_pooling", {"pool_type": "squared_mean", "use_bias": False}, 1.8629016),
    ],
)
def test_losses_at_reproducible_parameters(family, changes, expected):
    # The figures are those of a plain numpy program in float64 (loops over pixels).
    config = {**(MLP if family == "mlp" else CONV), **changes}
    assert figure(family, config) == pytest.approx(expected, rel=1e-5)


def start(task, seed=0):
    data = task.load_data("embedded")
    k_init, k_batch = jax.random.split(jax.random.key(seed))
    params, instance = jax.jit(task.init)(k_init, data)
    sample = jax.jit(task.sample_batch, static_argnums=3)
    return params, instance, sample(k_batch, data, instance, "train")


def test_mlp_weights_come_in_creation_order():
    task = build("mlp", MLP)
    params, instance, batch = start(task)
    assert [leaf.shape for leaf in params] == [(64, 32), (32,), (32, 10), (10,)]
    assert sum(leaf.size for leaf in params) == 2410
    assert task.roles == ("kernel", "bias", "kernel", "bias")
    assert not np.any(params[1])
    assert jax.tree.leaves(instance) == []
    assert batch.inputs.shape == (128, 8, 8, 1)
    assert batch.inputs.dtype == jnp.float32
    assert batch.targets.dtype == jnp.int32
    assert 0 <= float(batch.inputs.min()) < float(batch.inputs.max()) <= 1
    loss, aux = task.loss(jax.random.key(0), params, instance, batch)
    assert jnp.isfinite(loss)
    assert 0 <= float(aux["accuracy"]) <= 1


def test_the_benchmark_of_784_pixels_is_a_hand_edited_config():
    task = build("mlp", {**MLP, "dataset": ["mnist", {"bs": 128}, None]})
    params, _, batch = start(task)
    assert [leaf.shape for leaf in params] == [(784, 32), (32,), (32, 10), (10,)]
    assert batch.inputs.shape == (128, 28, 28, 1)
    assert task.config == {
        "family": "mlp",
        **MLP,
        "dataset": ["mnist", {"bs": 128}, None],
    }


def test_conv_weights_come_in_creation_order():
    task = build("conv_pooling", CONV)
    params, _, _ = start(task)
    shapes = [(3, 3, 1, 4), (4,), (3, 3, 4, 5), (5,), (5, 10), (10,)]
    assert [leaf.shape for leaf in params] == shapes
    assert task.roles == ("kernel", "bias") * 3
    bare = build("conv_pooling", {**CONV, "use_bias": False})
    assert bare.roles == ("kernel", "kernel", "kernel", "bias")


def test_augmentation_makes_the_input_smaller():
    config = plugins.spec("task", "mlp").sample_config(3)
    assert config["dataset"][2]["crop_amount"] == 2
    task = build("mlp", config)
    params, _, batch = start(task)
    assert batch.inputs.shape == (32, 26, 26, 1)
    assert params[0].shape[0] == 26 * 26


def test_batches_are_drawn_from_the_split_that_was_asked_for():
    task = build("mlp", MLP)
    data = task.load_data("embedded")
    marked = {
        split: Images(np.full_like(images, value), labels)
        for value, (split, (images, labels)) in enumerate(data.items())
    }
    for value, split in enumerate(SPLITS):
        batch = task.sample_batch(jax.random.key(0), marked, (), split)
        np.testing.assert_allclose(batch.inputs, value / 255, rtol=1e-6)


def test_batches_reach_every_example_about_equally_often():
    task = build("mlp", {**MLP, "dataset": ["digits", {"bs": 20000}, None]})
    images = np.zeros((5, 8, 8, 1), np.uint8)
    data = {"train": Images(images, np.arange(5, dtype=np.int32))}
    batch = task.sample_batch(jax.random.key(0), data, (), "train")
    counts = np.bincount(batch.targets, minlength=5)
    assert np.max(np.abs(counts - 4000)) < 5 * (20000 * 0.2 * 0.8) ** 0.5


@pytest.mark.parametrize(
    ("family", "config"),
    [
        ("mlp", {**MLP, "layer_sizes": [3], "activation": "tanh"}),
        ("conv_pooling", {**CONV, "hidden_units": [2, 2]}),
    ],
)
def test_gradients_equal_finite_differences(family, config):
    task = build(family, {**config, "dataset": ["digits", {"bs": 3}, None]})
    params, instance, batch = start(task)
    key = jax.random.key(0)
    with jax.enable_x64(True):
        params, batch = jax.tree.map(
            lambda leaf: (
                jnp.asarray(leaf, jnp.float64)
                if leaf.dtype == jnp.float32
                else jnp.asarray(leaf)
            ),
            (params, batch),
        )
        rng = np.random.RandomState(0)
        way = jax.tree.map(lambda leaf: rng.randn(*leaf.shape), params)

        @jax.jit
        @jax.value_and_grad
        def along(step):
            moved = jax.tree.map(lambda p, w: p + step * w, params, way)
            return task.loss(key, moved, instance, batch)[0]

        step = 1e-5
        ahead, behind = (float(along(x)[0]) for x in (step, -step))
        slope = float(along(0.0)[1])
    # Central differences err by step^2 times a third derivative.
    assert slope == pytest.approx((ahead - behind) / (2 * step), rel=1e-6)


def test_quadratic_by_hand():
    matrix = jnp.array([[1.0, 2.0], [0.0, 3.0]])
    params, _, batch = start(build("quadratic", {**QUADRATIC, "dims": 2}))
    params = params._replace(weight=jnp.array([1.0, -1.0]))
    # A w = (-1, -3): the sum of squares is 10.
    for output_fn, expected in (("identity", 20.0), ("log", 2 * np.log(10 + 1e-8))):
        task = build("quadratic", {**QUADRATIC, "dims": 2, "output_fn": output_fn})
        loss, aux = task.loss(jax.random.key(0), params, matrix, batch)
        assert float(loss) == pytest.approx(expected, rel=1e-6)
        assert aux == {}
    grad = jax.grad(
        lambda w: build("quadratic", {**QUADRATIC, "dims": 2}).loss(
            jax.random.key(0), params._replace(weight=w), matrix, batch
        )[0]
    )
    # 2 * scale * A' A w = 4 * (-1, -11).
    np.testing.assert_allclose(grad(params.weight), [-4.0, -44.0], rtol=1e-6)


def test_no_quadratic_goes_below_its_floor():
    for output_fn in ("identity", "log"):
        task = build("quadratic", {**QUADRATIC, "output_fn": output_fn})
        params, instance, batch = start(task)
        at_zero = jax.tree.map(jnp.zeros_like, params)
        lowest, _ = task.loss(jax.random.key(0), at_zero, instance, batch)
        assert float(lowest) == pytest.approx(task.loss_floor, rel=1e-6)
    assert task.loss_floor == pytest.approx(2 * np.log(1e-8))


def test_a_quadratics_matrix_follows_the_configs_seed_and_its_weight_the_key():
    task = build("quadratic", QUADRATIC)
    init = jax.jit(task.init)
    (first, matrix), (second, same) = (init(jax.random.key(k), {}) for k in (0, 1))
    np.testing.assert_array_equal(matrix, same)
    assert not np.allclose(first.weight, second.weight)
    anew = jax.jit(build("quadratic", {**QUADRATIC, "seed": None}).init)
    assert not np.allclose(*(anew(jax.random.key(k), {})[1] for k in (0, 1)))


@pytest.mark.parametrize("kind", ["linspace_eigen", "logspace_eigen"])
def test_spectra(kind):
    low, high, dims = 0.5, 8.0, 5
    dist = [kind, {"min": low, "max": high}]
    task = build("quadratic", {**QUADRATIC, "dims": dims, "A_dist": dist})
    _, matrix, _ = start(task)
    space = np.linspace if kind == "linspace_eigen" else np.geomspace
    expected = space(low, high, dims)
    np.testing.assert_allclose(np.linalg.eigvalsh(matrix), expected, rtol=1e-4)


def test_matrix_noise_is_fresh_in_every_evaluation_and_has_its_scale():
    spread = ["normal", {"mean": 0.0, "std": 0.1}]
    task = build(
        "quadratic", {**QUADRATIC, "noise": {"A_noise": spread}, "loss_scale": 1.0}
    )
    params, matrix, batch = start(task)
    keys = jax.random.split(jax.random.key(5), 4000)

    def loss_fn(key):
        return task.loss(key, params, 0 * matrix, batch)[0]

    losses = jax.jit(jax.vmap(loss_fn))(keys)
    assert len(np.unique(losses)) > 3900
    # E |N w|^2 = d * std^2 * |w|^2, and 4,000 draws give it within 5 %.
    expected = 6 * 0.1**2 * float(jnp.sum(params.weight**2))
    assert float(jnp.mean(losses)) == pytest.approx(expected, rel=0.05)


def test_noise_of_an_eigen_kind_is_the_product_with_such_a_matrix():
    from opt_gym.tasks import quadratic

    dist = ["linspace_eigen", {"min": 1.0, "max": 3.0}]
    weight, key = jnp.arange(4.0), jax.random.key(2)
    product = quadratic.noise_product(key, dist, weight)
    matrix = quadratic.draw_matrix(key, dist, 4)
    np.testing.assert_allclose(product, matrix @ weight, rtol=1e-5)


BAD = [
    (
        "mlp",
        {"layer_size": [3]},
        "unknown key: 'layer_size'; did you mean 'layer_sizes'",
    ),
    ("mlp", {"layer_sizes": [0]}, r"layer_sizes must be .*got \[0\]"),
    ("mlp", {"activation": "rellu"}, "'rellu'; did you mean 'relu'"),
    ("mlp", {"w_init": ["he_normal", 1.0]}, "takes no scale, got 1.0"),
    ("mlp", {"w_init": "he_normal"}, "w_init must be"),
    ("mlp", {"dataset": ["mnits", {"bs": 1}, None]}, "'mnits'; did you mean 'mnist'"),
    ("mlp", {"dataset": ["mnist", {}, None]}, "missing 'bs'"),
    ("mlp", {"dataset": ["mnist", {"bs": True}, None]}, "bs must be .*got True"),
    ("mlp", {"dataset": ["mnist", {"bs": 1, "b": 2}, None]}, "unknown key: 'b'"),
    (
        "mlp",
        {"dataset": ["mnist", {"bs": 1}, {}]},
        "augmentation: missing 'crop_amount'",
    ),
    ("mlp", {"dataset": ["mnist"]}, "dataset must be"),
    ("mlp", {"center_data": 1}, "center_data must be true or false, got 1"),
    ("mlp", {"family": "conv"}, "family is 'conv'"),
    ("conv_pooling", {"pool_type": "sum"}, "unknown pool_type: 'sum'"),
    ("conv_pooling", {"strides": [[2, 2]]}, "strides must be 2 pairs"),
    ("conv_pooling", {"padding": ["SAME", "FULL"]}, "padding must be 2 of"),
    (
        "conv_pooling",
        {"hidden_units": []},
        "hidden_units must be a list of 1 or more",
    ),
    ("quadratic", {"dims": 0}, "dims must be an integer >= 1, got 0"),
    ("quadratic", {"seed": -1}, "seed must be .*got -1"),
    ("quadratic", {"loss_scale": 0}, "loss_scale must be a number > 0, got 0"),
    ("quadratic", {"A_dist": ["normal", {"mean": 0}]}, "A_dist normal: missing 'std'"),
    ("quadratic", {"initial_dist": ["linspace_eigen", {}]}, "kind of initial_dist"),
    ("quadratic", {"noise": {"B": 1}}, "noise: unknown key: 'B'"),
    ("small_mlp", {"layer_sizes": 16}, "small_mlp: layer_sizes must be"),
]


@pytest.mark.parametrize(("family", "change", "message"), BAD)
def test_bad_configs_are_refused_by_name(family, change, message):
    whole = {"quadratic": QUADRATIC, "conv_pooling": CONV}.get(family, MLP)
    with pytest.raises(ValueError, match=message):
        build(family, {**whole, **change})


def test_a_missing_key_is_named():
    config = {key: value for key, value in MLP.items() if key != "w_init"}
    with pytest.raises(ValueError, match="mlp: missing 'w_init'"):
        build("mlp", config)


def test_infeasible_convolutions_are_refused_by_layer():
    family = plugins.spec("task", "conv_pooling")
    refused = []
    for seed in range(100):
        try:
            family.make(family.sample_config(seed))
        except ValueError as error:
            assert "layer" in str(error)  # noqa: PT017 — most seeds raise nothing
            refused.append(seed)
    # The published list of what could not be built.
    assert refused == [33, 42, 43, 56, 66]
    config = {**CONV, "strides": [[2, 2]] * 3, "hidden_units": [4] * 3}
    config["padding"] = ["SAME", "SAME", "VALID"]
    message = r"padding\[2\] is 'VALID', .* input of layer 2 only 2x2"
    with pytest.raises(ValueError, match=message):
        build("conv_pooling", config)


def test_configs_with_and_without_their_family_build_the_same():
    named = build("mlp", {"family": "mlp", **MLP})
    assert named.config == build("mlp", MLP).config
    assert build("mlp", named.config).config == named.config

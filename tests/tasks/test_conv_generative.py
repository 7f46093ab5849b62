"""Convolutional autoencoders against hand-worked values and plain lax programs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from opt_gym.records import Batch
from opt_gym.tasks import conv_ae, conv_vae
from opt_gym.tasks.building import conv_autoencoders, convolutions

QUICK = {"xla_backend_optimization_level": 0}
CONFIG = {
    "enc_hidden_units": [3, 4],
    "latent_size": 2,
    "dec_hidden_units": [5, 3],
    "activation": "tanh",
    "w_init": ["sonnet", None],
    "dataset": ["cifar10", {"bs": 2}, None],
}
SMALL = {**CONFIG, "dataset": ["digits", {"bs": 2}, None]}
SHAPES = [
    *[(3, 3, 1, 3), (3,), (3, 3, 3, 4), (4,), (16, 2), (2,)],
    *[(2, 128), (128,), (3, 3, 5, 32), (5,), (3, 3, 3, 5), (3,), (1, 1, 3, 1), (1,)],
]


def random_case(model, shape, num=2):
    """Weights, noise and a batch that follow from the shapes."""
    rng = np.random.RandomState(0)
    params = tuple(
        (0.3 * rng.standard_normal(t.shape)).astype(np.float32) for t in model.tensors
    )
    batch = Batch(rng.random_sample((num, *shape)).astype(np.float32), np.zeros(num))
    return params, model.noise(jax.random.key(1), batch), batch


def differentiate(loss, *arguments):
    return jax.jit(jax.value_and_grad(loss), compiler_options=QUICK)(*arguments)


def test_shapes_and_roles_follow_the_config():
    model = conv_ae.design(SMALL).model
    assert [tensor.shape for tensor in model.tensors] == SHAPES
    assert [tensor.role for tensor in model.tensors] == ["kernel", "bias"] * 7
    variational = [tensor.shape for tensor in conv_vae.design(SMALL).model.tensors]
    changed = {4: (16, 4), 5: (4,), 12: (1, 1, 3, 2), 13: (2,)}
    assert variational == [changed.get(i, shape) for i, shape in enumerate(SHAPES)]
    wide = conv_ae.design({**CONFIG, "dec_hidden_units": [5]}).model.tensors
    assert wide[6].shape == (2, 16 * 16 * 32)


def test_a_decoded_map_by_hand():
    x = jnp.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 1, 2, 2)
    # Taps (row, column): 1 where a pixel lands, 10 one to the right, 100 two below it.
    kernel = jnp.zeros((3, 3, 1, 1)).at[0, 0].set(1.0).at[0, 1].set(10.0)
    kernel = kernel.at[2, 0].set(100.0)
    params = (kernel, jnp.array([-0.5]), jnp.full((1, 1, 1, 1), 2.0), jnp.array([3.0]))
    rest = iter(params)
    y = conv_autoencoders.decode_map(rest, x, ["slices"], jax.nn.relu)
    assert list(rest) == []
    # 100 * row 2 would reach row 4, which "SAME" cuts off.
    landed = np.array([[1, 10, 2, 20], [0] * 4, [103, 30, 204, 40], [0] * 4])
    np.testing.assert_allclose(y[0, 0], 2 * np.maximum(landed - 0.5, 0) + 3)


@pytest.mark.parametrize(
    ("field", "strides"),
    [((3, 3), (2, 2)), ((5, 4), (3, 2)), ((1, 1), (2, 2)), ((2, 3), (2, 1))],
)
def test_the_transposed_convolution_is_the_transpose(field, strides):
    rng = np.random.RandomState(0)
    x = rng.randn(3, 2, 4, 3).astype(np.float32)
    kernel = rng.randn(*field, 2, 3).astype(np.float32)
    weight = rng.randn(2, 2, 4 * strides[0], 3 * strides[1]).astype(np.float32)

    def ours(x, kernel):
        y = convolutions.transposed(x, kernel, strides, "slices")
        return jnp.sum(weight * y)

    def reference(x, kernel):
        y = convolutions.convolve(jnp.asarray(weight), kernel, strides, "SAME", "lax")
        return jnp.sum(x * y)

    for function in (ours, reference):
        values = jax.value_and_grad(function, argnums=(0, 1))
        program = jax.jit(values, compiler_options=QUICK)
        if function is ours:
            found = program(x, kernel)
        else:
            expected = program(x, kernel)
    for one, other in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def encode(rest, x, depth):
    """NHWC, with lax."""
    numbers = ("NHWC", "HWIO", "NHWC")
    for _ in range(depth):
        x = jax.lax.conv_general_dilated(
            x, next(rest), (2, 2), "SAME", dimension_numbers=numbers
        )
        x = jnp.tanh(x + next(rest)[None, None, None])
    return x.reshape(x.shape[0], -1) @ next(rest) + next(rest)[None]


def decode(rest, z, depth, side):
    x = (z @ next(rest) + next(rest)[None]).reshape(-1, side, side, 32)
    for _ in range(depth):
        # transpose_kernel takes the kernel as that of the forward convolution.
        x = jax.lax.conv_transpose(x, next(rest), (2, 2), "SAME", transpose_kernel=True)
        x = jnp.tanh(x + next(rest)[None, None, None])
    return x @ next(rest)[0, 0] + next(rest)[None, None, None]


def plain_ae(params, noise, images):
    rest = iter(params)
    z = encode(rest, images, 2)
    return jnp.mean((jax.nn.sigmoid(decode(rest, z, 2, 8)) - images) ** 2)


def plain_vae(params, noise, images):
    rest, x = iter(params), 2 * images - 1
    mean, log_sigma = jnp.split(encode(rest, x, 2), 2, axis=1)
    z = mean + jnp.exp(log_sigma) * noise[0]
    pixels = jnp.clip(decode(rest, z, 2, 8), -10, 10)
    centre, log_width = pixels[..., :3], pixels[..., 3:]
    density = jax.scipy.stats.norm.logpdf(x + noise[1], centre, jnp.exp(log_width))
    likelihood = jnp.sum(density - np.log(255), axis=(1, 2, 3))
    kl = jnp.sum(
        (mean**2 + jnp.exp(2 * log_sigma) - 1) / 2 - log_sigma,
        axis=1,
    )
    return jnp.mean(kl - likelihood)


@pytest.mark.parametrize(
    ("family", "reference"), [(conv_ae, plain_ae), (conv_vae, plain_vae)]
)
def test_loss_and_gradient_equal_a_plain_program(family, reference):
    model = family.design(CONFIG).model
    params, noise, batch = random_case(model, (32, 32, 3))

    def loss(params):
        return model.loss(params, (), noise, batch)[0]

    value, grad = differentiate(loss, params)
    expected = differentiate(
        lambda params: reference(params, noise, batch.inputs), params
    )
    assert float(value) == pytest.approx(float(expected[0]), rel=1e-5)
    for ours, plain in zip(grad, expected[1], strict=True):
        np.testing.assert_allclose(
            ours, plain, rtol=1e-3, atol=1e-4 * np.abs(plain).max()
        )


@pytest.mark.parametrize("family", [conv_ae, conv_vae])
def test_the_gradient_is_that_of_finite_differences(family):
    model = family.design(SMALL).model
    with jax.enable_x64(True):
        params, noise, batch = jax.tree.map(
            lambda x: jnp.asarray(x, jnp.float64), random_case(model, (8, 8, 1))
        )
        rng = np.random.RandomState(3)
        direction = tuple(rng.standard_normal(p.shape) for p in params)
        width = 1e-6

        def along(step):
            moved = tuple(p + step * d for p, d in zip(params, direction, strict=True))
            return model.loss(moved, (), noise, batch)[0]

        program = jax.jit(jax.value_and_grad(along), compiler_options=QUICK)
        slope = program(0.0)[1]
        difference = (program(width)[0] - program(-width)[0]) / (2 * width)
    assert float(slope) == pytest.approx(float(difference), rel=1e-6)


def test_a_transposed_kernel_starts_as_sonnets_does():
    config = {**SMALL, "dec_hidden_units": [64]}
    task = conv_ae.SPEC.make(config)
    params, instance = task.init(jax.random.key(0), {})
    assert instance == ()
    kernel = np.asarray(params[8])
    assert kernel.shape == (3, 3, 64, 32)
    # 32 channels come in: std 1 / sqrt(9 * 32) before the cut at two of them.
    nominal = (9 * 32) ** -0.5
    assert np.abs(kernel).max() <= 2 * nominal
    assert kernel.std() == pytest.approx(0.8796 * nominal, rel=0.02)


def test_noise_and_floor_of_the_variational_one():
    model = conv_vae.design(SMALL).model
    batch = Batch(jnp.zeros((3, 8, 8, 1)), None)
    latent, pixels = model.noise(jax.random.key(0), batch)
    assert latent.shape == (3, 2)
    assert pixels.shape == (3, 8, 8, 1)
    assert float(jnp.abs(pixels).max()) <= 0.5 / 255
    per_pixel = 0.5 * np.log(2 * np.pi) + np.log(255) - 10
    assert model.floor == pytest.approx(64 * per_pixel, rel=1e-12)
    assert conv_ae.design(SMALL).model.floor == 0.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"dec_hidden_units": [4] * 4},
            r"dec_hidden_units doubles 4 times, got \[4, 4, 4, 4\], .*8x8 \(dataset digits",
        ),
        (
            {"dataset": ["mnist", {"bs": 2}, None], "dec_hidden_units": [4] * 3},
            "infeasible config: dec_hidden_units doubles 3 times",
        ),
        ({"dec_hidden_units": []}, r"dec_hidden_units must be .* got \[\]"),
        ({"enc_hidden_units": []}, r"enc_hidden_units must be .* got \[\]"),
        ({"latent_size": 0}, "latent_size must be an integer >= 1, got 0"),
        ({"latents": 3}, "'latents'"),
        ({"activation": "gelu"}, "'gelu'"),
        ({"w_init": ["he_normal", 2.0]}, "w_init: .*takes no scale, got 2.0"),
    ],
)
@pytest.mark.parametrize("family", [conv_ae, conv_vae])
def test_bad_configs_are_refused_by_name(family, changes, message):
    with pytest.raises(ValueError, match=f"{family.FAMILY}: .*{message}"):
        family.SPEC.make({**SMALL, **changes})


def test_a_crop_that_cannot_be_doubled_up_to_is_refused():
    augmented = {
        "crop_amount": 1,
        "flip_left_right": False,
        "flip_up_down": False,
        "do_color_aug": False,
        **dict.fromkeys(("brightness", "saturation", "hue", "contrast"), 0.1),
    }
    config = {**CONFIG, "dataset": ["cifar10", {"bs": 2}, augmented]}
    with pytest.raises(ValueError, match="31x31"):
        conv_ae.SPEC.make(config)
    augmented["crop_amount"] = 4
    assert conv_ae.design(config).model.tensors[6].shape == (2, 7 * 7 * 32)


def test_every_drawn_config_can_be_built():
    depths = set()
    for seed in range(60):
        config = conv_vae.sample_config(seed)
        assert config == conv_ae.sample_config(seed)
        conv_vae.design(config)
        conv_ae.design(config)
        depths.add(len(config["dec_hidden_units"]))
    assert depths == {1, 2, 3}

"""mlp_ae, mlp_vae and the terms of a variational bound, against numpy and scipy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from opt_gym.records import Batch
from opt_gym.tasks import mlp_ae, mlp_vae
from opt_gym.tasks.building import variational

AE = {
    "hidden_units": [3, 5],
    "activation": "tanh",
    "w_init": ["glorot_uniform", None],
    "dataset": ["digits", {"bs": 16}, None],
    "output_type": "sigmoid",
    "loss_type": "l2",
    "reduction_type": "reduce_mean",
}
VAE = {
    "enc_hidden_units": [6, 3],
    "dec_hidden_units": [4],
    "activation": "tanh",
    "w_init": ["he_normal", None],
    "dataset": ["digits", {"bs": 16}, None],
}
DIM, LATENTS, EXAMPLES = 64, 3, 2


def normal(seed, *shape):
    return np.random.RandomState(seed).standard_normal(shape)


def random_params(model, scale=0.3):
    return tuple(
        scale * normal(i, *tensor.shape) for i, tensor in enumerate(model.tensors)
    )


def pixels():
    return np.random.RandomState(7).uniform(size=(EXAMPLES, 8, 8, 1))


def numpy_mlp(params, x):
    for index in range(0, len(params), 2):
        x = np.tanh(x) if index else x
        x = x @ params[index] + params[index + 1]
    return x


@pytest.mark.parametrize(
    ("output", "loss_type", "reduction"),
    [
        ("sigmoid", "l2", "reduce_mean"),
        ("tanh", "l1", "reduce_sum"),
        ("linear_center", "l2", "reduce_sum"),
        ("linear", "l1", "reduce_mean"),
    ],
)
def test_autoencoder_loss_is_that_of_numpy(output, loss_type, reduction):
    config = {
        **AE,
        "output_type": output,
        "loss_type": loss_type,
        "reduction_type": reduction,
    }
    model = mlp_ae.design(config).model
    params = random_params(model)
    x = pixels().reshape(EXAMPLES, DIM)
    if output in ("tanh", "linear_center"):
        x = 2 * x - 1
    y = numpy_mlp(params, x)
    y = {"sigmoid": 1 / (1 + np.exp(-y)), "tanh": np.tanh(y)}.get(output, y)
    error = np.abs(y - x) if loss_type == "l1" else (y - x) ** 2
    expected = error.mean() if reduction == "reduce_mean" else error.sum(axis=1).mean()
    loss, aux = jax.jit(model.loss)(params, (), (), Batch(pixels(), None))
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert aux == {}


def test_autoencoder_gives_back_as_many_values_as_it_gets():
    task = mlp_ae.SPEC.make({**AE, "hidden_units": []})
    params, _ = jax.eval_shape(task.init, jax.random.key(0), {})
    assert [p.shape for p in params] == [(DIM, DIM), (DIM,)]
    assert task.roles == ("kernel", "bias")
    # Its own input as the output: nothing is lost.
    linear = mlp_ae.design({**AE, "hidden_units": [], "output_type": "linear"}).model
    identity = (jnp.eye(DIM), jnp.zeros(DIM))
    batch = Batch(jnp.array(pixels()), None)
    assert float(linear.loss(identity, (), (), batch)[0]) == 0.0 == linear.floor


def test_kl_of_known_gaussians():
    mean = jnp.array([[0.0, 1.0], [3.0, 0.0]])
    log_sigma = jnp.log(jnp.array([[1.0, 2.0], [1.0, 0.5]]))
    # 0 and (1 + 4 - 1) / 2 - log 2; 9 / 2 and (1/4 - 1) / 2 + log 2.
    expected = [2 - np.log(2), 4.5 - 0.375 + np.log(2)]
    kl = jax.jit(variational.kl_divergence)(mean, log_sigma)
    np.testing.assert_allclose(kl, expected, rtol=1e-6)


def test_likelihood_is_the_density_of_scipy_times_the_step_of_a_pixel():
    shape = (EXAMPLES, 3, 2)
    x, mean, log_sigma = normal(0, *shape), normal(1, *shape), normal(2, *shape)
    noise = np.random.RandomState(3).uniform(-0.5, 0.5, shape) / 255
    density = stats.norm.logpdf(x + noise, mean, np.exp(log_sigma))
    expected = (density + np.log(1 / 255)).sum(axis=(1, 2))
    ours = jax.jit(variational.log_likelihood)(x, noise, mean, log_sigma)
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_decoder_outputs_are_clipped_and_pass_no_gradient_there():
    x, noise = jnp.zeros((1, 2)), jnp.zeros((1, 2))
    mean, log_sigma = jnp.array([[50.0, 1.0]]), jnp.array([[0.0, -11.0]])

    def likelihood(mean, log_sigma):
        return variational.log_likelihood(x, noise, mean, log_sigma)[0]

    clipped = likelihood(jnp.array([[10.0, 1.0]]), jnp.array([[0.0, -10.0]]))
    assert float(likelihood(mean, log_sigma)) == float(clipped)
    of_mean, of_sigma = jax.jit(jax.grad(likelihood, (0, 1)))(mean, log_sigma)
    np.testing.assert_array_equal(np.asarray(of_mean)[0] == 0, [True, False])
    np.testing.assert_array_equal(np.asarray(of_sigma)[0] == 0, [False, True])


@pytest.mark.parametrize("center", [False, True])
def test_vae_loss_is_that_of_numpy(center):
    model = mlp_vae.design({**VAE, "center_data": center}).model
    params = random_params(model)
    latent = normal(20, EXAMPLES, LATENTS)
    quantisation = np.random.RandomState(21).uniform(-0.5, 0.5, (EXAMPLES, DIM)) / 255
    x = pixels().reshape(EXAMPLES, DIM)
    x = 2 * x - 1 if center else x
    code = numpy_mlp(params[:4], x)
    mean, sigma = code[:, :LATENTS], np.exp(code[:, LATENTS:])
    decoded = np.clip(numpy_mlp(params[4:], mean + sigma * latent), -10, 10)
    density = stats.norm.logpdf(
        x + quantisation, decoded[:, :DIM], np.exp(decoded[:, DIM:])
    )
    kl = (mean**2 + sigma**2 - 1) / 2 - np.log(sigma)
    elbo = (density - np.log(255)).sum(axis=1) - kl.sum(axis=1)
    noise = (jnp.array(latent), jnp.array(quantisation))
    loss, _ = jax.jit(model.loss)(params, (), noise, Batch(pixels(), None))
    assert float(loss) == pytest.approx(-elbo.mean(), rel=1e-5)


def test_vae_gradient_is_that_of_finite_differences():
    model = mlp_vae.design(VAE).model
    with jax.enable_x64(True):
        batch = Batch(jnp.array(pixels()), None)
        noise = model.noise(jax.random.key(0), batch)
        params = random_params(model)
        differentiate = jax.jit(
            jax.value_and_grad(lambda params: model.loss(params, (), noise, batch)[0])
        )
        step = tuple(1e-6 * np.cos(np.arange(p.size)).reshape(p.shape) for p in params)
        ahead = tuple(p + s for p, s in zip(params, step, strict=True))
        behind = tuple(p - s for p, s in zip(params, step, strict=True))
        difference = float(differentiate(ahead)[0] - differentiate(behind)[0]) / 2
        _, gradient = differentiate(params)
        slope = sum(np.sum(g * s) for g, s in zip(gradient, step, strict=True))
        assert float(slope) == pytest.approx(difference, rel=1e-6)


def test_vae_noise_is_a_normal_and_a_quantisation_of_one_step():
    model = mlp_vae.design(VAE).model
    batch = Batch(jnp.zeros((500, 8, 8, 1)), None)
    latent, quantisation = model.noise(jax.random.key(1), batch)
    assert (latent.shape, quantisation.shape) == ((500, LATENTS), (500, DIM))
    assert stats.kstest(np.asarray(latent).ravel(), "norm").pvalue > 0.01
    steps = np.asarray(quantisation).ravel() * 255 + 0.5
    assert stats.kstest(steps, "uniform").pvalue > 0.01


def test_vae_floor_is_reached_where_everything_is_at_its_best():
    # z says nothing (KL 0), every pixel is met exactly, log sigma asks for less than -10.
    model = mlp_vae.design(VAE).model
    params = [jnp.zeros(tensor.shape) for tensor in model.tensors]
    params[-1] = params[-1].at[DIM:].set(-50.0)
    batch = Batch(jnp.zeros((EXAMPLES, 8, 8, 1)), None)
    noise = (jnp.zeros((EXAMPLES, LATENTS)), jnp.zeros((EXAMPLES, DIM)))
    loss, _ = jax.jit(model.loss)(tuple(params), (), noise, batch)
    assert float(loss) == pytest.approx(model.floor, rel=1e-6)
    assert model.floor == pytest.approx(
        DIM * np.log(np.sqrt(2 * np.pi) * 255 / np.e**10)
    )


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        (mlp_ae, {"output_type": "softmax"}, "mlp_ae.*output_type.*softmax"),
        (mlp_ae, {"loss_type": "l3"}, "mlp_ae.*loss_type.*l3"),
        (mlp_ae, {"reduction_type": "mean"}, "mlp_ae.*reduction_type.*mean"),
        (mlp_ae, {"hidden_units": [0]}, r"mlp_ae: hidden_units.*\[0\]"),
        (mlp_ae, {"center_data": True}, "mlp_ae.*center_data"),
        (mlp_vae, {"enc_hidden_units": []}, r"mlp_vae: enc_hidden_units.*\[\]"),
        (mlp_vae, {"dec_hidden_units": 4}, "mlp_vae: dec_hidden_units.*4"),
        (mlp_vae, {"center_data": 1}, "mlp_vae: center_data.*1"),
        (mlp_vae, {"w_init": ["he_normal", 2.0]}, "mlp_vae: w_init.*2.0"),
        (mlp_vae, {"activation": "gelu"}, "mlp_vae.*activation.*gelu"),
    ],
)
def test_bad_configs_are_refused_by_name(family, changes, message):
    config = {**(AE if family is mlp_ae else VAE), **changes}
    with pytest.raises(ValueError, match=message):
        family.SPEC.make(config)

"""nvp and maf: their density against a forward map and its Jacobian, masks, permutations."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from opt_gym.records import Batch
from opt_gym.tasks import maf, nvp
from opt_gym.tasks.building import flows, layers

NVP = {
    "activation": "tanh",
    "w_init": ["glorot_uniform", None],
    "dataset": ["digits", {"bs": 16}, None],
    "hidden_units": [6],
    "num_bijectors": 3,
}
MAF = {**NVP, "hidden_units": [70, 130], "num_bijectors": 2, "constrain": True}
DIM = 64


def random_params(model, scale):
    """Numbers of the default precision, with no compilation."""
    return tuple(
        jnp.asarray(scale * np.random.RandomState(i).standard_normal(tensor.shape))
        for i, tensor in enumerate(model.tensors)
    )


def batch_of(x):
    return Batch(x.reshape(-1, 8, 8, 1), None)


def no_noise(count=1):
    return (jnp.zeros((count, DIM)),)


def split(params, count):
    """Each bijector's tensors, the first bijector's first (φ has the last one first)."""
    size = len(params) // count
    return [params[i * size : (i + 1) * size] for i in range(count)][::-1]


def nvp_forward(params, permutations, z):
    """From z to x: y1 = x1 exp(log scale) + shift, then the places change."""
    half = DIM // 2
    for index, own in enumerate(split(params, len(permutations) + 1)):
        z0, z1 = z[:half], z[half:]
        outputs = layers.mlp(own, z0[None], jnp.tanh)[0]
        z = jnp.concatenate([z0, z1 * jnp.exp(outputs[half:]) + outputs[:half]])
        if index < len(permutations):
            z = z[permutations[index]]
    return z


def maf_forward(params, permutations, z):
    """From z to x, one coordinate after the other: D rounds of the fixed point."""
    for index, own in enumerate(split(params, len(permutations) + 1)):

        def refine(_, y, own=own, z=z):
            outputs = layers.mlp(own, y[None], jnp.tanh).reshape(DIM, 2)
            return z * jnp.exp(jnp.clip(outputs[:, 1], -5, 3)) + outputs[:, 0]

        z = jax.lax.fori_loop(0, DIM, refine, jnp.zeros_like(z))
        if index < len(permutations):
            z = z[permutations[index]]
    return z


@pytest.mark.parametrize("family", [nvp, maf])
def test_loss_is_the_density_of_the_forward_map(family):
    with jax.enable_x64(True):
        design = family.design(NVP if family is nvp else MAF)
        model = design.model
        params = model.constrain(random_params(model, 0.2))
        instance = model.instance(jax.random.key(1))
        if family is nvp:
            forward = nvp_forward
            orders = [np.random.RandomState(i).permutation(DIM) for i in range(2)]
        else:
            forward = maf_forward
            orders = [permutation.order for permutation in instance]
        z = jnp.asarray(np.random.RandomState(2).standard_normal(DIM))

        def image(z):
            x = forward(params, orders, z)
            return x, x

        jacobian, x = jax.jit(jax.jacfwd(image, has_aux=True))(z)
        log_det = np.linalg.slogdet(np.asarray(jacobian))[1]
        assert abs(log_det) > 0.5
        loss, _ = jax.jit(model.loss)(params, instance, no_noise(), batch_of(x))
        expected = -stats.norm.logpdf(z).sum() + log_det
        assert float(loss) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("family", [nvp, maf])
def test_gradient_is_that_of_finite_differences(family):
    with jax.enable_x64(True):
        model = family.design({**NVP, "hidden_units": [3], "num_bijectors": 2}).model
        instance = model.instance(jax.random.key(1))
        x = batch_of(jnp.asarray(np.random.RandomState(2).uniform(size=(2, DIM))))
        noise = model.noise(jax.random.key(3), x)
        params = random_params(model, 0.2)
        differentiate = jax.jit(
            jax.value_and_grad(lambda params: model.loss(params, instance, noise, x)[0])
        )
        step = tuple(1e-5 * np.cos(np.arange(p.size)).reshape(p.shape) for p in params)
        ahead = tuple(p + s for p, s in zip(params, step, strict=True))
        behind = tuple(p - s for p, s in zip(params, step, strict=True))
        difference = float(differentiate(ahead)[0] - differentiate(behind)[0]) / 2
        _, gradient = differentiate(params)
        slope = sum(np.sum(g * s) for g, s in zip(gradient, step, strict=True))
        assert float(slope) == pytest.approx(difference, rel=1e-6)


def test_masks_by_hand():
    def mask(rows, columns, blocks, exclusive):
        masked = jax.jit(maf.masked, static_argnums=(1, 2))
        kernel = np.full((rows, columns), 2.0, np.float32)
        return (np.asarray(masked(kernel, blocks, exclusive)) / 2).tolist()

    # Blocks of 1 input and 2 outputs; then of 2 and 1.
    assert mask(2, 4, 2, True) == [[0, 0, 1, 1], [0, 0, 0, 0]]
    assert mask(4, 2, 2, False) == [[1, 1], [1, 1], [0, 1], [0, 1]]
    # The fifth output is beyond the last block: all reach it. The third input: none.
    assert mask(3, 5, 2, True) == [[0, 0, 1, 1, 1], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]]
    assert mask(3, 5, 2, False) == [[1, 1, 1, 1, 1], [0, 0, 1, 1, 1], [0, 0, 0, 0, 0]]
    # Narrower than the number of blocks: all ones into it, all zeros out of it.
    assert mask(3, 2, 3, True) == [[1, 1]] * 3
    assert mask(2, 6, 3, False) == [[0] * 6] * 2


@pytest.mark.parametrize("constrain", [True, False])
def test_only_the_constraint_keeps_a_bijector_autoregressive(constrain):
    config = {**MAF, "num_bijectors": 1, "constrain": constrain}
    task = maf.build(config)
    params = jax.jit(task.constrain)(random_params(maf.design(config).model, 0.3))

    def outputs(x):
        return layers.mlp(params, x[None], jnp.tanh).reshape(DIM, 2)

    at = np.linspace(0.0, 1.0, DIM, dtype=np.float32)
    jacobian = np.asarray(jax.jit(jax.jacfwd(outputs))(at))
    reached = np.abs(jacobian).max(axis=1) > 0
    # Entry [d, e]: whether shift or log scale of value d depends on value e.
    lower = np.tri(DIM, k=-1, dtype=bool)
    assert np.array_equal(reached, lower if constrain else np.ones_like(lower))


def test_a_narrow_network_begins_as_the_identity_and_stays_masked():
    # What every published config looks like: hidden layers narrower than D.
    task = maf.build({**NVP, "hidden_units": [5, 7], "constrain": True})
    params, instance = jax.jit(task.init)(jax.random.key(0), {})
    x = np.random.RandomState(0).uniform(size=(3, DIM)).astype(np.float32)
    zeros = [not np.any(np.asarray(p)) for p in params[:6]]
    assert zeros == [False, True, True, True, True, True]
    for restored, tensor in zip(task.constrain(params), params, strict=True):
        np.testing.assert_array_equal(restored, tensor)
    loss, _ = jax.jit(task.loss)(jax.random.key(2), params, instance, batch_of(x))
    noisy = x + flows.draw_noise(jax.random.key(2), batch_of(x))[0]
    expected = -stats.norm.logpdf(noisy).sum() / 3
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_without_the_option_the_mask_is_only_in_the_initial_weights():
    config = {**NVP, "hidden_units": [5]}
    task = maf.build(config)
    params, _ = jax.jit(task.init)(jax.random.key(0), {})
    assert not np.any(np.asarray(params[2]))
    learned = random_params(maf.design(config).model, 1.0)
    assert task.constrain(learned) is learned


def test_clip_is_exact_and_its_gradient_passes():
    x = jnp.array([-7.0, -1.3, 2.0, 1e6])
    weights = jnp.array([1.0, 2.0, 3.0, 4.0])

    def total(x):
        return jnp.sum(weights * flows.straight_through_clip(x, -5.0, 3.0))

    clipped = flows.straight_through_clip(x, -5.0, 3.0)
    np.testing.assert_array_equal(clipped, np.array([-5, -1.3, 2, 3], np.float32))
    np.testing.assert_array_equal(jax.grad(total)(x), weights)


def test_permute_and_its_gradients_are_those_of_indexing():
    order, inverse = flows.permutation(np.random.RandomState(0).permutation(5))
    x = jax.random.normal(jax.random.key(0), (3, 5))
    ours = flows.permute(x, order, inverse)
    np.testing.assert_array_equal(ours, x[:, order])
    np.testing.assert_array_equal(flows.permute(ours, inverse, order), x)

    def value(change):
        weights = jnp.arange(5.0)[None, :]
        return lambda x: jnp.sum(jnp.sin(change(x)) ** 3 * weights)

    def of_gradient(change):
        return lambda x: jnp.sum(jax.grad(value(change))(x) ** 2)

    ours, theirs = (
        (lambda x: flows.permute(x, order, inverse)),
        (lambda x: x[:, order]),
    )
    for of in (value, of_gradient):
        gradient, expected = jax.jit(
            lambda x, of=of: (jax.grad(of(ours))(x), jax.grad(of(theirs))(x))
        )(x)
        np.testing.assert_allclose(gradient, expected, rtol=1e-5)


def test_permutations_are_drawn_evenly_and_undo_themselves():
    assert flows.draw_permutations(jax.random.key(0), 0, 3) == ()
    keys = jax.random.split(jax.random.key(1), 600)
    drawn = jax.jit(jax.vmap(lambda key: flows.draw_permutations(key, 2, 3)))(keys)
    for order, inverse in drawn:
        undone = np.take_along_axis(np.asarray(order), np.asarray(inverse), axis=1)
        np.testing.assert_array_equal(undone, [[0, 1, 2]] * 600)
        _, counts = np.unique(np.asarray(order), axis=0, return_counts=True)
        # Six orders, 100 times each.
        assert stats.chisquare(counts).pvalue > 0.01
        assert len(counts) == 6
    assert not np.array_equal(drawn[0].order, drawn[1].order)


def test_instances_differ_by_key_and_nvp_has_none():
    first, second = (maf.design(MAF).model.instance(jax.random.key(i)) for i in (0, 1))
    assert len(first) == 1
    assert first[0].order.dtype == first[0].inverse.dtype == jnp.int32
    assert not np.array_equal(first[0].order, second[0].order)
    assert nvp.design(NVP).model.instance(jax.random.key(0)) == ()


def test_noise_is_a_hundredth_of_a_normal():
    for family in (nvp, maf):
        model = family.design(NVP).model
        (noise,) = model.noise(jax.random.key(0), batch_of(jnp.zeros((400, DIM))))
        assert noise.shape == (400, DIM)
        drawn = np.asarray(noise).ravel() / 0.01
        assert stats.kstest(drawn, "norm").pvalue > 0.01


def test_floors():
    # Of the true density of the noise, the mean loss is its entropy.
    entropy = DIM * stats.norm(0, 0.01).entropy()
    assert nvp.design(NVP).model.floor == pytest.approx(float(entropy))
    # Log scales at their least, and z = 0.
    model = maf.design({**NVP, "hidden_units": [3]}).model
    params = [np.zeros(tensor.shape, np.float32) for tensor in model.tensors]
    for index in range(3, len(params), 4):
        params[index][1::2] = -9.0
    instance = model.instance(jax.random.key(0))
    x = batch_of(jnp.zeros(DIM))
    least, _ = jax.jit(model.loss)(tuple(params), instance, no_noise(), x)
    assert float(least) == pytest.approx(model.floor, rel=1e-6)
    assert model.floor == pytest.approx(DIM * (0.5 * math.log(2 * math.pi) - 15))
    assert maf.design(MAF).model.floor == pytest.approx(float(entropy))


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        (nvp, {"num_bijectors": 0}, "nvp: num_bijectors.*0"),
        (nvp, {"hidden_units": [2.5]}, r"nvp: hidden_units.*\[2.5\]"),
        (nvp, {"constrain": True}, "nvp.*constrain"),
        (nvp, {"activation": "gelu"}, "nvp.*activation.*gelu"),
        (maf, {"hidden_units": []}, r"maf: hidden_units.*\[\]"),
        (maf, {"num_bijectors": 1.0}, "maf: num_bijectors.*1.0"),
        (maf, {"constrain": "yes"}, "maf: constrain.*yes"),
        (maf, {"w_init": ["he_normal", 1.0]}, "maf: w_init.*1.0"),
    ],
)
def test_bad_configs_are_refused_by_name(family, changes, message):
    with pytest.raises(ValueError, match=message):
        family.SPEC.make({**NVP, **changes})

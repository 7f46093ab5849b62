"""Initializers: their moments, bounds and fans."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from opt_gym.tasks.building import initializers

SHAPE = (3, 3, 40, 60)
FAN_IN, FAN_OUT = 9 * 40, 9 * 60

DEVIATIONS = {
    ("he_normal", None): (2 / FAN_IN) ** 0.5,
    ("he_uniform", None): (2 / FAN_IN) ** 0.5,
    ("glorot_normal", None): (2 / (FAN_IN + FAN_OUT)) ** 0.5,
    ("glorot_uniform", None): (2 / (FAN_IN + FAN_OUT)) ** 0.5,
    ("variance_scaling", 3.0): (3 / FAN_IN) ** 0.5,
    ("random_normal", 0.3): 0.3,
    ("truncated_normal", 0.3): 0.3,
    ("random_uniform", 0.3): 0.3 / 3**0.5,
    # Nothing makes up for what the truncation takes away from the last three.
    ("sonnet", None): 0.8796 / FAN_IN**0.5,
    ("contrib_variance_scaling", 2.6): 0.8796 * (2.6 / FAN_IN) ** 0.5,
    ("truncated", 0.3): 0.8796 * 0.3,
}
"""What the standard deviation must be, worked out by hand."""


@pytest.fixture(scope="module")
def draws():
    def draw(key):
        return {
            pair: initializers.initialize(key, [pair], [SHAPE])[0]
            for pair in DEVIATIONS
        }

    return jax.jit(draw)(jax.random.key(0))


@pytest.mark.parametrize("pair", DEVIATIONS)
def test_standard_deviation(draws, pair):
    values = np.asarray(draws[pair])
    assert values.shape == SHAPE
    assert values.dtype == np.float32
    # 21,600 draws: the sample deviation is within 2 % (4 standard errors) of the true one.
    assert np.std(values) == pytest.approx(DEVIATIONS[pair], rel=0.02)
    assert abs(np.mean(values)) < 4 * DEVIATIONS[pair] / values.size**0.5


@pytest.mark.parametrize(
    ("pair", "bound"),
    [
        (("he_uniform", None), (6 / FAN_IN) ** 0.5),
        (("glorot_uniform", None), (6 / (FAN_IN + FAN_OUT)) ** 0.5),
        (("random_uniform", 0.3), 0.3),
        (("he_normal", None), 2 * (2 / FAN_IN) ** 0.5 / 0.8796),
    ],
)
def test_bounds(draws, pair, bound):
    largest = np.max(np.abs(draws[pair]))
    assert 0.99 * bound < largest <= bound * (1 + 1e-4)


def test_truncated_normal_is_not_truncated(draws):
    assert np.max(np.abs(draws["truncated_normal", 0.3])) > 3 * 0.3


@pytest.mark.parametrize("shape", [(5, 8), (8, 5), (3, 3, 2, 4)])
def test_orthogonal(shape):
    (weight,) = initializers.initialize(
        jax.random.key(1), [("orthogonal", 2.0)], [shape]
    )
    matrix = np.asarray(weight).reshape(-1, shape[-1])
    if matrix.shape[0] < matrix.shape[1]:
        matrix = matrix.T
    np.testing.assert_allclose(
        matrix.T @ matrix, 4 * np.eye(matrix.shape[1]), atol=1e-5
    )


def test_fans_of_a_vector_are_its_length():
    assert initializers.fans((7,)) == (7, 7)
    assert initializers.fans((4, 7)) == (4, 7)


@pytest.mark.parametrize(
    ("name", "scale", "message"),
    [
        ("he_normall", None, "unknown initializer 'he_normall'"),
        ("he_normal", 1.0, "takes no scale, got 1.0"),
        ("orthogonal", None, "needs a scale > 0, got None"),
        ("orthogonal", "big", "must be a number or null, got 'big'"),
    ],
)
def test_bad_values_are_named(name, scale, message):
    with pytest.raises(ValueError, match=message):
        initializers.initialize(jax.random.key(0), [(name, scale)], [(2, 2)])


def test_one_jitted_program_draws_anew_for_every_key():
    draw = jax.jit(
        lambda key: initializers.initialize(key, [("he_normal", None)], [(4, 4)])[0]
    )
    first, second = draw(jax.random.key(0)), draw(jax.random.key(1))
    assert not jnp.allclose(first, second)


def test_arrays_of_one_draw_have_their_own_spread():
    shapes = [(300, 40), (3, 3, 10, 50), (40, 300)]
    he = [("he_normal", None)] * 3
    draws = initializers.initialize(jax.random.key(0), he, shapes)
    for draw, shape in zip(draws, shapes, strict=True):
        assert draw.shape == shape
        fan_in, _ = initializers.fans(shape)
        assert np.std(draw) == pytest.approx((2 / fan_in) ** 0.5, rel=0.04)
    assert not np.allclose(draws[0].ravel()[:100], draws[2].ravel()[:100])


def test_every_array_has_its_own_initializer():
    chosen = [
        ("he_normal", None),
        ("zeros", None),
        ("random_uniform", 0.5),
        ("identity", None),
        ("ones", None),
        ("orthogonal", 3.0),
    ]
    shapes = [(200, 50), (4,), (100, 10), (3, 3), (5,), (4, 4)]
    drawn = initializers.initialize(jax.random.key(0), chosen, shapes)
    assert [array.shape for array in drawn] == shapes
    assert np.std(drawn[0]) == pytest.approx(0.1, rel=0.04)
    assert not np.any(drawn[1])
    assert 0.49 < np.max(np.abs(drawn[2])) <= 0.5
    np.testing.assert_array_equal(drawn[3], np.eye(3))
    assert np.all(np.asarray(drawn[4]) == 1)
    np.testing.assert_allclose(drawn[5] @ drawn[5].T, 9 * np.eye(4), atol=1e-4)


def test_factorizations_are_not_batched():
    matrices = jax.random.normal(jax.random.key(0), (3, 6, 4))
    program = jax.jit(jax.vmap(initializers.qr))
    calls = [x for x in program.lower(matrices).as_text().splitlines() if "geqrf" in x]
    assert calls
    assert all("tensor<6x4xf32>" in call for call in calls)
    assert not any("tensor<3x6x4xf32>" in call for call in calls)
    for found, matrix in zip(
        zip(*program(matrices), strict=True), matrices, strict=True
    ):
        for ours, numpys in zip(found, np.linalg.qr(matrix), strict=True):
            np.testing.assert_allclose(ours, numpys, atol=1e-5)

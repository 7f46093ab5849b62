"""`maths.sums`: those of small tensors are made together, in padded rows."""

import jax.numpy as jnp
import numpy as np

from opt_gym.maths.sums import LENGTHS, sums

SHAPES = ((), (3,), (5, 7), (300,), (20, 20), (50, 40), (100, 90), (3, LENGTHS[0]))


def test_every_tensor_has_its_own_sums():
    rng = np.random.default_rng(0)
    tensors = [
        (rng.normal(size=(2, *shape)), rng.normal(size=(1, *shape))) for shape in SHAPES
    ]
    found = sums(
        ((jnp.float32(a), None), (jnp.float32(b), jnp.float32(b))) for a, b in tensors
    )
    for (a, b), of_tensor in zip(tensors, found, strict=True):
        expected = [a[0].sum(), a[1].sum(), (b * b).sum()]
        np.testing.assert_allclose(of_tensor, expected, rtol=1e-5, atol=1e-4)


def test_what_is_not_finite_stays_with_its_tensor():
    bad, good = jnp.array([[1.0, jnp.nan, 2.0]]), jnp.ones((1, 5))
    found = sums([[(bad, None)], [(good, None)]])
    assert np.isnan(found[0][0])
    assert found[1][0] == 5.0

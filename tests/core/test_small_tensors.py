"""Small tensors in one go: what each gives alone."""

import jax
import jax.numpy as jnp
import numpy as np
import torch

from opt_gym.maths.array_namespace import over
from opt_gym.maths.small_tensors import together

SHAPES = ((3, 4), (), (5,), (1, 1), (7, 40), (2, 10, 30), (120, 90))


def sources():
    """Of each tensor: itself, two blocks of its shape, a factor a block, and a number."""
    random = np.random.default_rng(0)

    def draw(shape):
        return jnp.asarray(random.standard_normal(shape), jnp.float32)

    tensors = [draw(shape) for shape in SHAPES]
    return tensors, [
        (x, draw((2, *x.shape)), over(draw((2,)), x), draw(())) for x in tensors
    ]


def function(x, blocks, factors, number):
    scaled = blocks * factors
    return jnp.stack([jnp.broadcast_to(x * number, x.shape), scaled[0] - scaled[1]])


def test_each_has_what_it_gives_alone():
    tensors, given = sources()
    found = jax.jit(lambda given: together(function, given, tensors))(given)
    # Two lengths; the large one has nothing to gain.
    assert [one is None for one in found] == [False] * 6 + [True]
    for one, own in zip(found[:-1], given, strict=False):
        np.testing.assert_allclose(one, function(*own), rtol=1e-6)


def test_so_have_its_derivatives():
    """What is padded with has one that is finite, and gives nothing to what is shared."""

    def loss(rate, given):
        def root(x, *rest):
            return (rate * jnp.sqrt(jnp.abs(x)))[None]

        alone = [root(*own) for own in given]
        found = together(root, given, tensors)
        pairs = zip(found, alone, strict=True)
        return sum(jnp.sum(b if a is None else a) for a, b in pairs), sum(
            jnp.sum(b) for b in alone
        )

    tensors, given = sources()
    one, other = (
        jax.grad(lambda rate, k=k: loss(rate, given)[k])(jnp.float32(0.3))
        for k in (0, 1)
    )
    np.testing.assert_allclose(one, other, rtol=1e-5)


def test_in_torch_each_is_alone():
    tensors = [torch.zeros(3), torch.zeros(4)]
    assert together(lambda x: x[None], [(x,) for x in tensors], tensors) == [None, None]

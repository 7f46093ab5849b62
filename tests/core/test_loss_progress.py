"""How a loss goes: averages that begin as means, and numbers without a unit."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from opt_gym.maths import loss_progress

LOSSES = (4.0, 3.0, 2.0, 2.5, 1.0)


def followed(losses, told=(True,) * 5, array=jnp.asarray):
    progress = loss_progress.start(array(np.float32(0)))
    for loss, has_loss in zip(losses, told, strict=True):
        progress = loss_progress.follow(
            progress, array(np.float32(loss)), array(np.bool_(has_loss))
        )
    return progress


@pytest.mark.parametrize("array", [jnp.asarray, torch.tensor])
def test_five_losses_by_hand(array):
    progress = followed(LOSSES, array=array)
    # So few losses have means: 1/n is more than .1.
    means = np.cumsum(LOSSES) / np.arange(1, 6)
    np.testing.assert_allclose(progress.average, [means[-1]] * 2, rtol=1e-6)
    errors = np.abs(np.array(LOSSES[1:]) - means[:-1])
    np.testing.assert_allclose(progress.deviation, errors.mean(), rtol=1e-6)
    assert float(progress.initial) == 4.0
    np.testing.assert_allclose(progress.lowest, means.min(), rtol=1e-6)
    has_loss, trend, far, above = np.asarray(loss_progress.numbers(progress))
    assert (has_loss, trend, above) == (1.0, 0.0, 0.0)
    fell, unit = 4.0 - means[-1], errors.mean()
    np.testing.assert_allclose(far, np.log((fell + unit) / unit) / 3, rtol=1e-5)


def test_averages_forget_as_their_decays_say():
    losses = [1.0] * 200 + [2.0] * 10
    progress = followed(losses, [True] * 210)
    weights = [1 - 0.9**10, 1 - 0.99**10]
    np.testing.assert_allclose(progress.average, np.add(1.0, weights), rtol=1e-4)
    _, trend, far, above = np.asarray(loss_progress.numbers(progress))
    assert trend > 0  # the loss rises
    assert far < 0
    assert above > 0


def test_a_loss_that_is_not_told_changes_nothing():
    told = (True, False, True, False, True)
    some = [loss for loss, known in zip(LOSSES, told, strict=True) if known]
    for one, other in zip(
        followed(LOSSES, told), followed(some, (True,) * 3), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    nothing = followed(LOSSES, (False,) * 5)
    np.testing.assert_array_equal(loss_progress.numbers(nothing), 0.0)


@pytest.mark.parametrize(("factor", "offset"), [(1024.0, 0.0), (0.25, -64.0)])
def test_its_numbers_have_no_unit(factor, offset):
    losses = (*LOSSES, 7.0, 0.5, 0.75)
    told = (True,) * len(losses)
    one = loss_progress.numbers(followed(losses, told))
    other = loss_progress.numbers(followed(np.multiply(losses, factor) + offset, told))
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)

"""The way out into torch: what a stream of gradients gives there."""

import unittest
from typing import Any

import numpy as np

from opt_gym.records import LearnedOptimizer
from opt_gym.testing.expectations import expect, expect_equal


def expect_the_same_updates(
    optimizer: LearnedOptimizer, theta: Any, horizon: int, stream: Any
) -> None:
    """Raises AssertionError unless torch gives the updates that optax gave.

    Args:
        optimizer, theta, horizon: what optax was given.
        stream: of `architecture_checks`.

    Raises:
        AssertionError: they differ.
        unittest.SkipTest: torch is not installed.
    """
    try:
        import torch

        from learned.torch import LearnedOptim
    except ImportError as error:
        raise unittest.SkipTest(f"torch is not installed ({error})") from None
    tensors: list[Any] = [
        torch.nn.Parameter(torch.tensor(_to_torch(leaf))) for leaf in stream.params[0]
    ]
    ours = LearnedOptim(tensors, (optimizer, theta), horizon=horizon)
    largest = [0.0] * len(tensors)
    for t, updates in enumerate(stream.updates):
        _set(torch, tensors, stream.params[t], stream.grads[t])
        before = [tensor.detach().clone() for tensor in tensors]
        ours.step(loss=float(stream.losses[t]))
        for i, (tensor, start) in enumerate(zip(tensors, before, strict=True)):
            moved, expected = (tensor.detach() - start).numpy(), _to_torch(updates[i])
            # The largest so far: a factor of all updates of a tensor may go through zero.
            largest[i] = max(largest[i], np.abs(expected).max())
            size = largest[i] + np.abs(_to_torch(stream.params[t][i])).max() * 1e-2
            np.testing.assert_allclose(
                moved,
                expected,
                atol=1e-5 * size,
                rtol=1e-5,
                err_msg=f"torch's update {t} of tensor {i}",
            )
    tensors[0].grad[0] = torch.nan
    before = [tensor.detach().clone() for tensor in tensors]
    ours.step(loss=1.0)
    same = all(torch.equal(a, b) for a, b in zip(before, tensors, strict=True))
    expect(same, "in torch, a gradient that is not finite moves weights")
    expect_equal("skipped in torch", ours.skipped, 1)


def _set(torch: Any, tensors: Any, params: Any, grads: Any) -> None:
    for tensor, param, grad in zip(tensors, params, grads, strict=True):
        tensor.data = torch.tensor(_to_torch(param))
        tensor.grad = torch.tensor(_to_torch(grad))


def _to_torch(array: Any) -> np.ndarray:
    """[*window, in, out] as torch has it, [out, in, *window]."""
    array = np.asarray(array)
    if array.ndim < 2:
        return array.copy()
    window = range(array.ndim - 2)
    order = (array.ndim - 1, array.ndim - 2, *window)
    return np.ascontiguousarray(array.transpose(order))

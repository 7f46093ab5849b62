"""One gradient of those of several tasks."""

import jax
import numpy as np

from agents.estimators import task_gradients
from agents.records import Estimate


def test_one_odd_gradient_of_a_balanced_task_is_no_jump():
    def seen(norm):
        grad = {"x": jax.numpy.float32(norm)}
        return [Estimate(grad, *(jax.numpy.zeros(()) for _ in range(4)))]

    sizes, task = task_gradients.no_sizes(2), jax.numpy.array([1])
    for _ in range(50):
        (first,), sizes = task_gradients.balanced(seen(1.0), task, sizes)
    np.testing.assert_allclose(first.grad["x"], 1.0, rtol=1e-5)
    (odd,), sizes = task_gradients.balanced(seen(1e6), task, sizes)
    np.testing.assert_allclose(odd.grad["x"], 10**0.5, rtol=1e-3)
    (bad,), after = task_gradients.balanced(seen(np.nan), task, sizes)
    assert np.isnan(bad.grad["x"])  # left out of the mean where that is taken
    np.testing.assert_array_equal(after, sizes)
    (none,), after = task_gradients.balanced(seen(0.0), jax.numpy.array([0]), sizes)
    np.testing.assert_array_equal(none.grad["x"], 0.0)

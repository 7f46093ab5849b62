"""The running average of θ, which generalizes better than the last one."""

import jax
from jaxtyping import PyTree

from opt_gym.checks import check_between


def check_decay(decay: float) -> None:
    """Raises ValueError for a decay outside [0, 1)."""
    check_between("theta_average", decay, 0.0, 1.0, closed="left")


def updated(average: PyTree, theta: PyTree, decay: float) -> PyTree:
    """The `average` (from zeros) with one more `theta`, of weight 1 − `decay`; traceable."""
    return jax.tree.map(lambda a, b: decay * a + (1.0 - decay) * b, average, theta)


def read(theta: PyTree, average: PyTree, count: int, decay: float) -> PyTree:
    """The unbiased `average` of `count` θ; the last, `theta`, where `decay` or `count` is 0."""
    if decay == 0.0 or count == 0:
        return theta
    return jax.tree.map(lambda leaf: leaf / (1.0 - decay**count), average)

"""Numbers that can be squared: what an optimizer is shown is held where a square is finite."""

from typing import Any

import jax
from jaxtyping import PyTree

from opt_gym.maths.array_namespace import namespace
from opt_gym.records import Signal

LIMIT = 1e15
"""Its square is a float32, and so is the sum of 10^8 of these."""


def held(tree: PyTree) -> PyTree:
    """Every number within ±LIMIT; NaN stays."""

    def hold(x: Any) -> Any:
        return namespace(x).clip(x, -LIMIT, LIMIT)

    return jax.tree.map(hold, tree)


def within_limits(signal: Signal) -> Signal:
    """The signal with weights, gradients and losses held.

    What was not finite must have been found before: an infinite gradient is held, too.
    """
    return signal._replace(
        params=held(signal.params),
        grad=held(signal.grad),
        loss=held(signal.loss),
        valid_loss=held(signal.valid_loss),
    )

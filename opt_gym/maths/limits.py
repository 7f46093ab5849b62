"""Numbers that can be squared: what an optimizer is shown is held where a square is finite."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree

from opt_gym.maths.array_namespace import is_readable, is_torch, namespace
from opt_gym.records import Signal

LIMIT = 1e15
"""Its square is a float32, and so is the sum of 10^8 of these."""

SMALL = 8192
"""Up to so many numbers of a tensor a copy of it costs nothing."""


def held(tree: PyTree) -> PyTree:
    """Every number of `tree` within ±LIMIT; NaN stays."""
    return jax.tree.map(hold, tree)


def are_held(tensors: Sequence[Any]) -> bool:
    """Whether every number of `tensors`, all of torch, is known to be within ±LIMIT.

    False where to look would wait for an accelerator, and where a norm overflows.
    """
    if not all(map(is_readable, tensors)):
        return False
    import torch

    # No number is larger than the norm: one pass, and a call for all of them.
    norms = torch._foreach_norm([*tensors])  # pyright: ignore[reportPrivateImportUsage]
    return bool((torch.stack(norms) <= LIMIT).all())


def hold(x: Any) -> Any:
    """`held` of one array, `x`."""
    # To look is a tenth of the price; of nothing there are no ends.
    if is_readable(x) and x.numel():
        least, greatest = ends(x)
        if least >= -LIMIT and greatest <= LIMIT:
            return x
    return namespace(x).clip(x, -LIMIT, LIMIT)


def all_finite(tree: PyTree) -> Bool[Array, ""]:
    """Whether every number of `tree` is finite; arrays of JAX or numbers, at least one."""
    # 0 · x is 0, or NaN where x is not finite: a sum of these cannot overflow. One for all
    # small tensors: each of its own is compiled in 25 ms, of a list in 1 (XLA on CPU).
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    small = [leaf.reshape(-1) for leaf in leaves if leaf.size <= SMALL]
    zeros = [jnp.sum(0.0 * leaf) for leaf in leaves if leaf.size > SMALL]
    if small:
        zeros.append(jnp.sum(0.0 * jnp.concat(small)))
    return sum(zeros[1:], zeros[0]) == 0.0


def ends(x: Any) -> tuple[Any, Any]:
    """The least and the greatest number of `x`, a tensor of torch; NaN where there is one."""
    # Axes as in memory: torch copies a tensor whose axes are others.
    order = sorted(range(x.ndim), key=lambda axis: -x.stride(axis))
    return x.permute(order).aminmax()


def within_limits(signal: Signal) -> Signal:
    """The signal with gradients and losses held: what squares them needs no care.

    What was not finite must have been found before: an infinite gradient is held, too.
    Weights are not, for a copy of a million of them is 2 % of a step: what squares weights
    holds them itself, where an overflowing scale of 0 will not do.
    """
    grad, grads = signal.grad, jax.tree.leaves(signal.grad)
    if not (is_torch(grads[0]) and are_held(grads)):
        grad = held(grad)
    return signal._replace(
        grad=grad,
        loss=held(signal.loss),
        valid_loss=held(signal.valid_loss),
    )

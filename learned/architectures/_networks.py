"""Pieces of the small networks that are applied to every parameter of a tensor."""

import math
from typing import Any

from opt_gym.array_namespace import namespace
from opt_gym.records import TensorObservation


def hidden_rows(weights: Any, tensor: TensorObservation, shape: tuple[int, ...]) -> Any:
    """A first layer on a tensor's features, their scale folded into the weights.

    (weights · scale) @ x over one concatenation of the blocks: for a few thousand parameters
    1.3 times as fast as stacking single features, and faster than a sum over blocks.

    Shapes: weights [h, f]; result [h, n], n the size of the tensor.
    """
    xp = namespace(weights)
    return (weights * tensor.scale[None]) @ rows(tensor, shape, xp)


def rows(tensor: TensorObservation, shape: tuple[int, ...], xp: Any) -> Any:
    """The raw features of a tensor as one matrix [f, n]."""
    size = math.prod(shape)

    def flat(block: Any) -> Any:
        if block.shape[1:] != shape:
            block = xp.broadcast_to(block, (block.shape[0], *shape))
        return xp.reshape(block, (block.shape[0], size))

    return xp.concat([flat(block) for block in tensor.blocks])


def from_rows(out: Any, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """The rows of [k, n] as k arrays of the tensor's shape."""
    xp = namespace(out)
    return tuple(xp.reshape(out[i], shape) for i in range(out.shape[0]))


def relu(x: Any) -> Any:
    """max(x, 0)."""
    return namespace(x).where(x > 0, x, 0.0)

"""Pieces of the small networks that are applied to every parameter of a tensor."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree

from opt_gym.maths import pieces
from opt_gym.maths.accumulators import like as like_params
from opt_gym.maths.array_namespace import is_eager, namespace
from opt_gym.maths.array_namespace import relu as relu_of_array
from opt_gym.records import TensorObservation

LARGE = 32_768
"""From so many parameters on, a narrow first layer is a sum over features in JAX."""

NARROW = 16
"""Hidden units up to which that pays."""


def truncated_normal(key: PRNGKeyArray, outputs: int, fan_in: int) -> Any:
    """[outputs, fan_in], standard deviation 1/√fan_in before the cut at two of them.

    Drawn with `key`. The default of Sonnet and Haiku; the cut is not corrected for.
    """
    draw = jax.random.truncated_normal(key, -2, 2, (outputs, fan_in))
    return draw / math.sqrt(fan_in)


def perceptron_theta(
    key: PRNGKeyArray, num_rows: int, num_shared: int, sizes: Sequence[int]
) -> dict[str, Any]:
    """The weights of a `perceptron`: truncated normal, biases of zero.

    Args:
        key: of the draw.
        num_rows: features of a parameter.
        num_shared: numbers that are the same for all parameters of a tensor.
        sizes: units of every layer, the outputs last.
    """
    keys = jax.random.split(key, len(sizes))
    fan_in = num_rows + num_shared
    first = truncated_normal(keys[0], sizes[0], fan_in)
    shared = {"w_shared": first[:, num_rows:]} if num_shared else {}
    return {
        "w_rows": first[:, :num_rows],
        **shared,
        "b": jnp.zeros(sizes[0]),
        "rest": [
            {"w": truncated_normal(k, size, below), "b": jnp.zeros(size)}
            for k, below, size in zip(keys[1:], sizes[:-1], sizes[1:], strict=True)
        ],
    }


def perceptron(
    theta: Any, tensor: TensorObservation, like: Any, shared: Any = None
) -> Any:
    """An MLP with relu on every parameter of a tensor: [outputs, *shape].

    The features' scale is folded into the first layer, and what all parameters share into
    its bias: neither is copied per parameter.

    Args:
        theta: see `perceptron_theta`.
        tensor: what is seen of it. Where it has a `matrix`, a minibatch of samples is
            coming: see `_of_rows`.
        like: the tensor.
        shared: [num_shared].
    """
    _check_sizes(theta, tensor, shared)
    weights, bias = theta["w_rows"] * tensor.scale[None], theta["b"]
    if shared is not None:
        bias = bias + theta["w_shared"] @ shared
    rest = theta["rest"]
    if tensor.matrix is not None:
        return _of_rows(weights, bias, rest, tensor.matrix(*tensor.sources), like)

    def net(*sources: Any) -> Any:
        h = first_layer(weights, bias, tensor.rows(*sources))
        for layer in rest:
            h = affine(layer["w"], relu(h), layer["b"])
        return _array(h)

    if weights.shape[0] <= NARROW and not is_eager(like):
        return net(*tensor.sources)  # one fused loop, see `first_layer`
    outputs = rest[-1]["w"].shape[0] if rest else weights.shape[0]
    return pieces.elementwise(net, tensor.sources, like, outputs)


def _check_sizes(theta: Any, tensor: TensorObservation, shared: Any) -> None:
    """Raises ValueError unless `theta` is made for what is seen of `tensor`, and `shared`."""
    for what, key, given in (
        ("features of a parameter", "w_rows", tensor.scale),
        ("numbers that all parameters share", "w_shared", shared),
    ):
        made_for = theta[key].shape[1] if key in theta else 0
        count = 0 if given is None else given.shape[0]
        if made_for != count:
            raise ValueError(f"θ is made for {made_for} {what}, got {count}")


def _of_rows(weights: Any, bias: Any, rest: Any, x: Any, like: Any) -> Any:
    """`perceptron` on a row a parameter, x [n, f]: the form for a minibatch of samples.

    Under `vmap` the batch stays in front through all layers, where the other form transposes
    before and after each: 3.9 against 8 ms for gradients of 800 samples of 10 parameters, 8
    times. One sample at a time the other form is the faster one.
    """
    h = x @ weights.T + bias[None]
    for layer in rest:
        h = relu(h) @ layer["w"].T + layer["b"][None]
    return h.T.reshape(h.shape[1], *like.shape)


def perceptron_and_means(
    theta: Any, tensor: TensorObservation, like: Any, shared: Any, num: int
) -> tuple[Any, Any]:
    """The first `num` outputs of every parameter, and the means of the others over them.

    Shapes: [num, *shape] and [outputs − num]. The last layer is linear, so the means are what
    it makes of the mean of its inputs: those outputs need not be computed one by one.

    Args:
        theta: see `perceptron_theta`; at least one hidden layer.
        tensor, like, shared: as those of `perceptron`.
        num: see above.
    """
    if pieces.is_large(like):  # where walking along it is worth all outputs one by one
        out = perceptron(theta, tensor, like, shared)
        axes = tuple(range(1, out.ndim))
        return out[:num], namespace(out).mean(out[num:], axis=axes)
    weights = theta["w_rows"] * tensor.scale[None]
    bias = theta["b"] + theta["w_shared"] @ shared
    *middle, last = theta["rest"]

    def net(*sources: Any) -> tuple[Any, Any]:
        h = relu(first_layer(weights, bias, tensor.rows(*sources)))
        for layer in middle:
            h = relu(affine(layer["w"], h, layer["b"]))
        return _array(affine(last["w"][:num], h, last["b"][:num])), _array(h)

    outputs, mean = pieces.elementwise_and_means(net, tensor.sources, like, num)
    return outputs, last["w"][num:] @ mean + last["b"][num:]


def first_layer(weights: Any, bias: Any, blocks: Sequence[Any]) -> Any:
    """The sum weights @ features + bias: [h, *shape], or h arrays where that is faster.

    Three forms of one sum. JAX, small: one product with the concatenated blocks (1.3 times
    as fast as stacking single features for a few thousand parameters). JAX, large and
    narrow: sums over features, which XLA fuses with all that makes them and never stores.
    torch: sums over blocks, so that none is copied, and a factored one stays small.
    """
    xp = namespace(weights)
    shape = _shape(blocks)
    if is_eager(weights):
        return _sum_over_blocks(weights, bias, blocks, shape)
    if math.prod(shape) >= LARGE and weights.shape[0] <= NARROW:
        features = [block[i] for block in blocks for i in range(block.shape[0])]
        return [
            sum((weights[j, k] * x for k, x in enumerate(features)), bias[j])
            for j in range(weights.shape[0])
        ]
    out = weights @ rows(blocks) + bias[:, None]
    return xp.reshape(out, (weights.shape[0], *shape))


def affine(weights: Any, x: Any, bias: Any) -> Any:
    """The sum weights @ x + bias along the leading axis of x, which may be a list.

    Shapes: weights [outputs, inputs]; x [inputs, ...]; bias [outputs].
    """
    if isinstance(x, list):
        return [
            sum((weights[j, k] * part for k, part in enumerate(x)), bias[j])
            for j in range(weights.shape[0])
        ]
    xp = namespace(x)
    # No -1, which is ambiguous for no elements: of a part of a tensor there may be none.
    flat = xp.reshape(x, (x.shape[0], math.prod(x.shape[1:])))
    if is_eager(x):
        return bias[:, None].addmm(weights, flat).view(len(weights), *x.shape[1:])
    out = weights @ flat + bias[:, None]
    return xp.reshape(out, (weights.shape[0], *x.shape[1:]))


def relu(x: Any) -> Any:
    """max(x, 0), of an array or each of a list."""
    return (
        [relu_of_array(part) for part in x] if isinstance(x, list) else relu_of_array(x)
    )


def rows(blocks: Sequence[Any]) -> Any:
    """The features of a tensor as one matrix [f, n], from its `blocks` of [k, *shape]."""
    xp, shape = namespace(blocks[0]), _shape(blocks)

    def flat(block: Any) -> Any:
        if block.shape[1:] != shape:
            block = xp.broadcast_to(block, (block.shape[0], *shape))
        return xp.reshape(block, (block.shape[0], math.prod(shape)))

    return xp.concat([flat(block) for block in blocks])


def each_tensor(fn: Callable[..., Any], *columns: Sequence[Any]) -> list[Any]:
    """What fn gives for every tensor of φ, its arguments from columns of equal length."""
    return [fn(*parts) for parts in zip(*columns, strict=True)]


def direction_and_magnitude(params: PyTree, outputs: Sequence[Any]) -> tuple:
    """The action of "direction_magnitude": the first two outputs of every tensor.

    Shapes: params φ, whose structure both have; outputs [2 or more, *shape] a tensor.
    """
    return (
        like_params(params, [out[0] for out in outputs]),
        like_params(params, [out[1] for out in outputs]),
    )


def _sum_over_blocks(
    weights: Any, bias: Any, blocks: Sequence[Any], shape: tuple[int, ...]
) -> Any:
    count = math.prod(shape)
    if len(blocks) == 1 and blocks[0].shape[1:] == shape:  # nothing to add up
        flat = blocks[0].reshape(len(blocks[0]), count)
        return bias[:, None].addmm(weights, flat).view(len(weights), *shape)
    out = bias.reshape(-1, 1).expand(-1, count).clone()
    for block, part in zip(blocks, _columns(weights, blocks), strict=True):
        flat = block.reshape(block.shape[0], -1)
        if flat.shape[1] == out.shape[1]:
            out.addmm_(part, flat)
        else:  # one number a row or a column: a small product, repeated by the sum
            small = (part @ flat).reshape(part.shape[0], *block.shape[1:])
            out.view(-1, *shape).add_(small)
    return out.view(-1, *shape)


def _columns(weights: Any, blocks: Sequence[Any]) -> Iterator[Any]:
    """The weights of each block's features."""
    start = 0
    for block in blocks:
        yield weights[:, start : start + block.shape[0]]
        start += block.shape[0]


def _shape(blocks: Sequence[Any]) -> tuple[int, ...]:
    return tuple(jnp.broadcast_shapes(*(tuple(block.shape[1:]) for block in blocks)))


def _array(h: Any) -> Any:
    if not isinstance(h, list):
        return h
    xp = namespace(h[0])
    return xp.stack(xp.broadcast_arrays(*h))

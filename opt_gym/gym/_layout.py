"""Which number of an observation or an action belongs to which tensor.

At level "parameter" row i of an observation is weight i of φ, its tensors one after the
other; at level "tensor" row j is tensor j; at level "global" there is one flat row.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from opt_gym.records import Env, Observation, TensorObservation

_TINY = 1e-12

_LARGE = 2**24
"""Numbers of an observation above which it is written in place, piece by piece."""

_PIECE = 2**14
"""Rows of a piece."""


class Segment(NamedTuple):
    """The rows [start, stop) of one tensor of φ.

    Attributes:
        name: the path of the tensor in φ, such as "weight" or "0.kernel".
        shape: of the tensor.
        role: "kernel", "bias", "embedding" or "norm".
    """

    name: str
    start: int
    stop: int
    shape: tuple[int, ...]
    role: str


class Layout(NamedTuple):
    """The shapes of one environment's observations and actions.

    Attributes:
        level: of the action map.
        structure: of φ.
        shapes: of φ's tensors.
        segments: which rows are whose; () at level "global".
        feature_names: the columns of an observation.
        observation_shape, action_shape: without a batch axis.
        num_controls: entries of an action.
    """

    level: str
    structure: Any
    shapes: tuple[tuple[int, ...], ...]
    segments: tuple[Segment, ...]
    feature_names: tuple[str, ...]
    observation_shape: tuple[int, ...]
    action_shape: tuple[int, ...]
    num_controls: int


def make_layout(env: Env, params: PyTree) -> Layout:
    """The layout of an environment whose weights look like `params` (shapes suffice).

    Raises:
        ValueError: the features show nothing at the action's level.
    """
    features, level = env.features, env.action_map.level
    paths, structure = jax.tree_util.tree_flatten_with_path(params)
    shapes = tuple(tuple(leaf.shape) for _, leaf in paths)
    names = [_name(path) for path, _ in paths]
    segments = _segments(level, names, shapes, env.task.roles)
    columns = _columns(level, env)
    if not columns:
        raise ValueError(
            f"features {features.name!r} show no number at level {level!r}, so there "
            "would be nothing to observe"
        )
    rows = (segments[-1].stop,) if segments else ()
    num_controls = len(env.action_map.controls)
    # One control a row is a flat action, as RL libraries like it.
    flat = num_controls == 1 and level != "global"
    return Layout(
        level=level,
        structure=structure,
        shapes=shapes,
        segments=segments,
        feature_names=columns,
        observation_shape=(*rows, len(columns)),
        action_shape=rows if flat else (*rows, num_controls),
        num_controls=num_controls,
    )


def to_array(
    layout: Layout, observation: Observation, hidden: Bool[Array, ""] | bool = False
) -> Float[Array, "..."]:
    """An observation as one array.

    Shapes: [n, F] at level "parameter": raw features times their scale, then the tensor's
    numbers and the shared numbers, repeated; [tensors, F] at level "tensor": half the log
    mean square of every raw feature over the tensor, then the same numbers; [s] at level
    "global": the shared numbers.

    A number that is not finite (a square that overflowed) is shown as 0, and all of them
    where the observation is `hidden`.
    """

    def shown(array: Array) -> Array:
        return jnp.where(jnp.isfinite(array) & ~jnp.asarray(hidden), array, 0.0)

    if layout.level == "global":
        return shown(observation.numbers)
    each = list(zip(observation.tensors, layout.shapes, strict=True))
    if math.prod(layout.observation_shape) <= _LARGE:
        matrices = [
            _matrix(layout.level, tensor, shape, observation.numbers)
            for tensor, shape in each
        ]
        return shown(jnp.concatenate(matrices))
    # The axis of one is what a batch of one row wants: without it XLA makes the last piece
    # and the new axis one operation, which is not in place and copies all.
    array = jnp.zeros((1, *layout.observation_shape))
    for (tensor, shape), segment in zip(each, layout.segments, strict=True):
        array = _write(array, layout, tensor, shape, segment.start, observation, shown)
    return array[0]


def to_action(layout: Layout, array: Float[Array, "..."]) -> tuple:
    """An action array as the action map takes it: one entry a control."""
    if layout.level == "global":
        return tuple(array)
    columns = array.reshape(-1, layout.num_controls).T
    return tuple(_like_params(layout, column) for column in columns)


def _like_params(layout: Layout, column: Float[Array, " n"]) -> Any:
    if layout.level == "tensor":
        return tuple(column)
    leaves = [
        column[segment.start : segment.stop].reshape(segment.shape)
        for segment in layout.segments
    ]
    return jax.tree.unflatten(layout.structure, leaves)


def _matrix(
    level: str,
    tensor: TensorObservation,
    shape: tuple[int, ...],
    shared: Float[Array, " s"],
) -> Float[Array, "rows F"]:
    """The rows of one tensor, complete."""
    rows = _scaled_rows(tensor, shape) if level == "parameter" else _log_sizes(tensor)
    numbers = jnp.concatenate([tensor.numbers, shared])
    repeated = jnp.broadcast_to(numbers, (rows.shape[0], len(numbers)))
    return jnp.concatenate([rows, repeated], axis=1)


def _write(
    array: Float[Array, "1 n F"],
    layout: Layout,
    tensor: TensorObservation,
    shape: tuple[int, ...],
    start: int,
    observation: Observation,
    shown: Callable[[Array], Array],
) -> Float[Array, "1 n F"]:
    """Writes the rows of one tensor into an array that is too large to be put together.

    Piece by piece, in place: what 30 million weights show is 4 GB, and each copy of it
    would be seconds of new memory.
    """

    def put(array: Array, tensor: TensorObservation, shape: Any, row: Any) -> Array:
        piece = shown(_matrix(layout.level, tensor, shape, observation.numbers))
        zero = jnp.int32(0)
        return jax.lax.dynamic_update_slice(
            array, piece[None], (zero, jnp.int32(row), zero)
        )

    size, length = math.prod(shape), shape[0] if shape else 1
    step = max(1, _PIECE * length // size)
    if layout.level != "parameter" or step >= length:
        return put(array, tensor, shape, start)

    def body(index: Any, array: Array) -> Array:
        # The last piece begins earlier, so that all have one shape.
        first = jnp.minimum(index * step, length - step)
        sources = tuple(_cut(x, len(shape), first, step) for x in tensor.sources)
        part = replace(tensor, sources=sources)
        return put(array, part, (step, *shape[1:]), start + first * (size // length))

    return jax.lax.fori_loop(0, -(-length // step), body, array)


def _cut(source: Array, ndim: int, first: Any, step: int) -> Array:
    """A slice along the tensor's first axis, where the source has it."""
    axis = source.ndim - ndim
    if axis < 0 or source.shape[axis] == 1:
        return source
    return jax.lax.dynamic_slice_in_dim(source, first, step, axis)


def _scaled_rows(
    tensor: TensorObservation, shape: tuple[int, ...]
) -> Float[Array, "n f"]:
    size = math.prod(shape)
    blocks = [
        jnp.broadcast_to(block, (block.shape[0], *shape)).reshape(-1, size)
        for block in tensor.blocks
    ]
    if not blocks:
        return jnp.zeros((size, 0))
    return (jnp.concatenate(blocks) * tensor.scale[:, None]).T


def _log_sizes(tensor: TensorObservation) -> Float[Array, "1 f"]:
    sizes = [
        0.5 * jnp.log(jnp.mean(block**2, axis=tuple(range(1, block.ndim))) + _TINY)
        for block in tensor.blocks
    ]
    return jnp.concatenate([jnp.zeros((0,)), *sizes])[None]


def _columns(level: str, env: Env) -> tuple[str, ...]:
    features = env.features
    if level == "global":
        return tuple(features.shared_names)
    prefix = "" if level == "parameter" else "log_size_"
    rows = (f"{prefix}{name}" for name in features.row_names)
    return (*rows, *features.tensor_names, *features.shared_names)


def _segments(
    level: str,
    names: list[str],
    shapes: tuple[tuple[int, ...], ...],
    roles: tuple[str, ...],
) -> tuple[Segment, ...]:
    if level == "global":
        return ()
    start, segments = 0, []
    for name, shape, role in zip(names, shapes, roles, strict=True):
        stop = start + (math.prod(shape) if level == "parameter" else 1)
        segments.append(Segment(name, start, stop, shape, role))
        start = stop
    return tuple(segments)


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".") or "0"

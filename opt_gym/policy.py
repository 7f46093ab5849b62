"""A learned optimizer outside of an environment: its θ checked, and one step of it.

A step, signal in and Δφ out, is the same pure functions as in the environment, in the same
order: the features' update, observe, step, action map. Written for jax.numpy and torch, as
they are.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from opt_gym import plugins
from opt_gym.answers import answer
from opt_gym.maths.accumulators import leaves, like
from opt_gym.maths.limits import within_limits
from opt_gym.maths.parts import of_shapes, whole_shapes
from opt_gym.records import LearnedOptimizer, Memory, Signal


class Memories(NamedTuple):
    """All that a learned optimizer remembers: of its features, its carry, its action map."""

    features: Memory
    carry: Memory
    action: Memory


def trained_for(
    learned_optimizer: LearnedOptimizer, horizon: int | None, size: int | None = None
) -> LearnedOptimizer:
    """The learned optimizer as θ leaves training: it knows what it was trained for.

    Where the architecture has a clock that nobody has clamped (`time_clamp` is None), the
    clock stops there: beyond it, times would show what θ has never seen. Inside training it
    runs on. One that nobody has registered cannot be built again, and keeps its clock.

    Args:
        learned_optimizer: the architecture.
        horizon: the longest that θ was trained for; None where there is none.
        size: the weights of the largest task; None where that is not known.
    """
    name, config = learned_optimizer.name, learned_optimizer.config
    has_open_clock = horizon is not None and config.get("time_clamp", 0) is None
    if has_open_clock and name in plugins.names("architecture"):
        clamped = {**config, "time_clamp": horizon}
        learned_optimizer = plugins.build("architecture", name, clamped)
    return learned_optimizer._replace(trained_horizon=horizon, trained_size=size)


def read_by(learned_optimizer: LearnedOptimizer) -> tuple[str, ...]:
    """What an optimizer looks at beside weights and gradients."""
    return (*learned_optimizer.needs, *learned_optimizer.welcomes)


def check_theta(
    learned_optimizer: LearnedOptimizer, theta: PyTree, what: str = "theta"
) -> None:
    """Raises ValueError unless θ has the tensors of the architecture: names, shapes, tree.

    Leaves may be arrays of any kind, traced ones among them, or numbers.
    """
    expected = theta_like(learned_optimizer)
    given, wanted = _outline(theta), _outline(expected)
    if given == wanted:  # names are for the message: this is the quick way
        return
    differs = shape_differences(shapes_of(expected), shapes_of(theta))
    if not differs and _tree_paths(expected) != _tree_paths(theta):
        differs = f"its tree is {given[0]}, expected {wanted[0]}"
    if differs:
        raise ValueError(
            f"{what} does not fit the architecture {learned_optimizer.name!r} "
            f"{learned_optimizer.config}: {differs}"
        )


def as_theta(learned_optimizer: LearnedOptimizer, theta: PyTree) -> PyTree:
    """θ in the architecture's own kind of numbers (float32), on the host.

    Raises:
        ValueError: θ does not fit the architecture (`check_theta`), or has a leaf that is
            not of finite real numbers.
    """
    check_theta(learned_optimizer, theta)
    kinds = [leaf.dtype for leaf in jax.tree.leaves(theta_like(learned_optimizer))]
    leaves = []
    for (name, leaf), kind in zip(named_leaves(theta), kinds, strict=True):
        array = np.asarray(leaf)
        is_real = array.dtype != bool and (
            jnp.issubdtype(array.dtype, jnp.integer)
            or jnp.issubdtype(array.dtype, jnp.floating)
        )
        with np.errstate(over="ignore"):  # what overflows is not finite
            array = array.astype(kind) if is_real else array
        if not is_real or not np.all(np.isfinite(array)):
            raise ValueError(
                f"theta must be finite real numbers; {name} is {array.dtype}"
                + (" with numbers that are not finite" if is_real else "")
            )
        leaves.append(array)
    return jax.tree.unflatten(jax.tree.structure(theta), leaves)


def theta_like(learned_optimizer: LearnedOptimizer) -> PyTree:
    """The architecture's θ without its numbers: a tree of `jax.ShapeDtypeStruct`."""
    return _traced(learned_optimizer.init_theta)


# Of one architecture a thousand transformations are made (`learned.opt_list`).
@lru_cache(maxsize=16)
def _traced(init_theta: Callable[[PRNGKeyArray], PyTree]) -> PyTree:
    return jax.eval_shape(lambda: init_theta(jax.random.key(0)))


def named_leaves(tree: PyTree) -> list[tuple[str, Any]]:
    """The leaves by the path that leads to them, "net.rest.0.w"."""
    paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [(jax.tree_util.keystr(p, simple=True, separator="."), x) for p, x in paths]


def shapes_of(tree: PyTree) -> dict[str, tuple[int, ...]]:
    """The shapes of `named_leaves`."""
    return {name: tuple(np.shape(leaf)) for name, leaf in named_leaves(tree)}


def shape_differences(
    expected: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]]
) -> str:
    """What given tensors lack, have too much, or have in another shape; "" for nothing."""
    missing = [name for name in expected if name not in given]
    unexpected = [name for name in given if name not in expected]
    reshaped = [
        f"{name} {list(given[name])} instead of {list(shape)}"
        for name, shape in expected.items()
        if given.get(name, shape) != shape
    ]
    lists = {"missing": missing, "unexpected": unexpected, "of another shape": reshaped}
    return "; ".join(f"{how}: {', '.join(x)}" for how, x in lists.items() if x)


def _outline(tree: PyTree) -> tuple[Any, list[tuple[int, ...]]]:
    leaves, structure = jax.tree.flatten(tree)
    return structure, [tuple(np.shape(leaf)) for leaf in leaves]


def _tree_paths(tree: PyTree) -> set[tuple[Any, ...]]:
    """The paths with the kind of each step: a list passes for a tuple, no dict does."""
    return {path for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]}


def begin(
    learned_optimizer: LearnedOptimizer,
    theta: PyTree,
    params: PyTree,
    roles: tuple[str, ...],
) -> Memories:
    """Before the first step; params are float32, roles one a tensor."""
    return Memories(
        features=learned_optimizer.features.init(params),
        carry=learned_optimizer.init(theta, params, roles),
        action=learned_optimizer.action_map.init(params),
    )


def advance(
    learned_optimizer: LearnedOptimizer,
    theta: PyTree,
    memories: Memories,
    signal: Signal,
) -> tuple[Memories, PyTree]:
    """(memories after the step, Δφ).

    Tensors without elements are left out of everything: a mean over nothing would enter what
    tensors tell each other. Where there are no others nothing is done.
    """
    tensors = leaves(signal.params)
    shapes = whole_shapes(tensors)
    live = [i for i, shape in enumerate(shapes) if math.prod(shape)]
    if len(live) == len(tensors) > 0:
        return _advance(learned_optimizer, theta, memories, within_limits(signal))
    if not live:
        return memories, signal.params
    some = signal._replace(
        params=[tensors[i] for i in live],
        grad=[leaves(signal.grad)[i] for i in live],
        ages=tuple(signal.ages[i] for i in live),
    )
    known = Memories(*(_picked(memory, live) for memory in memories))
    with of_shapes([shapes[i] for i in live]):
        stepped, deltas = advance(learned_optimizer, theta, known, some)
    moved = list(tensors)  # empty: as good as an update of nothing
    for i, delta in zip(live, deltas, strict=True):
        moved[i] = delta
    after = Memories(*map(partial(_put_back, live=live), memories, stepped))
    return after, like(signal.params, moved)


def _advance(
    learned_optimizer: LearnedOptimizer,
    theta: PyTree,
    memories: Memories,
    signal: Signal,
) -> tuple[Memories, PyTree]:
    f = learned_optimizer.features.update(memories.features, signal)
    observation = learned_optimizer.features.observe(f, signal)
    carry, action = answer(
        learned_optimizer, theta, memories.carry, signal, observation
    )
    a, deltas = learned_optimizer.action_map.apply(memories.action, signal, action)
    return Memories(f, carry, a), deltas


def _picked(memory: Memory, live: Sequence[int]) -> Memory:
    if not memory.tensors:
        return memory
    return memory._replace(tensors=tuple(memory.tensors[i] for i in live))


def _put_back(before: Memory, after: Memory, live: Sequence[int]) -> Memory:
    if not before.tensors:
        return after
    tensors = list(before.tensors)
    for i, tensor in zip(live, after.tensors, strict=True):
        tensors[i] = tensor
    return Memory(tuple(tensors), after.shared)


class MemoryStructure(NamedTuple):
    """How the memories of a learned optimizer are made of arrays.

    Attributes:
        of_tensor: of what is remembered of one tensor, as `split` gives it; the same for
            tensors of every rank.
        shared: of what belongs to all of them.
    """

    of_tensor: Any
    shared: Any


def memory_structure(learned_optimizer: LearnedOptimizer) -> MemoryStructure:
    """The structure of its memories, whatever φ is."""

    def of_a_scalar(theta: PyTree) -> tuple[tuple, tuple]:
        scalar = (jnp.zeros((), jnp.float32),)
        (tensor,), shared = split(begin(learned_optimizer, theta, scalar, ("bias",)), 1)
        return tensor, shared

    traced = jax.eval_shape(of_a_scalar, theta_like(learned_optimizer))
    return MemoryStructure(*map(jax.tree.structure, traced))


def split(memories: Memories, count: int) -> tuple[list[tuple], tuple]:
    """(for each of `count` tensors what is remembered of it, what is shared).

    Both as (features', carry's, action map's), for who keeps memory with its tensor.
    """
    tensors = [
        tuple(memory.tensors[i] if memory.tensors else () for memory in memories)
        for i in range(count)
    ]
    return tensors, tuple(memory.shared for memory in memories)


def join(tensors: Sequence[tuple], shared: tuple) -> Memories:
    """The way back."""
    return Memories(
        *(
            Memory(tuple(tensor[part] for tensor in tensors), shared[part])
            for part in range(len(shared))
        )
    )


def roles_of(params: PyTree) -> tuple[str, ...]:
    """What each tensor of a user's φ is: by its name, else by its rank.

    Names are those of Flax (linen and nnx), Haiku and Equinox; where φ is made of objects,
    as Equinox has it, the class that holds a "weight" says what kind of weight.
    """
    paths, _ = jax.tree_util.tree_flatten_with_path(params)
    return tuple(_role(params, path, leaf) for path, leaf in paths)


def shown_shapes(params: PyTree) -> list[tuple[int, ...]]:
    """Shapes of a user's φ, inputs before outputs, as fan-ins are read.

    A "weight" with two axes or more is [out, in, *window], as Equinox and torch have it; not
    one of an embedding.
    """
    paths, _ = jax.tree_util.tree_flatten_with_path(params)

    def shown(path: tuple[Any, ...], leaf: Any) -> tuple[int, ...]:
        named, shape = _named(path), np.shape(leaf)
        is_weight = bool(named) and _name(path[named[-1]]).startswith("weight")
        if is_weight and _role(params, path, leaf) == "kernel":
            return *shape[1:], shape[0]
        return shape

    return [shown(path, leaf) for path, leaf in paths]


_ROLES = {
    "kernel": "kernel",
    "bias": "bias",
    "b": "bias",
    "offset": "bias",
    "embedding": "embedding",
    "embeddings": "embedding",
    "scale": "norm",
}
_UNNAMED = ("value", "raw_value")
"""The last keys of a path that say nothing: what a variable of nnx keeps its array in."""


def _role(params: PyTree, path: tuple[Any, ...], leaf: Any) -> str:
    named = _named(path)
    if named:
        name = _name(path[named[-1]])
        if name in _ROLES:
            return _ROLES[name]
        kind = type(_at(params, path[: named[-1]])).__name__
        if name == "weight" and "Embedding" in kind:
            return "embedding"
        if name == "weight" and "Norm" in kind:
            return "norm"
    return "kernel" if np.ndim(leaf) >= 2 else "bias"


def _named(path: tuple[Any, ...]) -> list[int]:
    """The places of a path that have a name which says something."""
    return [
        place
        for place, key in enumerate(path)
        if isinstance(_name(key), str) and _name(key) not in _UNNAMED
    ]


def _name(key: Any) -> Any:
    """Of a step of a path: a string, or a number where it has none."""
    for attribute in ("name", "key", "idx"):
        if hasattr(key, attribute):
            return getattr(key, attribute)
    return None


def _at(params: PyTree, path: tuple[Any, ...]) -> Any:
    """What a path leads to; None where it cannot be followed."""
    for key in path:
        try:
            is_attribute = isinstance(key, jax.tree_util.GetAttrKey)
            params = getattr(params, key.name) if is_attribute else params[_name(key)]
        except (AttributeError, TypeError, KeyError, IndexError):
            return None
    return params

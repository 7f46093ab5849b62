"""What a learned optimizer's optax transformation remembers, shaped as optax expects it.

A state is made of trees shaped like φ, one for each thing that is remembered of a tensor, as
Adam's is of two: so `optax.tree.map_params`, sharding recipes and `nnx.Optimizer` find their
way. What one tensor has and another has not is an array of one number there, as optax's
Adafactor has it: there are checkpointers that refuse empty arrays.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Int, PyTree

from opt_gym import policy


class LearnedState(NamedTuple):
    """What `update` remembers.

    Attributes:
        t: updates done.
        skipped: gradients that were not finite.
        trained_horizon: the steps that θ was trained for; 0 where that is not known.
        begun: t when the memories began, 0 but after an explosion (`guarded`). What θ is
            shown of time is counted from there.
        tensors: what is remembered of tensors (the features', the carry's, the action map's),
            every leaf of it a tree shaped like φ.
        shared: what belongs to all of them.
    """

    t: Int[Array, ""]
    skipped: Int[Array, ""]
    trained_horizon: Int[Array, ""]
    begun: Int[Array, ""]
    tensors: PyTree
    shared: PyTree


def pack(
    params: PyTree, memories: policy.Memories, of_tensor: Any
) -> tuple[PyTree, PyTree]:
    """(`tensors`, `shared`) of a state.

    Args:
        params: φ.
        memories: of its tensors.
        of_tensor: the structure of what is remembered of a tensor, of every rank.

    Raises:
        ValueError: something else is remembered of one of them.
    """
    leaves, like_params = jax.tree.flatten(params)
    tensors, shared = policy.split(memories, len(leaves))
    for leaf, tensor in zip(leaves, tensors, strict=True):
        if jax.tree.structure(tensor) != of_tensor:
            raise ValueError(
                f"of a tensor of shape {list(jnp.shape(leaf))} "
                f"{jax.tree.structure(tensor)} is remembered, of a scalar {of_tensor}: an "
                "architecture remembers the same of every rank, and what is missing is an "
                "empty array"
            )
    rows = [list(map(_stored, jax.tree.leaves(tensor))) for tensor in tensors]
    columns = [[row[i] for row in rows] for i in range(of_tensor.num_leaves)]
    trees = [jax.tree.unflatten(like_params, column) for column in columns]
    return jax.tree.unflatten(of_tensor, trees), jax.tree.map(_stored, shared)


def _stored(leaf: Any) -> Any:
    return leaf if leaf.size else jnp.zeros(1, leaf.dtype)


def in_form(
    params: PyTree, state: Any, like: policy.Memories, of_tensor: Any
) -> LearnedState:
    """The state, its numbers of the kinds that it began with, whatever it was cast to.

    Args:
        params: φ.
        state: to look at.
        like: the memories that it would begin with; shapes and kinds of arrays.
        of_tensor: as for `pack`.

    Raises:
        ValueError: it is none of this optimizer and these parameters.
    """
    begun = jax.eval_shape(lambda: pack(params, _zeros(like), of_tensor))
    count: Any = jax.ShapeDtypeStruct((), jnp.int32)
    wanted = LearnedState(*(count,) * 4, *begun)

    def cast(like: Any, leaf: Any) -> Any:
        if jnp.shape(leaf) != like.shape:
            raise ValueError(f"{list(jnp.shape(leaf))} instead of {list(like.shape)}")
        return jnp.asarray(leaf, like.dtype)

    try:
        return jax.tree.map(cast, wanted, state)
    except (TypeError, ValueError) as error:
        what = " ".join(str(error).split("\n")[:2])
        raise ValueError(
            f"this state is of another optimizer, or of other parameters: {what}"
        ) from None


def _zeros(like: PyTree) -> PyTree:
    """Arrays of these shapes and kinds."""
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)


def unpack(
    params: PyTree, state: LearnedState, like: policy.Memories, of_tensor: Any
) -> policy.Memories:
    """The way back; arguments as those of `in_form`."""
    like_params = jax.tree.structure(params)
    trees = of_tensor.flatten_up_to(state.tensors)
    columns = [like_params.flatten_up_to(tree) for tree in trees]
    rows = [[column[i] for column in columns] for i in range(like_params.num_leaves)]
    tensors = [jax.tree.unflatten(of_tensor, row) for row in rows]
    memories = policy.join(tensors, state.shared)
    return jax.tree.map(
        lambda wanted, leaf: (
            leaf if wanted.size else jnp.zeros(wanted.shape, leaf.dtype)
        ),
        policy.join(*policy.split(like, like_params.num_leaves)),
        memories,
    )


def beyond(state: PyTree) -> bool:
    """Whether more steps were made than θ was trained for: the next may be worse.

    Args:
        state: of `to_optax`, or of a chain with a `scale_by_learned` in it; with numbers.

    Raises:
        ValueError: no learned optimizer's state is in it.
    """
    states = _learned_states(state)
    return any(0 < int(s.trained_horizon) < int(s.t) for s in states)


def skipped(state: PyTree) -> int:
    """Gradients (or needed losses) that were not finite, so far, and changed nothing.

    Args:
        state: as of `beyond`.

    Raises:
        ValueError: no learned optimizer's state is in it.
    """
    return sum(int(s.skipped) for s in _learned_states(state))


def nodes_of(state: PyTree, kind: type) -> list[Any]:
    """All of a kind, such as `LearnedState`, wherever they lie in an optax state."""

    def is_one(node: Any) -> bool:
        return isinstance(node, kind)

    return [node for node in jax.tree.leaves(state, is_leaf=is_one) if is_one(node)]


def _learned_states(state: PyTree) -> list[LearnedState]:
    states = nodes_of(state, LearnedState)
    if not states:
        raise ValueError("this state has no part of a learned optimizer")
    return states


def state_sharding(
    transformation: optax.GradientTransformation,
    params: PyTree,
    shardings: PyTree | None = None,
) -> PyTree:
    """Where the arrays of an optax state belong, for parameters that are cut over devices.

        shardings = learned.state_sharding(tx, params)
        state = jax.jit(tx.init, out_shardings=shardings)(params)

    What is remembered of a tensor is cut as the tensor is; axes of an average (in front, or of
    length 1) stay whole, and so does what has other axes, or belongs to no tensor.

    Args:
        transformation: `to_optax`, or any other, such as a chain with a `scale_by_learned`.
        params: φ; arrays, or their shapes where `shardings` are given.
        shardings: a `NamedSharding` for each tensor; by default those of `params`.

    Raises:
        ValueError: a tensor whose sharding is no `NamedSharding`, or no tensors.
    """
    if shardings is None:
        shardings = jax.tree.map(lambda leaf: leaf.sharding, params)
    known = jax.tree.leaves(shardings)
    others = [sharding for sharding in known if not isinstance(sharding, NamedSharding)]
    if others or not known:
        found = others[0] if others else "no tensors"
        raise ValueError(f"every tensor needs a NamedSharding, got {found}")
    whole = NamedSharding(known[0].mesh, PartitionSpec())
    return optax.tree.map_params(
        transformation,
        _placed,
        jax.eval_shape(transformation.init, params),
        params,
        shardings,
        transform_non_params=lambda _: whole,
    )


def _placed(leaf: Any, param: Any, sharding: NamedSharding) -> NamedSharding:
    """Where one array of a state belongs, whose tensor lies so."""
    lead = leaf.ndim - param.ndim
    cuts = (*sharding.spec, *(None,) * param.ndim)[: param.ndim]
    sizes = list(zip(leaf.shape[max(lead, 0) :], param.shape, cuts, strict=False))
    if lead < 0 or any(size not in (of, 1) for size, of, _ in sizes):
        return NamedSharding(sharding.mesh, PartitionSpec())
    axes = [cut if size == of else None for size, of, cut in sizes]
    return NamedSharding(sharding.mesh, PartitionSpec(*(None,) * lead, *axes))

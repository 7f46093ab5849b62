"""A branch on the device, also where `jax.shard_map` tells what differs over devices."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import PyTree


def cond_on_devices(
    condition: Any,
    if_true: Callable[[], PyTree],
    if_false: Callable[[], PyTree],
    inputs: PyTree,
) -> PyTree:
    """`lax.cond`; each result differs over the devices as that of the other branch does.

    Args:
        condition: a truth.
        if_true, if_false: what to compute.
        inputs: all that they see, which says whether anything differs.
    """
    branches = if_true, if_false
    if any(_axes(leaf) for leaf in jax.tree.leaves(inputs)):
        kinds = [jax.eval_shape(branch) for branch in branches]
        branches = tuple(
            lambda branch=branch: jax.tree.map(_differing, branch(), *kinds)
            for branch in branches
        )
    return jax.lax.cond(condition, *branches)


def _axes(array: Any) -> frozenset[str]:
    """The axes of a mesh over which an array differs; none outside of `shard_map`."""
    kind = jax.typeof(array) if isinstance(array, jax.Array) else array
    in_jax_010 = getattr(kind, "manual_axis_type", None)
    return getattr(in_jax_010 or kind, "varying" if in_jax_010 else "vma", frozenset())


def _differing(array: Any, *like: Any) -> Any:
    missing = frozenset().union(*map(_axes, like)) - _axes(array)
    return jax.lax.pcast(array, tuple(missing), to="varying") if missing else array

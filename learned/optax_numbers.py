"""Numbers that users hand over, as JAX arrays of float32."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree


def float32(tree: PyTree) -> PyTree:
    """In float32; what is finite and beyond its range is its greatest number."""
    greatest = float(jnp.finfo(jnp.float32).max)

    def cast(leaf: Any) -> Any:
        leaf = jnp.asarray(leaf)
        if leaf.dtype == jnp.float64:
            within = jnp.clip(leaf, -greatest, greatest)
            leaf = jnp.where(jnp.isinf(leaf), leaf, within)
        return leaf.astype(jnp.float32)

    return jax.tree.map(cast, tree)


def scalar(name: str, value: Any) -> Any:
    """One number, [].

    Raises:
        ValueError: it is none.
    """
    try:
        number = float32(value)
    except (TypeError, ValueError):
        number = None
    if not isinstance(number, jax.Array) or number.size != 1:
        raise ValueError(f"{name} must be one number, got {value!r}")
    return number.reshape(())


def told(name: str, value: Any) -> tuple[Any, Any]:
    """(a number, whether it was told): 0 for None, and for what is not finite.

    Raises:
        ValueError: it is no number.
    """
    number = scalar(name, 0.0 if value is None else value)
    is_told = jnp.isfinite(number) & (value is not None)
    return jnp.where(is_told, number, 0.0), is_told

"""One way to write maths for jax.numpy and torch: the namespace of an array.

Features and architectures ask an array for its namespace and use the array-API names
(`concat`, not `concatenate`), so that the same lines serve both ways out.
"""

from typing import Any

import array_api_compat


def namespace(array: Any) -> Any:
    """jax.numpy for JAX arrays and tracers, the compat namespace of torch for tensors."""
    return array_api_compat.array_namespace(array)


def rsqrt(x: Any) -> Any:
    """1/√x. XLA turns the quotient into its own rsqrt."""
    return 1.0 / namespace(x).sqrt(x)


def mean_square(x: Any, axis: Any = None) -> Any:
    """Mean of x² over `axis` (all axes by default)."""
    return namespace(x).mean(x * x, axis=axis)

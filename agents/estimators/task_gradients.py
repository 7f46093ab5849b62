"""One gradient of those of several tasks."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from agents.records import Estimate, Report

_NEWEST = 0.1
"""The weight of a task's newest gradient in the mean square of its norms, once it had ten."""


def no_sizes(num_tasks: int) -> Float[Array, "tasks 2"]:
    """Of `num_tasks` the mean square of their gradients' norms, and the count: none yet."""
    return jnp.zeros((num_tasks, 2))


def balanced(
    estimates: Sequence[Estimate],
    tasks: Int[Array, " calls"],
    sizes: Float[Array, "tasks 2"],
) -> tuple[list[Estimate], Float[Array, "tasks 2"]]:
    """(gradients over the running RMS of their tasks' norms, sizes with these norms).

    A norm that is in its own RMS is at most 1/√`_NEWEST` of it: one odd gradient is no jump.

    Args:
        estimates, tasks: of this outer step's tasks, all different; their places in the mix.
        sizes: as `no_sizes` begins them.
    """
    norms = jnp.stack([optax.tree.norm(estimate.grad) for estimate in estimates])
    square, count = sizes[tasks, 0], sizes[tasks, 1] + 1.0
    square += jnp.maximum(1.0 / count, _NEWEST) * (norms**2 - square)
    known = jnp.isfinite(square) & (square > 0.0)
    factors = jnp.where(known, jax.lax.rsqrt(jnp.where(known, square, 1.0)), 1.0)
    scaled = [
        estimate._replace(grad=jax.tree.map(lambda g, f=factor: f * g, estimate.grad))
        for estimate, factor in zip(estimates, factors, strict=True)
    ]
    new = jnp.where(known[:, None], jnp.stack([square, count], axis=1), sizes[tasks])
    return scaled, sizes.at[tasks].set(new)


def averaged(estimates: Sequence[Estimate]) -> tuple[PyTree, Report]:
    """The mean of the finite gradients of `estimates`, and what to tell of all of them."""
    norms = jnp.stack([optax.tree.norm(estimate.grad) for estimate in estimates])
    finite = jnp.isfinite(norms)
    weights = jnp.where(finite, 1.0, 0.0) / jnp.maximum(jnp.sum(finite), 1)

    def mean(*leaves: Float[Array, "..."]) -> Float[Array, "..."]:
        return sum(
            (
                w * jnp.where(ok, leaf, 0.0)
                for w, ok, leaf in zip(weights, finite, leaves, strict=True)
            ),
            jnp.zeros_like(leaves[0]),
        )

    grad = jax.tree.map(mean, *(estimate.grad for estimate in estimates))
    report = Report(
        outer_loss=jnp.nanmean(
            jnp.stack([estimate.outer_loss for estimate in estimates])
        ),
        grad_norm=optax.tree.norm(grad),
        variance=jnp.mean(jnp.stack([estimate.variance for estimate in estimates])),
        dropped=sum(estimate.dropped for estimate in estimates),
        inner_steps=sum(estimate.inner_steps for estimate in estimates),
        skipped=jnp.sum(~finite),
    )
    return grad, report

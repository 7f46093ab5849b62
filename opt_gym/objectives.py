"""Whose loss counts, and what an optimizer may hear of a validation loss.

Functions of one inner step's keys: an environment calls them where it evaluates.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from opt_gym.data.corruptions import corrupt
from opt_gym.plugins import unknown
from opt_gym.records import OBJECTIVES, Data, EnvSettings, Task


class StreamKeys(NamedTuple):
    """The keys of inner step t, all derived from the episode's stream."""

    batch: PRNGKeyArray
    loss: PRNGKeyArray
    valid: PRNGKeyArray
    corrupt: PRNGKeyArray


def check_objective(task: Task, objective: str) -> None:
    """Raises ValueError for an unknown objective, or one that the task cannot have."""
    if objective not in OBJECTIVES:
        raise ValueError(unknown("objective", objective, list(OBJECTIVES)))
    if objective == "noisy" and task.input_kind != "image":
        raise ValueError(
            f"objective 'noisy' needs image inputs, this task has {task.input_kind!r}"
        )


def objective_loss(
    task: Task, settings: EnvSettings
) -> Callable[..., Float[Array, ""]]:
    """(keys, data, φ, ψ, train batch, train loss) -> the loss that counts."""
    if settings.objective == "train":
        return lambda keys, data, params, instance, batch, loss: loss

    if settings.objective == "valid":

        def valid_outer(
            keys: StreamKeys, data: Data, params: PyTree, instance: PyTree, *_: Any
        ) -> Float[Array, ""]:
            return split_loss(task, keys.valid, data, params, instance, "valid_outer")[
                0
            ]

        return valid_outer

    def noisy(
        keys: StreamKeys,
        data: Data,
        params: PyTree,
        instance: PyTree,
        batch: Any,
        _: Any,
    ) -> Float[Array, ""]:
        inputs = corrupt(keys.corrupt, batch.inputs, settings.corruption)
        return task.loss(keys.loss, params, instance, batch._replace(inputs=inputs))[0]

    return noisy


def valid_loss(
    task: Task, valid_every: int
) -> Callable[..., tuple[Float[Array, ""], Bool[Array, ""]]]:
    """(key, data, φ, ψ, t) -> (loss on valid_inner, whether it was evaluated)."""

    def never(*_: Any) -> tuple[Float[Array, ""], Bool[Array, ""]]:
        return jnp.zeros(()), jnp.zeros((), bool)

    if valid_every == 0:
        return never

    def sometimes(
        key: PRNGKeyArray,
        data: Data,
        params: PyTree,
        instance: PyTree,
        t: Int[Array, ""],
    ) -> tuple[Float[Array, ""], Bool[Array, ""]]:
        # A key of its own: objective "valid" uses this step's key for valid_outer.
        key = jax.random.fold_in(key, 1)
        due = t % valid_every == 0
        loss = jax.lax.cond(
            due,
            lambda: split_loss(task, key, data, params, instance, "valid_inner")[0],
            lambda: jnp.zeros(()),
        )
        return loss, due

    return sometimes


def split_loss(
    task: Task,
    key: PRNGKeyArray,
    data: Data,
    params: PyTree,
    instance: PyTree,
    split: str,
) -> tuple[Float[Array, ""], dict[str, Any]]:
    """(loss, aux) on one fresh batch of a split."""
    k_batch, k_loss = jax.random.split(key)
    batch = task.sample_batch(k_batch, data, instance, split)
    return task.loss(k_loss, params, instance, batch)

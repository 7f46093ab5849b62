"""A bowl: the task that architectures and outer-trainers are tried on."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import opt_gym
from opt_gym.records import (
    SPLITS,
    Batch,
    Data,
    Env,
    LearnedOptimizer,
    Normalizer,
    Task,
)


def bowl(params: tuple[Any, ...], roles: tuple[str, ...], noise: float = 0.0) -> Task:
    """loss(φ) = scale · (½ |φ|² + noise·z·Σφ) from these φ; the scale is all its data.

    So that a NaN for the data makes every loss one, in the programs that were compiled.
    """

    def loss(key: Any, params: Any, instance: Any, batch: Batch) -> Any:
        leaves = jax.tree.leaves(params)
        value = sum((0.5 * jnp.sum(leaf * leaf) for leaf in leaves), jnp.zeros(()))
        if noise:
            total = sum((jnp.sum(leaf) for leaf in leaves), jnp.zeros(()))
            value = value + noise * jax.random.normal(key) * total
        return batch.inputs * value, {}

    return Task(
        config={},
        batch_size=0,
        dataset="none",
        input_kind="none",
        loss_floor=0.0,
        roles=roles,
        load_data=lambda source: scaled(1.0),
        init=lambda key, data: (params, ()),
        sample_batch=lambda key, data, instance, split: Batch(data[split], ()),
        loss=loss,
        constrain=lambda params: params,
    )


def scaled(scale: float) -> Data:
    """The data of a bowl."""
    return {split: np.float32(scale) for split in SPLITS}


def bowl_env(task: Task, learned_optimizer: LearnedOptimizer) -> Env:
    """An environment whose cost is the loss."""
    normalizer = Normalizer(1.0, 0.0, "given")
    return opt_gym.make(
        task, learned_optimizer=learned_optimizer, normalizer=normalizer
    )

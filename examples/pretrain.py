"""Trains the weights that the family `fine_tuning` starts from, with Adam and a cosine.

    python examples/pretrain.py english_transformer

The file lies where the package looks for it, or in a folder of yours.
"""

from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax
import tyro

import opt_gym
from opt_gym.plugins import unknown
from opt_gym.tasks.building import base_weights
from opt_gym.tasks.building.base_weights import Base

_BLOCKS = {
    "depth": 2,
    "width": 32,
    "heads": 4,
    "expansion": 2,
    "activation": "swish",
    "w_init": ["glorot_normal", None],
}
BASES: dict[str, dict[str, Any]] = {
    "english_transformer": {
        **_BLOCKS,
        "family": "transformer_lm",
        "positions": "learned",
        "tied": True,
        "vocab_size": 256,
        "dataset": ["lm1b/bytes", {"patch_length": 32, "batch_size": 64}],
    },
    "photo_vit": {
        **_BLOCKS,
        "family": "vit",
        "patch": 4,
        "pool": "mean",
        "dataset": ["cifar10", {"bs": 64, "size": 16}, None],
        "center_data": True,
    },
}
"""By name: the task."""


def main(
    name: Annotated[str, tyro.conf.Positional],
    steps: int = 5000,
    learning_rate: float = 0.003,
    seed: int = 0,
    out: Path = base_weights.FOLDER,
) -> None:
    """Trains and keeps a base.

    Args:
        name: of the base.
        steps: of training.
        learning_rate: at the start of the cosine.
        seed: of weights and batches.
        out: folder.
    """
    if name not in BASES:
        raise SystemExit(unknown("base", name, list(BASES)))
    task = opt_gym.make_task(BASES[name])
    data = jax.device_put(task.load_data("embedded"))
    tx = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))

    @jax.jit
    def train(data: Any) -> tuple[Any, Any]:
        k_init, k_steps = jax.random.split(jax.random.key(seed))
        start, instance = task.init(k_init, data)

        def step(carried: Any, key: Any) -> tuple[Any, Any]:
            params, state = carried
            k_batch, k_loss = jax.random.split(key)
            batch = task.sample_batch(k_batch, data, instance, "train")
            (loss, _), grads = jax.value_and_grad(task.loss, argnums=1, has_aux=True)(
                k_loss, params, instance, batch
            )
            updates, state = tx.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), loss

        keys = jax.random.split(k_steps, steps)
        (params, _), losses = jax.lax.scan(step, (start, tx.init(start)), keys)
        return params, losses

    params, losses = jax.device_get(train(data))
    first, last = float(losses[0]), float(jnp.mean(losses[-100:]))
    training = {
        "optimizer": "adam, cosine",
        "learning_rate": learning_rate,
        "steps": steps,
        "seed": seed,
        "first_loss": round(first, 4),
        "last_loss": round(last, 4),
    }
    path = base_weights.write(
        out / f"{name}.safetensors", Base(task.config, tuple(params), training)
    )
    print(f"{path}: loss {first:.3f} -> {last:.3f} after {steps:,} steps")


if __name__ == "__main__":
    tyro.cli(main)

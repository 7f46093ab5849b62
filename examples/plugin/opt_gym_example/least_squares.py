"""A task family: fit a random linear map. loss(φ) = mean (x·φ − y)², x, y drawn anew."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from opt_gym.checks import check_whole
from opt_gym.plugins import Spec
from opt_gym.records import SPLITS, Batch, Config, Data, Task
from opt_gym.tasks.building import config_checks


def sample_config(seed: int) -> Config:
    """A number of weights and a batch size."""
    random = np.random.default_rng(seed)
    return {"dim": int(random.integers(2, 20)), "bs": int(random.integers(8, 64))}


def build(config: Config) -> Task:
    """The task of a config; ψ is the weights to find."""
    values = config_checks.strip("least_squares", config, ("dim", "bs"))
    dim, size = values["dim"], values["bs"]
    check_whole("dim", dim, 1)

    def sample_batch(key: Any, data: Data, instance: Any, split: str) -> Batch:
        inputs = jax.random.normal(key, (size, dim))
        return Batch(inputs, inputs @ instance)

    def loss(key: Any, params: Any, instance: Any, batch: Batch) -> Any:
        return jnp.mean((batch.inputs @ params[0] - batch.targets) ** 2), {}

    return Task(
        config={"family": "least_squares", **values},
        batch_size=size,
        dataset="none",
        input_kind="array",
        loss_floor=0.0,
        roles=("kernel",),
        load_data=lambda source: dict.fromkeys(SPLITS, ()),
        init=lambda key, data: ((jnp.zeros(dim),), jax.random.normal(key, (dim,))),
        sample_batch=sample_batch,
        loss=loss,
        constrain=lambda params: params,
    )


SPEC = Spec("task", "least_squares", build, "textbook", sample_config)

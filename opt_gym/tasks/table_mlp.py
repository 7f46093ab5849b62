"""MLPs on tables: a family apart from TaskSet's, to see what carries over."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray
from numpy.random import RandomState

from opt_gym.data.table_sets import TABLES, load_table
from opt_gym.records import Batch, Config, Data
from opt_gym.tasks.building import config_checks, layers, samplers
from opt_gym.tasks.building.activations import ACTIVATIONS
from opt_gym.tasks.building.model import (
    Design,
    Loss,
    Model,
    Params,
    Source,
    family_spec,
    linear_tensors,
)

FAMILY = "table_mlp"
KEYS = ("layer_sizes", "activation", "w_init", "dataset")


def sample_config(seed: int) -> Config:
    """The config of a seed: 1-3 hidden layers of 16-64 units, batches of 16-128.

    Activation and initializer are drawn as TaskSet draws them.
    """
    rng = RandomState(seed)
    depth = samplers.pick(rng, (1, 2, 3))
    return {
        "layer_sizes": [samplers.log_int(rng, 16, 64) for _ in range(depth)],
        "activation": samplers.activation(rng),
        "w_init": samplers.initializer(rng),
        "dataset": [
            samplers.pick(rng, tuple(TABLES)),
            {"bs": samplers.log_int(rng, 16, 128)},
        ],
    }


def design(config: Config) -> Design:
    """Linear layers, the activation between them; cross entropy, or the mean squared error.

    φ = (w0, b0, w1, b1, ...), w [in, out], b [out]; `layer_sizes` are the hidden widths.

    Raises:
        ValueError: a key or a value that cannot be used, by name.
    """
    config = config_checks.strip(FAMILY, config, KEYS)
    config_checks.check_sizes(FAMILY, "layer_sizes", config["layer_sizes"])
    config_checks.check_activation(FAMILY, config["activation"])
    config_checks.check_initializer(FAMILY, "w_init", config["w_init"])
    name, batch_size = _checked_dataset(config["dataset"])
    table, activation = TABLES[name], ACTIVATIONS[config["activation"]]
    w_init = (config["w_init"][0], config["w_init"][1])
    sizes = [table.columns, *config["layer_sizes"], max(table.num_classes, 1)]
    tensors = linear_tensors(sizes, w_init)

    def loss(
        params: Params, instance: Any, noise: tuple[Any, ...], batch: Batch
    ) -> Loss:
        outputs = layers.mlp(params, batch.inputs, activation)
        if not table.num_classes:
            return jnp.mean(jnp.square(outputs[:, 0] - batch.targets)), {}
        value, accuracy = layers.softmax_cross_entropy(outputs, batch.targets)
        return value, {"accuracy": accuracy}

    sample = partial(sample_rows, batch_size=batch_size)
    source = Source(name, batch_size, "array", lambda origin: load_table(name), sample)
    return Design(FAMILY, config, Model(tuple(tensors), loss), source)


def sample_rows(key: PRNGKeyArray, data: Data, split: str, batch_size: int) -> Batch:
    """A batch drawn with replacement."""
    inputs, targets = data[split]
    bits = jax.random.bits(key, (batch_size,), jnp.uint32)
    index = (bits % np.uint32(targets.shape[0])).astype(jnp.int32)
    rows = (jnp.take(x, index, axis=0, mode="clip") for x in (inputs, targets))
    return Batch(*rows)


def _checked_dataset(value: Any) -> tuple[str, int]:
    pair = isinstance(value, list | tuple) and len(value) == 2
    config_checks.check(FAMILY, "dataset", value, pair, '[name, {"bs": batch size}]')
    name, settings = value
    config_checks.check_choice(FAMILY, "table", name, list(TABLES))
    inside = f"{FAMILY}: dataset {name}"
    config_checks.check_keys(inside, settings, ("bs",))
    config_checks.check_int(inside, "bs", settings["bs"], 1)
    return name, settings["bs"]


SPEC = family_spec(
    FAMILY,
    design,
    sample_config,
    source="ours; draws as in Metz et al. 2020, arXiv 2002.11887; data: see data/table_sets.py",
)

"""How a golden entry becomes a loss of ours at its parameters, batch and noise.

Golden parameters and noise follow from names and shapes, batches from a fixed seed, so that
the files need not hold them.
"""

import sys
import zlib
from typing import Any

import numpy as np

from envs_registry.parity.golden import Case, generate, golden_params
from envs_registry.parity.losg import losg_case
from opt_gym import plugins
from opt_gym.records import Batch, Config

NUM_EXAMPLES = 4
NUM_LABELS = {"imdb_reviews": 2, "tokenized_amazon_reviews": 5}


def make_case(config: Config, entry: dict[str, Any]) -> Case:
    """The case of a golden entry.

    Args:
        config: ours, with its family.
        entry: of a file `numeric/*.json`.
    """
    special = {"quadratic": _quadratic_case, "losg_tasks": losg_case}
    make = special.get(config["family"], _model_case)
    return make(config, entry)


def _model_case(config: Config, entry: dict[str, Any]) -> Case:
    spec = plugins.spec("task", config["family"])
    model = sys.modules[spec.make.__module__].design(config).model
    arrays = _instance(config), _noise(entry), _batch(entry)

    def loss(params: Any, arrays: Any) -> Any:
        return model.loss(params, *arrays)[0]

    shapes = [tensor.shape for tensor in model.tensors]
    return Case(loss, shapes, golden_params(entry), arrays)


def _instance(config: Config) -> Any:
    """ψ: only MAF has one, its permutations, which numpy's global generator drew."""
    if config["family"] != "maf":
        return ()
    from opt_gym.tasks import maf
    from opt_gym.tasks.building import flows

    dims = maf.design(config).model.tensors[0].shape[0]
    rng = np.random.RandomState(7)
    drawn = [rng.permutation(dims) for _ in range(config["num_bijectors"])]
    return tuple(flows.permutation(order) for order in drawn[:-1])


def _noise(entry: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Normals and uniforms are scaled; dropout draws are compared with a rate by the model."""
    arrays = []
    for name, shape, kind, scale in entry["noise"]:
        if kind == "normal":
            arrays.append(generate(name, tuple(shape)) * np.float32(scale))
            continue
        rng = np.random.RandomState(zlib.crc32(name.encode()))
        uniform = rng.uniform(-0.5, 0.5, tuple(shape)).astype(np.float32)
        is_dropout = kind.startswith("dropout")
        arrays.append(uniform if is_dropout else uniform * np.float32(scale))
    return tuple(arrays)


def _batch(entry: dict[str, Any]) -> Batch:
    meta = entry["meta"]
    if "synthetic_batch" in entry:
        return _sequence_batch(entry["synthetic_batch"])
    return _text_batch(meta) if "patch_length" in meta else _image_batch(meta)


def _image_batch(meta: dict[str, Any]) -> Batch:
    """Four random images; the size is that after augmentation."""
    shape, num_classes = tuple(meta["image_shape"]), meta["num_classes"]
    rng = np.random.RandomState(1234)
    images = rng.randint(0, 256, (NUM_EXAMPLES, *shape)).astype(np.float32) / 255
    labels = rng.randint(0, num_classes, NUM_EXAMPLES).astype(np.int32)
    return Batch(images, labels)


def _text_batch(meta: dict[str, Any]) -> Batch:
    """Four random sequences, the end of the last one padded."""
    name, length = meta["dataset"], meta["tokens_len_used"]
    rng = np.random.RandomState(4321)
    vocab_size = 257 if name.endswith("bytes") else 8185
    tokens = rng.randint(1, vocab_size, (NUM_EXAMPLES, length)).astype(np.int32)
    mask = np.ones(tokens.shape, np.float32)
    if length // 3:
        tokens[-1, -(length // 3) :] = 0
        mask[-1, -(length // 3) :] = 0
    num_labels = NUM_LABELS.get(name.split("/")[0])
    labels = None
    if num_labels is not None:
        labels = rng.randint(0, num_labels, NUM_EXAMPLES).astype(np.int32)
    return Batch(tokens, labels, mask)


def _sequence_batch(recipe: dict[str, Any]) -> Batch:
    shape = (NUM_EXAMPLES, recipe["L"])
    rng = np.random.RandomState(55)
    inputs = rng.randint(0, recipe["V"], shape).astype(np.int32)
    targets = rng.randint(0, recipe["V"], shape).astype(np.int32)
    mask = (rng.uniform(size=shape) < 0.5).astype(np.float32)
    mask[:, -1] = 1
    return Batch(inputs, targets, mask)


def _quadratic_case(config: Config, entry: dict[str, Any]) -> Case:
    """A matrix A that follows from its name, and no noise on it."""
    from opt_gym.tasks import quadratic

    config = {**config, "noise": None}
    (weight,) = golden_params(entry)
    dims = config["dims"]

    def loss(params: Any, matrix: Any) -> Any:
        return quadratic.objective(config, matrix @ params[0])

    return Case(loss, [(dims,)], (weight,), generate("A", (dims, dims)))

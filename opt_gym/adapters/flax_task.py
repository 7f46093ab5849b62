"""The user's own Flax model and arrays as a task."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from opt_gym.policy import roles_of
from opt_gym.records import SPLITS, Batch, Data, Task

Loss = Callable[[Any, Batch], Any]


def task_from_flax(
    module: nn.Module,
    loss: Loss,
    arrays: Sequence[Any],
    *,
    batch_size: int = 128,
    splits: Sequence[float] = (0.7, 0.1, 0.1, 0.1),
) -> Task:
    """A task that trains a linen module on arrays.

    Examples are split in order (shuffle them first if their order means something). Batches
    are drawn with replacement. Dropout's rng comes from the loss key. Arrays stay on the
    host until the task's `load_data`; inputs of shape [n, h, w, c] count as images.

    Args:
        module: called as `module.apply({"params": φ}, inputs, rngs=...)`.
        loss: (outputs, batch) -> scalar, or (scalar, {"accuracy": ...}); `batch.targets` is
            an array, a tuple of arrays, or None.
        arrays: (inputs, targets...), all of the same length.
        batch_size: examples a batch.
        splits: shares of train, valid_inner, valid_outer and test.

    Raises:
        ValueError: arrays of different lengths, shares that leave a split empty or exceed 1,
            or a module with a collection other than params (batch statistics, for one).
    """
    inputs, *targets = (np.asarray(array) for array in arrays)
    data = _split(inputs, targets, splits)
    if batch_size < 1:
        raise ValueError(f"batch_size must be >= 1, got {batch_size}")
    example = inputs[:1]
    shapes = jax.eval_shape(
        lambda key: _variables(module, key, example), jax.random.key(0)
    )
    others = sorted(set(shapes) - {"params"})
    if others:
        raise ValueError(
            f"{type(module).__name__} has the collections {others}; a task is stateless and "
            "takes only params (use a normalization without running statistics)"
        )

    def init(key: PRNGKeyArray, data: Data) -> tuple[PyTree, tuple[()]]:
        return _variables(module, key, example)["params"], ()

    def sample_batch(key: PRNGKeyArray, data: Data, instance: Any, split: str) -> Batch:
        part = data[split]
        count = part.inputs.shape[0]
        index = jax.random.randint(key, (batch_size,), 0, count)
        return jax.tree.map(lambda array: array[index], part)

    def task_loss(
        key: PRNGKeyArray, params: PyTree, instance: Any, batch: Batch
    ) -> tuple[Any, dict[str, Any]]:
        outputs = module.apply({"params": params}, batch.inputs, rngs={"dropout": key})
        result = loss(outputs, batch)
        value, aux = result if isinstance(result, tuple) else (result, {})
        return jnp.asarray(value, jnp.float32), dict(aux)

    return Task(
        config={},
        batch_size=batch_size,
        dataset="arrays",
        input_kind="image" if inputs.ndim == 4 else "array",
        loss_floor=0.0,
        roles=roles_of(shapes["params"]),
        load_data=lambda source: data,
        init=init,
        sample_batch=sample_batch,
        loss=task_loss,
        constrain=lambda params: params,
    )


def _variables(module: nn.Module, key: PRNGKeyArray, example: Any) -> dict[str, Any]:
    k_params, k_dropout = jax.random.split(key)
    return dict(module.init({"params": k_params, "dropout": k_dropout}, example))


def _split(
    inputs: np.ndarray, targets: list[np.ndarray], splits: Sequence[float]
) -> Data:
    count = len(inputs)
    lengths = [len(inputs), *(len(target) for target in targets)]
    if len(set(lengths)) != 1:
        raise ValueError(f"arrays must have one length, got {lengths}")
    if len(splits) != len(SPLITS) or min(splits) <= 0 or sum(splits) > 1 + 1e-9:
        raise ValueError(f"splits must be 4 positive shares of at most 1, got {splits}")
    edges = [math.floor(count * share + 1e-9) for share in np.cumsum([0.0, *splits])]
    data: Data = {}
    for name, start, stop in zip(SPLITS, edges[:-1], edges[1:], strict=True):
        if start == stop:
            raise ValueError(f"{count} examples leave the split {name!r} empty")
        cut = [target[start:stop] for target in targets]
        joined = (None, cut[0] if cut else None, tuple(cut))[min(len(cut), 2)]
        data[name] = Batch(inputs[start:stop], joined)
    return data

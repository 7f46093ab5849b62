"""What a policy saw at one inner step, as a rollout buffer keeps it.

The features' scale is multiplied in. The records keep it apart, because a first layer can
fold it into its weights; but then every sample of a minibatch has first-layer weights of its
own, and the one product of a minibatch becomes as many small ones (1.5x the time of an
update's gradients, 10 weights, 800 samples).
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from opt_gym.maths.pieces import is_large
from opt_gym.records import Observation, TensorObservation


@dataclass(frozen=True)
class Together:
    """The rows of a tensor of which one array [*shape, f] is kept. counts: of each block.

    With `matrix` an architecture can put a minibatch through its first layer as one product
    without transposing (`learned.building.networks.perceptron` does).
    """

    counts: tuple[int, ...]

    def __call__(self, kept: Any) -> tuple[Any, ...]:
        """The blocks [k, *shape]."""
        rows = jnp.moveaxis(kept, -1, 0)
        ends = itertools.accumulate(self.counts)
        return tuple(
            rows[end - count : end]
            for count, end in zip(self.counts, ends, strict=True)
        )

    @staticmethod  # one function for all, for it is part of an observation's structure
    def matrix(kept: Any) -> Any:
        """The features [n, f], a row a parameter."""
        return kept.reshape(-1, kept.shape[-1])


def apart(*blocks: Any) -> tuple[Any, ...]:
    """The rows of a tensor whose blocks are kept as they are."""
    return blocks


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("kept", "numbers"),
    meta_fields=("rows",),
)
@dataclass(frozen=True)
class SeenTensor:
    """Of one tensor.

    Attributes:
        rows: kept -> the blocks of a `TensorObservation`, scaled. `Together` where all have
            one shape and architectures do not walk along them in pieces, else `apart`:
            factored blocks stay small.
        kept: see there.
        numbers: [q].
    """

    rows: Callable[..., tuple[Any, ...]]
    kept: tuple[Array, ...]
    numbers: Float[Array, " q"]

    @property
    def num_rows(self) -> int:
        """f, the features of a parameter."""
        if isinstance(self.rows, Together):
            return self.kept[0].shape[-1]
        return sum(block.shape[0] for block in self.kept)


class Seen(NamedTuple):
    """Of all tensors; numbers [s]."""

    tensors: tuple[SeenTensor, ...]
    numbers: Float[Array, " s"]


def of_observation(observation: Observation) -> Seen:
    """The observation with its scales multiplied in."""
    return Seen(tuple(map(_scaled, observation.tensors)), observation.numbers)


def to_observation(seen: Seen) -> Observation:
    """An observation that means the same; its scales are constants of the program."""
    tensors = tuple(
        TensorObservation(
            rows=tensor.rows,
            sources=tensor.kept,
            scale=jnp.ones(tensor.num_rows),
            numbers=tensor.numbers,
            matrix=tensor.rows.matrix if isinstance(tensor.rows, Together) else None,
        )
        for tensor in seen.tensors
    )
    return Observation(tensors, seen.numbers)


def _scaled(tensor: TensorObservation) -> SeenTensor:
    blocks, start = [], 0
    for block in tensor.blocks:
        scale = tensor.scale[start : start + block.shape[0]]
        blocks.append(block * scale.reshape(-1, *(1,) * (block.ndim - 1)))
        start += block.shape[0]
    same = len({block.shape[1:] for block in blocks}) == 1
    if not same or is_large(blocks[0][0]):
        return SeenTensor(apart, tuple(blocks), tensor.numbers)
    kept = jnp.moveaxis(jnp.concatenate(blocks), 0, -1)
    counts = tuple(block.shape[0] for block in blocks)
    return SeenTensor(Together(counts), (kept,), tensor.numbers)


def cleaned(tree: Any, lost: Array) -> Any:
    """The pytree with zeros for its real numbers where an episode is lost."""

    def clean(leaf: Array) -> Array:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        return jnp.where(lost, jnp.zeros_like(leaf), leaf)

    return jax.tree.map(clean, tree)

"""What a policy saw at one inner step, as a rollout buffer keeps it.

The features' scale is multiplied in. The records keep it apart, because a first layer can
fold it into its weights; but then every sample of a minibatch has first-layer weights of its
own, and the one product of a minibatch becomes as many small ones (1.5x the time of an
update's gradients, 10 weights, 800 samples).
"""

import itertools
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from opt_gym.records import Observation, TensorObservation


@dataclass(frozen=True)
class Split:
    """The blocks of a tensor, cut out of what is kept of it. counts: features of each."""

    counts: tuple[int, ...]

    def __call__(self, *kept: Any) -> tuple[Any, ...]:
        """Several blocks of one array, or the blocks themselves."""
        if len(kept) == len(self.counts):
            return kept
        ends = itertools.accumulate(self.counts)
        return tuple(
            kept[0][end - count : end]
            for count, end in zip(self.counts, ends, strict=True)
        )


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("kept", "numbers"),
    meta_fields=("split",),
)
@dataclass(frozen=True)
class SeenTensor:
    """Of one tensor.

    Attributes:
        split: kept -> the blocks of a `TensorObservation`, scaled.
        kept: one array [f, *shape] where all blocks have the tensor's shape (a minibatch is
            one gather then), else the blocks: factored ones stay small.
        numbers: [q].
    """

    split: Split
    kept: tuple[Array, ...]
    numbers: Float[Array, " q"]


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
            rows=tensor.split,
            sources=tensor.kept,
            scale=jnp.ones(sum(tensor.split.counts)),
            numbers=tensor.numbers,
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
    split = Split(tuple(block.shape[0] for block in blocks))
    if len({block.shape[1:] for block in blocks}) == 1:
        blocks = [jnp.concatenate(blocks)]
    return SeenTensor(split, tuple(blocks), tensor.numbers)


def cleaned(tree: Any, lost: Array) -> Any:
    """The pytree with zeros for its real numbers where an episode is lost."""

    def clean(leaf: Array) -> Array:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        return jnp.where(lost, jnp.zeros_like(leaf), leaf)

    return jax.tree.map(clean, tree)

"""Batches of text: windows of random examples, cut out of one flat array."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from opt_gym.records import Texts


def sample_windows(
    key: PRNGKeyArray, texts: Texts, batch_size: int, length: int
) -> tuple[Int[Array, "b t"], Float[Array, "b t"], Int[Array, " b"]]:
    """A batch of windows: (tokens int32, 0 where there is none; mask, 1 on tokens; labels).

    Examples are drawn with replacement. One that is longer than `length` gives a window
    whose start is uniform in [0, its length - `length`), the last start left out as in
    TaskSet; any other is taken from its start and padded on the right.

    Source: Metz et al. 2020, arXiv 2002.11887 (google-research/task_set, datasets).
    """
    # One draw of 32 bits instead of the two of randint. The remainder favours the first
    # examples by at most num_examples / 2^32.
    bits = jax.random.bits(key, (2, batch_size), jnp.uint32)
    index = (bits[0] % np.uint32(texts.starts.shape[0])).astype(jnp.int32)
    rows = (texts.starts, texts.lengths, texts.labels)
    start, size, labels = (jnp.take(row, index, mode="clip") for row in rows)
    choices = jnp.maximum(size - length, 1).astype(jnp.uint32)
    offset = (bits[1] % choices).astype(jnp.int32)
    place = jnp.arange(length, dtype=jnp.int32)[None, :]
    there = place < (size - offset)[:, None]
    tokens = jnp.take(texts.tokens, (start + offset)[:, None] + place, mode="clip")
    tokens = jnp.where(there, tokens.astype(jnp.int32), 0)
    return tokens, there.astype(jnp.float32), labels

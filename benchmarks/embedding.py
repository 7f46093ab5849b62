"""Gradients of embeddings: a gather's scatter-add, against forms that avoid it.

Milliseconds an unroll for the gradient of a table [v, width] at a number of token ids, four
tables at once under `lax.map` and under `vmap`, on one device.
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

SIZES = (
    (256, 1024, 37),
    (256, 6235, 37),
    (256, 6235, 231),
    (256, 6235, 234),
    (1024, 6235, 37),
    (8192, 1024, 37),
    (8192, 6235, 37),
    (30000, 6235, 64),
)
"""(v, tokens, width); 234 is 2 more than a multiple of 4, which XLA's scatter is slow at."""

COMPILER_OPTIONS = {"xla_backend_optimization_level": 1}
"""What our programs of many unrolls are compiled with."""

NUM_UNROLLS, ROUNDS = 4, 5
MOST_MULTIPLICATIONS = 4e9
"""Of a one-hot matmul that is still measured: the largest takes a second."""

Gradient = Callable[[Array, Array, Array], Array]


def gather(
    table: Float[Array, "v d"], tokens: Int[Array, " n"], d_rows: Float[Array, "n d"]
) -> Float[Array, "v d"]:
    """What `jax.grad` makes of the gather that our tasks use."""

    def rows(table: Array) -> Array:
        return jnp.take(table, tokens, axis=0, mode="clip")

    return jax.vjp(rows, table)[1](d_rows)[0]


def one_hot(
    table: Float[Array, "v d"], tokens: Int[Array, " n"], d_rows: Float[Array, "n d"]
) -> Float[Array, "v d"]:
    """A matmul with the one-hot matrix [v, n]."""
    classes = jnp.arange(table.shape[0], dtype=tokens.dtype)
    return (classes[:, None] == tokens[None, :]).astype(table.dtype) @ d_rows


def sorted_scatter(
    table: Float[Array, "v d"], tokens: Int[Array, " n"], d_rows: Float[Array, "n d"]
) -> Float[Array, "v d"]:
    """A scatter-add of rows in the order of their ids."""
    order = jnp.argsort(tokens)
    zeros = jnp.zeros_like(table)
    return zeros.at[tokens[order]].add(d_rows[order], indices_are_sorted=True)


def prefix_sums(
    table: Float[Array, "v d"], tokens: Int[Array, " n"], d_rows: Float[Array, "n d"]
) -> Float[Array, "v d"]:
    """Differences of the running sums over sorted rows: no scatter, and it rounds more."""
    order = jnp.argsort(tokens)
    sums = jnp.pad(jnp.cumsum(d_rows[order], axis=0), ((1, 0), (0, 0)))
    edges = jnp.searchsorted(tokens[order], jnp.arange(table.shape[0] + 1))
    return sums[edges[1:]] - sums[edges[:-1]]


FORMS: dict[str, Gradient] = {
    "gather": gather,
    "one_hot": one_hot,
    "sorted_scatter": sorted_scatter,
    "prefix_sums": prefix_sums,
}


def alone() -> dict[str, Any]:
    """Milliseconds of the form our tasks use, by size."""
    return {_label(size): _measure(size, ("gather",)) for size in SIZES}


def run() -> dict[str, Any]:
    """Milliseconds of every form, by size, called in turn.

    Raises:
        RuntimeError: two forms disagree.
    """
    return {_label(size): _measure(size, tuple(FORMS)) for size in SIZES}


def _label(size: tuple[int, int, int]) -> str:
    return "v {}, tokens {}, width {}".format(*size)


def _measure(size: tuple[int, int, int], names: tuple[str, ...]) -> dict[str, float]:
    vocab, count, width = size
    k_tokens, k_rows = jax.random.split(jax.random.key(0))
    shape = (NUM_UNROLLS, count)
    arrays = (
        jnp.zeros((NUM_UNROLLS, vocab, width)),
        jax.random.randint(k_tokens, shape, 0, vocab),
        jax.random.normal(k_rows, (*shape, width)),
    )
    calls = {}
    for name in names:
        if name == "one_hot" and vocab * count * width > MOST_MULTIPLICATIONS:
            continue
        for way, program in _programs(FORMS[name]).items():
            calls[f"{name} {way}"] = program
    results = [program(*arrays) for program in calls.values()]
    for name, result in zip(calls, results, strict=True):
        if not jnp.allclose(result, results[0], atol=1e-3):
            raise RuntimeError(f"{name} disagrees at {_label(size)}")
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(ROUNDS):
        for name, program in calls.items():
            began = time.perf_counter()
            jax.block_until_ready(program(*arrays))
            best[name] = min(best[name], time.perf_counter() - began)
    return {name: round(1e3 * s / NUM_UNROLLS, 3) for name, s in best.items()}


def _programs(form: Gradient) -> dict[str, Callable[..., Array]]:
    forms = {
        "map": lambda *arrays: jax.lax.map(lambda one: form(*one), arrays),
        "vmap": jax.vmap(form),
    }
    return {
        way: jax.jit(fn, compiler_options=COMPILER_OPTIONS) for way, fn in forms.items()
    }

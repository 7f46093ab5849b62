"""Recurrent layers over token ids: four cores, quick with weights of their own per unroll.

What makes them quick: the input side of all time steps is one matmul or a gather of projected
rows, before the loop; the recurrent matrices that multiply the same thing are one matrix; the
gradient of the recurrent matrices is one matmul after the loop. See `recur` for figures.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from opt_gym.tasks.building import recurrent_cores
from opt_gym.tasks.building.model import Tensor
from opt_gym.tasks.building.recurrent_cores import Cell, RecurrentCore

State = tuple[Array, ...]
"""(h [b, H],), or (h, c) of an LSTM."""


class Encoder(NamedTuple):
    """From token ids to a core's outputs.

    Attributes:
        tensors: of φ, in creation order: embedding, initial state, core.
        units: H, the width of an output.
        apply: (iterator over φ, tokens [b, t]) -> outputs [t, b, H]; takes its tensors.
    """

    tensors: tuple[Tensor, ...]
    units: int
    apply: Callable[[Iterator[Array], Array], Array]


def make_encoder(
    where: str,
    core: Any,
    vocab_size: int,
    embed_dim: int | None = None,
    trainable_init: bool = False,
) -> Encoder:
    """Embedding (or one-hot ids), then a core over all time steps, padding included.

    Ids above vocab_size - 1 count as vocab_size - 1. The embedding begins N(0, 1). The
    initial state is zeros, or rows [1, H] of φ that begin at zero.

    Args:
        where: whose config it is, for errors.
        core: a config's `core`, checked here.
        vocab_size, trainable_init: as in a config, checked by the caller.
        embed_dim: of an id's vector; None: one-hot.

    Raises:
        ValueError: no core that can be used, by name.
    Source: Sonnet 1.36 Embed and recurrent cores, as TaskSet uses them (arXiv 2002.11887).
    """
    made = recurrent_cores.make_core(where, core, embed_dim or vocab_size)
    tensors: list[Tensor] = []
    if embed_dim is not None:
        init = ("random_normal", 1.0)
        tensors.append(Tensor((vocab_size, embed_dim), "embedding", init))
    num_rows = made.num_states if trainable_init else 0
    tensors += [Tensor((1, made.units), "bias", ("zeros", None))] * num_rows
    tensors += made.tensors

    def apply(params: Iterator[Array], tokens: Array) -> Array:
        table = None if embed_dim is None else next(params)
        rows = [next(params) for _ in range(num_rows)]
        own = tuple(next(params) for _ in made.tensors)
        if not rows:
            rows = [jnp.zeros((1, made.units), own[0].dtype)] * made.num_states
        shape = (tokens.shape[0], made.units)
        state = tuple(jnp.broadcast_to(row, shape) for row in rows)
        return _outputs(made, own, table, state, tokens)

    return Encoder(tuple(tensors), made.units, apply)


def _outputs(
    core: RecurrentCore,
    params: tuple[Array, ...],
    table: Float[Array, "v e"] | None,
    state: State,
    tokens: Int[Array, "b t"],
) -> Float[Array, "t b h"]:
    weights = core.arrange(params)
    x = project_tokens(table, weights.inputs, weights.bias, tokens.T)
    return recur(core.cell, x, state, weights.recurrent, weights.recurrent_bias)


def project_tokens(
    table: Float[Array, "v e"] | None,
    kernel: Float[Array, "i g"],
    bias: Float[Array, " g"],
    tokens: Int[Array, "t b"],
) -> Float[Array, "t b g2"]:
    """Gives x K + b of every token's x: its row of the table, or one-hot without one.

    Ids are cut to [0, v - 1]. Where there are fewer rows than tokens, the rows are projected
    once and then gathered. Milliseconds a training step of a GRU language model with 256
    rows (one core, in a scan), and with all tokens projected:

        batch x time, width, units      rows      tokens
        16 x 64, 32, 48                 1.25      1.34
        64 x 40, 100, 45                3.3       4.3
        32 x 100, 70, 101               10.1      12.4
        128 x 128, 64, 64               31.1      36.9
        215 x 29, 37, 77                14.0      15.6

    A gather's gradient is a scatter-add, and it is never worth replacing on CPU.
    Milliseconds an unroll for the gradient of a table [v, width], four tables under
    `lax.map` / `vmap`, jax 0.10.2; `benchmarks/embedding.py` measures it again:

        v       tokens  width   gather         one-hot matmul   sorted, then scatter
        256     1,024   37      0.03 / 0.03    0.21 / 0.18      0.14 / 0.15
        256     6,235   37      0.11 / 0.10    0.94 / 1.4       1.1 / 1.1
        256     6,235   231     0.51 / 0.83    4.2 / 3.9        1.8 / 1.7
        256     6,235   234     4.0 / 4.1      4.4 / 4.8        5.1 / 5.2
        1,024   6,235   37      0.16 / 0.14    5.1 / 11         1.6 / 1.2
        8,192   1,024   37      0.15 / 0.08    11 / 20          0.36 / 0.22
        8,192   6,235   37      0.23 / 0.18    74 / 125         1.3 / 1.2
        30,000  6,235   64      0.88 / 0.52    (a second)       2.7 / 1.6

    Differences of prefix sums, a form without a scatter, took 2 to 20 times as long as the
    gather. The width 234: at the level of optimization that `strategy` compiles with, XLA's
    scatter takes 2.5 ns an entry where the width is 2 more than a multiple of 4, and 0.3 to
    0.6 ns elsewhere. Two columns of zeros, which `recur` ignores, follow such a g (without
    them 78 units in the last row above made 17.2).

    Args:
        table: of embeddings [v, e]; None: one-hot, and v is the kernel's i.
        kernel, bias: the input side of a core (see `Weights`): K [i, g] and b [g].
        tokens: ids [time, batch] int32.
    """
    if table is not None and table.shape[0] > tokens.size:
        # Matmuls of two axes: with three, their gradient is transposed first.
        vectors = jnp.take(table, tokens.reshape(-1), axis=0, mode="clip")
        return (vectors @ kernel + bias[None, :]).reshape(*tokens.shape, -1)
    spare = 2 if bias.shape[0] % 4 == 2 else 0
    kernel, bias = jnp.pad(kernel, ((0, 0), (0, spare))), jnp.pad(bias, (0, spare))
    rows = (kernel if table is None else table @ kernel) + bias[None, :]
    return jnp.take(rows, tokens, axis=0, mode="clip")


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def recur(
    cell: Cell,
    x: Float[Array, "t b g2"],
    state: State,
    kernels: tuple[Array, ...],
    bias: Float[Array, " g0"] | None = None,
) -> Float[Array, "t b h"]:
    """The outputs h₁ ... h_t of a cell whose inputs x are projected already.

    Its gradient is written out: the loop backwards gives the gradient of what enters the
    gates, and the gradient of the recurrent matrices is one matmul over all times after it.
    What is kept from the way there are the states and the gates. All of it is JAX that can
    be differentiated again, so backprop through training works; forward mode does not.

    Milliseconds a training step of a GRU language model with 256 rows, inside a scan (as a
    jitted step of its own), one core, jax 0.10.2:

        batch x time, width, units    written out    JAX's gradient   plain loop
        16 x 64, 32, 48               1.3 (1.3)      1.6 (1.6)        2.3 (2.3)
        32 x 40, 64, 256              15 (14)        17 (17)          18 (19)
        215 x 29, 37, 78              14.6 (14.0)    15.2 (28.7)      17.5 (34.0)

    In the last row memory is what tells: above 32 MB the system gives it page by page, anew
    in every call. Checkpoints that keep only the gates cost 1.1 times JAX's own gradient. A
    scan's `unroll` of 2 or more is slower, and slow to compile. `benchmarks/recurrent.py`
    measures the seed-0 task again.

    Shapes: x [t, b, g₂], the first g = Σ gᵢ columns in the order of the kernels' outputs and
    the others ignored; state: each [b, H]; kernels[i] [H, gᵢ]; bias [g₀] of the first.
    """
    return _forward(cell, x, state, kernels, bias)[0]


def _forward(
    cell: Cell, x: Array, state: State, kernels: tuple[Array, ...], bias: Array | None
) -> tuple[Array, Any]:
    width = kernels[0].shape[1]

    def step(state: State, x: Array) -> tuple[State, tuple[State, State]]:
        recurrent = state[0] @ kernels[0]
        if bias is not None:
            recurrent = recurrent + bias[None, :]
        gates = (cell.gates[0].of(x[:, :width] + recurrent),)
        if cell.operand is not None:
            recurrent = cell.operand(gates[0], state[0]) @ kernels[1]
            own = x[:, width : width + recurrent.shape[1]]
            gates = (*gates, cell.gates[1].of(own + recurrent))
        state = cell.update(gates, state)
        return state, (state, gates)

    _, (states, gates) = jax.lax.scan(step, state, x)
    spare = x.shape[2] - sum(kernel.shape[1] for kernel in kernels)
    ignored = jnp.zeros((x.shape[1], spare), x.dtype)
    return states[0], (gates, states, state, kernels, bias, ignored)


def _backward(cell: Cell, kept: Any, d_outputs: Array) -> tuple[Any, ...]:
    gates, states, initial, kernels, bias, ignored = kept
    width = kernels[0].shape[1]
    before = jax.tree.map(
        lambda first, rest: jnp.concatenate([first[None], rest[:-1]]), initial, states
    )

    def step(d_state: State, inputs: Any) -> tuple[State, Array]:
        d_output, gates, state = inputs
        _, pull = jax.vjp(cell.update, gates, state)
        d_gates, (d_h, *d_rest) = pull((d_state[0] + d_output, *d_state[1:]))
        if cell.operand is None:
            d_first = cell.gates[0].pull(gates[0], d_gates[0])
            d_x = (d_first, ignored)
        else:
            d_second = cell.gates[1].pull(gates[1], d_gates[1])
            _, pull = jax.vjp(cell.operand, gates[0], state[0])
            d_more, d_more_h = pull(d_second @ kernels[1].T)
            d_first = cell.gates[0].pull(gates[0], d_gates[0] + d_more)
            d_x = (d_first, d_second, ignored)
            d_h = d_h + d_more_h
        d_h = d_h + d_first @ kernels[0].T
        return (d_h, *d_rest), jnp.concatenate(d_x, axis=1)

    zeros = jax.tree.map(jnp.zeros_like, initial)
    d_initial, d_x = jax.lax.scan(step, zeros, (d_outputs, gates, before), reverse=True)
    h, d_flat = _rows(before[0]), _rows(d_x)
    d_kernels = [h.T @ d_flat[:, :width]]
    if cell.operand is not None:
        operand = cell.operand(_rows(gates[0]), h)
        own = d_flat[:, width : width + kernels[1].shape[1]]
        d_kernels.append(operand.T @ own)
    d_bias = None if bias is None else jnp.sum(d_flat[:, :width], axis=0)
    return d_x, d_initial, tuple(d_kernels), d_bias


def _rows(x: Float[Array, "t b d"]) -> Float[Array, "tb d"]:
    return x.reshape(-1, x.shape[-1])


recur.defvjp(_forward, _backward)

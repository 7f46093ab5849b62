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

from opt_gym.tasks import _cores
from opt_gym.tasks._cores import Cell, Core
from opt_gym.tasks._model import Tensor

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
    Source: Sonnet 1.36 Embed and its recurrent cores; SPEC of TaskSet, shared semantics.
    """
    made = _cores.make_core(where, core, embed_dim or vocab_size)
    tensors: list[Tensor] = []
    if embed_dim is not None:
        init = ("random_normal", 1.0)
        tensors.append(Tensor((vocab_size, embed_dim), "embedding", init))
    if trainable_init:
        row = Tensor((1, made.units), "bias", ("zeros", None))
        tensors += [row] * made.num_states
    tensors += made.tensors

    def apply(params: Iterator[Array], tokens: Array) -> Array:
        table = None if embed_dim is None else next(params)
        shape = (tokens.shape[0], made.units)
        if trainable_init:
            rows = [next(params) for _ in range(made.num_states)]
            state = tuple(jnp.broadcast_to(row, shape) for row in rows)
        else:
            state = (jnp.zeros(shape),) * made.num_states
        own = tuple(next(params) for _ in made.tensors)
        return _outputs(made, own, table, state, tokens)

    return Encoder(tuple(tensors), made.units, apply)


def _outputs(
    core: Core,
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
) -> Float[Array, "t b g"]:
    """Gives x K + b of every token's x: its row of the table, or one-hot without one.

    Ids are cut to [0, v - 1]. Where there are fewer rows than tokens, the rows are projected
    once and then gathered: 1.25 instead of 1.67 ms a training step with 256 rows and 16 x 64
    tokens of width 32, GRU of 48 units; 14.2 instead of 17.6 ms with 32 x 40 tokens and 256
    units; no difference with 215 x 29 tokens and 78 units.

    A gather's gradient is a scatter-add, and it is never worth replacing on CPU (jax
    0.10.2). Milliseconds an unroll for the gradient of a table [v, width] on 2 shared cores,
    four tables under `lax.map` / `vmap`; `benchmarks/embedding.py` measures it again:

        v       tokens  width   gather         one-hot matmul   sorted, then scatter
        256     1,024   37      0.04 / 0.03    0.19 / 0.23      0.16 / 0.16
        256     6,235   37      0.10 / 0.11    1.1 / 1.6        1.2 / 1.2
        256     6,235   234     0.85 / 0.92    4.5 / 9.0        1.8 / 1.5
        1,024   6,235   37      0.19 / 0.12    4.5 / 19         1.8 / 3.6
        8,192   1,024   37      0.13 / 0.09    12 / 27          0.30 / 0.28
        8,192   6,235   37      0.18 / 0.18    96 / 97          4.3 / 2.2
        30,000  6,235   64      1.1 / 1.4      300 / 1,400      -

    Differences of prefix sums, another form without a scatter, took 2 to 20 times as long.
    """
    if table is not None and table.shape[0] > tokens.size:
        rows = jnp.take(table, tokens, axis=0, mode="clip")
        return rows @ kernel + bias[None, None, :]
    rows = (kernel if table is None else table @ kernel) + bias[None, :]
    return jnp.take(rows, tokens, axis=0, mode="clip")


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def recur(
    cell: Cell,
    x: Float[Array, "t b g"],
    state: State,
    kernels: tuple[Array, ...],
    bias: Float[Array, " g0"] | None = None,
) -> Float[Array, "t b h"]:
    """The outputs h₁ ... h_t of a cell whose inputs x are projected already.

    Its gradient is written out: the loop backwards gives the gradient of what enters the
    nonlinearities, and the gradient of the recurrent matrices is one matmul over all times
    after it. What is kept from the way there are the states and those inputs, and the
    nonlinearities are computed again. All of it is JAX that can be differentiated again, so
    backprop through training works; forward mode does not.

    Milliseconds a training step (embedding, core, linear layer, SGD) on one core, in a scan,
    and the same with the gradient left to JAX:

        GRU, batch x time, units        written out     JAX's
        16 x 64, 48                     RECUR_A
        32 x 40, 256                    RECUR_B
        215 x 29, 78                    RECUR_C

    `unroll=2` changed nothing, 4 and 29 made compiling slow. As a jitted step of its own the
    last took RECUR_D: a step that needs more than 32 MB gets its memory from the
    system, page by page, in every call.

    Shapes: x [t, b, g], the last axis in the order of the kernels' outputs; state: each
    [b, H]; kernels[i] [H, gᵢ], Σ gᵢ = g; bias [g₀] of the first.
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
            gates = (*gates, cell.gates[1].of(x[:, width:] + recurrent))
        state = cell.update(gates, state)
        return state, (state, gates)

    _, (states, gates) = jax.lax.scan(step, state, x)
    return states[0], (gates, states, state, kernels, bias)


def _backward(cell: Cell, kept: Any, d_outputs: Array) -> tuple[Any, ...]:
    gates, states, initial, kernels, bias = kept
    width = kernels[0].shape[1]
    before = jax.tree.map(
        lambda first, rest: jnp.concatenate([first[None], rest[:-1]]), initial, states
    )

    def step(d_state: State, inputs: Any) -> tuple[State, Array]:
        d_output, gates, state = inputs
        _, pull = jax.vjp(cell.update, gates, state)
        d_gates, (d_h, *d_rest) = pull((d_state[0] + d_output, *d_state[1:]))
        if cell.operand is None:
            d_first = d_x = cell.gates[0].pull(gates[0], d_gates[0])
        else:
            d_second = cell.gates[1].pull(gates[1], d_gates[1])
            _, pull = jax.vjp(cell.operand, gates[0], state[0])
            d_more, d_more_h = pull(d_second @ kernels[1].T)
            d_first = cell.gates[0].pull(gates[0], d_gates[0] + d_more)
            d_x = jnp.concatenate([d_first, d_second], axis=1)
            d_h = d_h + d_more_h
        return (d_h + d_first @ kernels[0].T, *d_rest), d_x

    zeros = jax.tree.map(jnp.zeros_like, initial)
    d_initial, d_x = jax.lax.scan(step, zeros, (d_outputs, gates, before), reverse=True)
    h, d_flat = _rows(before[0]), _rows(d_x)
    d_kernels = [h.T @ d_flat[:, :width]]
    if cell.operand is not None:
        operand = cell.operand(_rows(gates[0]), h)
        d_kernels.append(operand.T @ d_flat[:, width:])
    d_bias = None if bias is None else jnp.sum(d_flat[:, :width], axis=0)
    return d_x, d_initial, tuple(d_kernels), d_bias


def _rows(x: Float[Array, "t b d"]) -> Float[Array, "tb d"]:
    return x.reshape(-1, x.shape[-1])


recur.defvjp(_forward, _backward)

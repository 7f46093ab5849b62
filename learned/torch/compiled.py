"""The maths of a step as one program of torch.compile, instead of a call an operation."""

from collections.abc import Callable
from typing import Any

import jax
import torch
from jaxtyping import PyTree

from opt_gym import policy
from opt_gym.maths import parts
from opt_gym.maths.array_namespace import traced
from opt_gym.records import LearnedOptimizer, Signal

Advanced = tuple[policy.Memories, Any]


class CompiledMaths:
    """`policy.advance`, compiled once for each set of tensors that steps together.

    Traced as JAX has it, without pieces and a row at a time, so that what makes a feature and
    what reads it are one loop. A million weights: minutes to compile, a quarter of the time.
    """

    def __init__(self) -> None:
        """Nothing is compiled yet."""
        self._programs: dict[Any, Callable[[list[Any]], Advanced]] = {}

    def advance(
        self, lopt: LearnedOptimizer, theta: PyTree, memories: Any, signal: Signal
    ) -> Advanced:
        """As `policy.advance`, whose arguments these are.

        Raises:
            ValueError: tensors are parts of larger ones: what they add up over processes is
                no part of a program.
        """
        if parts.known() is not None:
            raise ValueError(
                "compiled=True takes whole parameters; these are cut over processes"
            )
        leaves, structure = jax.tree.flatten((theta, memories, signal))
        key = structure, tuple((x.shape, x.stride(), x.device) for x in leaves)
        if key not in self._programs:
            self._programs[key] = _program(lopt, structure, leaves)
        return self._programs[key](leaves)


def _program(
    lopt: LearnedOptimizer, structure: Any, leaves: list[Any]
) -> Callable[[list[Any]], Advanced]:
    from torch.fx.experimental.proxy_tensor import make_fx  # a tenth of a second

    outputs: list[Any] = []

    def on_leaves(*leaves: Any) -> list[Any]:
        theta, memories, signal = jax.tree.unflatten(structure, leaves)
        after, deltas = policy.advance(lopt, theta, memories, signal)
        after = jax.tree.map(_laid_out_as, after, memories)
        flat, of_outputs = jax.tree.flatten((after, deltas))
        outputs.append(of_outputs)
        return flat

    with traced():
        graph = make_fx(on_leaves)(*leaves)
    run = torch.compile(graph, dynamic=False)
    return lambda leaves: jax.tree.unflatten(outputs[0], run(*leaves))


def _laid_out_as(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """With the axes in memory as those of `like`: the next step is the same program."""
    order = sorted(range(like.ndim), key=lambda axis: -like.stride(axis))
    back = [order.index(axis) for axis in range(like.ndim)]
    return tensor.permute(order).contiguous().permute(back)

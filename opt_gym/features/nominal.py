"""What the optimizer `nominal` looks at: gradients in units of Adam, and a loss's progress.

All averages are unbiased (divided by 1 − β^(t+1)). With m̂ and v̂ the averages of g and g²:

    rows (9, clipped to ±6): g, m̂.5, m̂.9, m̂.99 over √v̂.95; m̂.9, m̂.99, g over √v̂.999;
        φ/RMS(φ); ½·log(v̂.95/v̂.999)
    Adam's direction, unclipped: m̂.9/(√v̂.999 + 1e-8), the last row, outside the nine
    tensor (7): log RMS(φ); average (.9) of cos(m̂.9, g); ½·log mean v̂.95/mean v̂.999; RMS of
        Adam's direction; is a bias (rank < 2); is of the last layer; log fan-in / 8
    shared (9): tanh(t/τ − 1), τ = 1 … 1000; log(loss average .8/initial loss);
        log(loss average .8/loss average .98)

The slowest time feature leaves its trained range after the trained horizon, and the optimizer
with it: `time_clamp` holds t there.
"""

import math
from typing import Any, NamedTuple

from jaxtyping import PyTree

from opt_gym.checks import check_time_clamp
from opt_gym.features.mlp import times
from opt_gym.maths import accumulators as acc
from opt_gym.maths.array_namespace import (
    constant,
    mean_square,
    namespace,
    rsqrt,
    zeros,
    zeros_over,
)
from opt_gym.plugins import Spec
from opt_gym.records import Features, Memory, Observation, Signal, TensorObservation

MOMENTUM_DECAYS = (0.5, 0.9, 0.99)
MOMENT_DECAYS = (0.95, 0.999)
LOSS_DECAYS = (0.8, 0.98)
COSINE_DECAY = 0.9
TIME_SCALES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
CLIP = 6.0
ADAM_EPSILON = 1e-8
_TINY = 1e-12

ROW_NAMES = (
    *("gradient_fast", "momentum_0.5_fast", "momentum_0.9_fast", "momentum_0.99_fast"),
    *("momentum_0.9_slow", "momentum_0.99_slow", "gradient_slow"),
    *("parameter", "second_moment_ratio"),
)
TENSOR_NAMES = (
    *("log_parameter_rms", "cosine", "log_second_moment_ratio", "adam_rms"),
    *("is_bias", "is_last_layer", "log_fan_in"),
)


class NominalMoments(NamedTuple):
    """Of one tensor: blocks [3, *shape] and [2, *shape], and an average cosine []."""

    momentum: Any
    second_moment: Any
    cosine: Any


class NominalLosses(NamedTuple):
    """Averages [2] of the loss, and the first one []."""

    average: Any
    initial: Any


def make(time_clamp: int | None = None) -> Features:
    """The feature set "nominal"; its rows are the nine, and Adam's direction after them.

    Args:
        time_clamp: the largest t that the time features show; None for no limit.

    Raises:
        ValueError: a time_clamp < 1.
    """
    check_time_clamp(time_clamp)

    def init(params: PyTree) -> Memory:
        tensors = acc.leaves(params)
        like = acc.first(params)
        averages = zeros((len(LOSS_DECAYS),), like)
        return Memory(
            tensors=tuple(
                NominalMoments(
                    zeros_over(len(MOMENTUM_DECAYS), leaf),
                    zeros_over(len(MOMENT_DECAYS), leaf),
                    zeros((), leaf),
                )
                for leaf in tensors
            ),
            shared=NominalLosses(averages, zeros((), like)),
        )

    def follow(moments: NominalMoments, grad: Any) -> NominalMoments:
        momentum = acc.average(moments.momentum, grad, MOMENTUM_DECAYS)
        new = (1.0 - COSINE_DECAY) * _cosine(momentum[1], grad)
        return NominalMoments(
            momentum=momentum,
            second_moment=acc.average(
                moments.second_moment, grad * grad, MOMENT_DECAYS
            ),
            cosine=COSINE_DECAY * moments.cosine + new,
        )

    def update(f: Memory, signal: Signal) -> Memory:
        xp, losses = namespace(signal.loss), f.shared
        return Memory(
            tensors=tuple(map(follow, f.tensors, acc.leaves(signal.grad))),
            shared=NominalLosses(
                average=acc.average(losses.average, signal.loss, LOSS_DECAYS),
                initial=xp.where(signal.t == 0, signal.loss, losses.initial),
            ),
        )

    def observe(f: Memory, signal: Signal) -> Observation:
        params = acc.leaves(signal.params)
        each = zip(
            params,
            acc.leaves(signal.grad),
            f.tensors,
            signal.ages,
            _fan_ins(params),
            _is_last(params),
            strict=True,
        )
        tensors = tuple(_tensor(*parts) for parts in each)
        return Observation(tensors, _shared(f.shared, signal, time_clamp))

    return Features(
        row_names=(*ROW_NAMES, "adam_direction"),
        tensor_names=TENSOR_NAMES,
        shared_names=(
            *(f"time_{scale:g}" for scale in TIME_SCALES),
            *("log_loss_progress", "log_loss_trend"),
        ),
        needs=("loss",),
        init=init,
        update=update,
        observe=observe,
    )


def _tensor(
    param: Any, grad: Any, moments: NominalMoments, age: Any, fan_in: float, last: bool
) -> TensorObservation:
    xp = namespace(grad)
    m = moments.momentum * acc.debias(MOMENTUM_DECAYS, age, grad)
    v = moments.second_moment * acc.debias(MOMENT_DECAYS, age, grad)
    param_square = mean_square(param)
    direction = m[1] / (xp.sqrt(v[1]) + ADAM_EPSILON)
    mean_v = xp.mean(v, axis=tuple(range(1, v.ndim))) + _TINY
    numbers = xp.stack(
        [
            0.5 * xp.log(param_square + _TINY),
            moments.cosine / (1.0 - COSINE_DECAY ** (age + 1)),
            0.5 * xp.log(mean_v[0] / mean_v[1]),
            xp.sqrt(mean_square(direction) + _TINY),
        ]
    )
    static = [float(grad.ndim < 2), float(last), math.log(fan_in) / 8]
    return TensorObservation(
        rows=_rows,
        sources=(param, grad, m, v, rsqrt(param_square + _TINY)),
        scale=1.0 + zeros((len(ROW_NAMES) + 1,), grad),
        numbers=xp.concat([numbers, constant(static, grad)]),
    )


def _rows(param: Any, grad: Any, m: Any, v: Any, reciprocal_rms: Any) -> tuple:
    xp = namespace(grad)
    root = xp.sqrt(v)
    reciprocal = 1.0 / (root + ADAM_EPSILON)
    direction = m[1] * reciprocal[1]
    fast = xp.concat([grad[None], m]) * reciprocal[:1]
    slow = xp.stack([direction, m[2] * reciprocal[1], grad * reciprocal[1]])
    ratio = xp.log((root[0] + ADAM_EPSILON) * reciprocal[1])
    rest = xp.stack([param * reciprocal_rms, ratio])
    rows = xp.clip(xp.concat([fast, slow, rest]), -CLIP, CLIP)
    return rows, direction[None]


def _shared(losses: NominalLosses, signal: Signal, time_clamp: int | None) -> Any:
    xp = namespace(signal.loss)
    # log |loss|, for a loss may be negative (a log density): there it says little, safely.
    average = losses.average * acc.debias(LOSS_DECAYS, signal.t, signal.loss)
    log_average = xp.log(xp.abs(average) + _TINY)
    log_initial = xp.log(xp.abs(losses.initial) + _TINY)
    progress = xp.stack([log_average[0] - log_initial, log_average[0] - log_average[1]])
    clock = times(signal, TIME_SCALES, time_clamp)
    return xp.concat([clock, xp.clip(progress, -CLIP, CLIP)])


def _cosine(a: Any, b: Any) -> Any:
    xp = namespace(a)
    return xp.sum(a * b) * rsqrt(xp.sum(a * a) * xp.sum(b * b) + _TINY**2)


def _fan_ins(params: list[Any]) -> list[float]:
    """Inputs of each tensor; a bias has those of the kernel before it."""
    fan_in, fan_ins = 1.0, []
    for leaf in params:
        if leaf.ndim >= 2:
            fan_in = float(max(math.prod(leaf.shape[:-1]), 1))
        fan_ins.append(fan_in)
    return fan_ins


def _is_last(params: list[Any]) -> list[bool]:
    """Whether a tensor comes with or after the last kernel."""
    kernels = [i for i, leaf in enumerate(params) if leaf.ndim >= 2]
    last = kernels[-1] if kernels else len(params) - 1
    return [i >= last for i in range(len(params))]


SPEC = Spec(
    kind="features",
    name="nominal",
    make=make,
    source="ours, after Harrison et al. 2022 (arXiv:2209.11208) and Kingma & Ba 2014",
)

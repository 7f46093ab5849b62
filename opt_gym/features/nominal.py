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
from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxtyping import PyTree

from opt_gym.checks import check_time_clamp
from opt_gym.features.mlp import times
from opt_gym.maths import accumulators as acc
from opt_gym.maths.array_namespace import (
    constant,
    is_eager,
    namespace,
    rsqrt,
    zeros,
    zeros_over,
)
from opt_gym.maths.parts import whole_shapes
from opt_gym.maths.sums import sums
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

    def update(f: Memory, signal: Signal) -> Memory:
        xp, losses = namespace(signal.loss), f.shared
        return Memory(
            tensors=_follow(f.tensors, acc.leaves(signal.grad)),
            shared=NominalLosses(
                average=acc.average(losses.average, signal.loss, LOSS_DECAYS),
                initial=xp.where(signal.t == 0, signal.loss, losses.initial),
            ),
        )

    def observe(f: Memory, signal: Signal) -> Observation:
        params, grads = acc.leaves(signal.params), acc.leaves(signal.grad)
        shared = _shared(f.shared, signal, time_clamp)
        if not params:
            return Observation((), shared)
        factors = [
            (
                acc.debias(MOMENTUM_DECAYS, age, grad),
                acc.debias(MOMENT_DECAYS, age, grad),
            )
            for age, grad in zip(signal.ages, grads, strict=True)
        ]
        squares = _squares(params, f.tensors, factors)
        numbers = _numbers(params, squares, f.tensors, signal.ages)
        reciprocals = rsqrt(squares[:, 0] + _TINY)
        tensors = tuple(
            TensorObservation(
                rows=_rows,
                sources=_sources(*parts, reciprocals[i]),
                scale=1.0 + zeros((len(ROW_NAMES) + 1,), parts[0]),
                numbers=numbers[i],
            )
            for i, parts in enumerate(
                zip(params, grads, f.tensors, factors, strict=True)
            )
        )
        return Observation(tensors, shared)

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


def _follow(
    tensors: tuple[NominalMoments, ...], grads: list[Any]
) -> tuple[NominalMoments, ...]:
    momenta = [
        acc.average(moments.momentum, grad, MOMENTUM_DECAYS)
        for moments, grad in zip(tensors, grads, strict=True)
    ]
    products = sums(
        ((m[1:2], grad[None]), (m[1:2], m[1:2]), (grad[None], grad[None]))
        for m, grad in zip(momenta, grads, strict=True)
    )

    def follow(moments: NominalMoments, grad: Any, momentum: Any, sums: Any) -> Any:
        cosine = sums[0] * rsqrt(sums[1] * sums[2] + _TINY**2)
        return NominalMoments(
            momentum=momentum,
            second_moment=acc.average(
                moments.second_moment, grad * grad, MOMENT_DECAYS
            ),
            cosine=COSINE_DECAY * moments.cosine + (1.0 - COSINE_DECAY) * cosine,
        )

    return tuple(map(follow, tensors, grads, momenta, products))


def _squares(
    params: list[Any], tensors: tuple[NominalMoments, ...], factors: list[tuple]
) -> Any:
    """Mean squares over every tensor [k, 4]: φ, g short, g long (v̂ both), Adam's direction."""

    def products(param: Any, moments: NominalMoments, factors: tuple) -> tuple:
        m, v = moments.momentum, moments.second_moment
        root = namespace(m).sqrt(v[1:] * factors[1][1:])
        direction = m[1:2] * factors[0][1:2] / (root + ADAM_EPSILON)
        return (param[None], param[None]), (v, None), (direction, direction)

    def divisor(param: Any, factors: tuple) -> Any:
        size, unbiased = constant([math.prod(param.shape)], param), factors[1]
        xp = namespace(param)
        return xp.concat([size, size / xp.reshape(unbiased, (-1,)), size])

    xp = namespace(params[0])
    totals = xp.stack(sums(map(products, params, tensors, factors)))
    return totals / xp.stack(list(map(divisor, params, factors)))


def _numbers(
    params: list[Any],
    squares: Any,
    tensors: tuple[NominalMoments, ...],
    ages: Any,
) -> Any:
    """What is told of each tensor: [k, 7].

    All tensors at once, for every operation on a few numbers is a program of its own in XLA,
    and a call in torch.
    """
    xp = namespace(params[0])
    seen = squares + _TINY
    cosines = [
        moments.cosine / (1.0 - COSINE_DECAY ** (age + 1))
        for moments, age in zip(tensors, ages, strict=True)
    ]
    columns = [
        0.5 * xp.log(seen[:, 0]),
        xp.stack(cosines),
        0.5 * xp.log(seen[:, 1] / seen[:, 2]),
        xp.sqrt(seen[:, 3]),
    ]
    each = zip(params, is_last(params), fan_ins(whole_shapes(params)), strict=True)
    static = [
        constant([float(leaf.ndim < 2), float(last), math.log(fan_in) / 8], params[0])
        for leaf, last, fan_in in each
    ]
    return xp.concat([xp.stack(columns, axis=1), xp.stack(static)], axis=1)


def _sources(
    param: Any, grad: Any, moments: NominalMoments, factors: tuple, reciprocal_rms: Any
) -> tuple:
    """The averages as they are kept, with their factors beside them.

    Unbiased copies of whole tensors, written and read once more, were a fifth of the
    optimizer's time with 600,000 weights on one core.
    """
    m, v = moments.momentum, moments.second_moment
    return param, grad, m, factors[0], v, factors[1], reciprocal_rms


def _rows(
    param: Any,
    grad: Any,
    momentum: Any,
    m_factor: Any,
    second_moment: Any,
    v_factor: Any,
    reciprocal_rms: Any,
) -> tuple:
    xp = namespace(grad)
    root = [xp.sqrt(second_moment[i] * v_factor[i]) for i in range(len(MOMENT_DECAYS))]
    fast, slow = (1.0 / (one + ADAM_EPSILON) for one in root)
    ratio = xp.log((root[0] + ADAM_EPSILON) * slow)
    if is_eager(grad):  # every operation is a call: as few of them as can be
        m = momentum * m_factor
        direction = m[1] * slow
        block = [grad[None] * fast, m * fast, (m[1:] * slow), (grad * slow)[None]]
        block += [(param * reciprocal_rms)[None], ratio[None]]
        return xp.clip(xp.concat(block), -CLIP, CLIP), direction[None]
    # Blocks of one row, never a block of nine: XLA fuses what is summed row by row, and
    # asks at every element of a concatenation which row it is in.
    m = [momentum[i] * m_factor[i] for i in range(len(MOMENTUM_DECAYS))]
    direction = m[1] * slow
    rows = (
        *(row * fast for row in (grad, *m)),
        *(direction, m[2] * slow, grad * slow),
        *(param * reciprocal_rms, ratio),
    )
    return (*(xp.clip(row, -CLIP, CLIP)[None] for row in rows), direction[None])


def _shared(losses: NominalLosses, signal: Signal, time_clamp: int | None) -> Any:
    xp = namespace(signal.loss)
    # log |loss|, for a loss may be negative (a log density): there it says little, safely.
    average = losses.average * acc.debias(LOSS_DECAYS, signal.t, signal.loss)
    log_average = xp.log(xp.abs(average) + _TINY)
    log_initial = xp.log(xp.abs(losses.initial) + _TINY)
    progress = xp.stack([log_average[0] - log_initial, log_average[0] - log_average[1]])
    clock = times(signal, TIME_SCALES, time_clamp)
    return xp.concat([clock, xp.clip(progress, -CLIP, CLIP)])


def fan_ins(shapes: Sequence[tuple[int, ...]]) -> list[float]:
    """Inputs of each tensor; a bias has those of the kernel before it."""
    fan_in, fan_ins = 1.0, []
    for shape in shapes:
        if len(shape) >= 2:
            fan_in = float(max(math.prod(shape[:-1]), 1))
        fan_ins.append(fan_in)
    return fan_ins


def is_last(params: list[Any]) -> list[bool]:
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

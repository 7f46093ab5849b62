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

from opt_gym.array_namespace import mean_square, namespace, rsqrt
from opt_gym.features import _accumulators as acc
from opt_gym.features.mlp import times
from opt_gym.records import Features, Observation, Signal, Spec, TensorObservation

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


class NominalAccumulators(NamedTuple):
    """Per tensor blocks [3, *shape], [2, *shape] and a cosine []; shared loss averages [2]."""

    momentum: tuple[Any, ...]
    second_moment: tuple[Any, ...]
    cosine: tuple[Any, ...]
    loss: Any
    initial_loss: Any


def make(time_clamp: int | None = None) -> Features:
    """The feature set "nominal"; its rows are the nine, and Adam's direction after them.

    Args:
        time_clamp: the largest t that the time features show; None for no limit.
    """

    def init(params: PyTree) -> NominalAccumulators:
        tensors = acc.leaves(params)
        xp = namespace(tensors[0])
        zero = xp.zeros((), dtype=xp.float32)
        return NominalAccumulators(
            momentum=acc.zeros(params, len(MOMENTUM_DECAYS)),
            second_moment=acc.zeros(params, len(MOMENT_DECAYS)),
            cosine=tuple(zero for _ in tensors),
            loss=xp.zeros((len(LOSS_DECAYS),), dtype=xp.float32),
            initial_loss=zero,
        )

    def update(f: NominalAccumulators, signal: Signal) -> NominalAccumulators:
        xp = namespace(signal.loss)
        grads = acc.leaves(signal.grad)
        momentum = tuple(
            acc.average(m, g, MOMENTUM_DECAYS)
            for m, g in zip(f.momentum, grads, strict=True)
        )
        cosine = tuple(
            COSINE_DECAY * c + (1.0 - COSINE_DECAY) * _cosine(m[1], g)
            for c, m, g in zip(f.cosine, momentum, grads, strict=True)
        )
        return NominalAccumulators(
            momentum=momentum,
            second_moment=tuple(
                acc.average(v, g * g, MOMENT_DECAYS)
                for v, g in zip(f.second_moment, grads, strict=True)
            ),
            cosine=cosine,
            loss=acc.average(f.loss, signal.loss, LOSS_DECAYS),
            initial_loss=xp.where(signal.t == 0, signal.loss, f.initial_loss),
        )

    def observe(f: NominalAccumulators, signal: Signal) -> Observation:
        params = acc.leaves(signal.params)
        fan_ins = _fan_ins(params)
        last = _is_last(params)
        grads = acc.leaves(signal.grad)
        tensors = tuple(
            _tensor(
                param,
                grads[i],
                f.momentum[i],
                f.second_moment[i],
                f.cosine[i],
                signal.t,
                fan_ins[i],
                last[i],
            )
            for i, param in enumerate(params)
        )
        return Observation(tensors, _shared(f, signal, time_clamp))

    return Features(
        name="nominal",
        config={"time_clamp": time_clamp},
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
    param: Any,
    grad: Any,
    momentum: Any,
    second_moment: Any,
    cosine: Any,
    t: Any,
    fan_in: float,
    last: bool,
) -> TensorObservation:
    xp = namespace(grad)
    m = momentum * acc.debias(MOMENTUM_DECAYS, t, grad)
    v = second_moment * acc.debias(MOMENT_DECAYS, t, grad)
    root = xp.sqrt(v)
    reciprocal = 1.0 / (root + ADAM_EPSILON)
    direction = m[1] * reciprocal[1]
    param_square = mean_square(param)
    fast = xp.concat([grad[None], m]) * reciprocal[:1]
    slow = xp.stack([direction, m[2] * reciprocal[1], grad * reciprocal[1]])
    ratio = xp.log((root[0] + ADAM_EPSILON) * reciprocal[1])
    rest = xp.stack([param * rsqrt(param_square + _TINY), ratio])
    rows = xp.clip(xp.concat([fast, slow, rest]), -CLIP, CLIP)
    mean_v = xp.mean(v, axis=tuple(range(1, v.ndim))) + _TINY
    numbers = xp.stack(
        [
            0.5 * xp.log(param_square + _TINY),
            cosine / (1.0 - COSINE_DECAY ** (t + 1)),
            0.5 * xp.log(mean_v[0] / mean_v[1]),
            xp.sqrt(mean_square(direction) + _TINY),
        ]
    )
    static = [float(grad.ndim < 2), float(last), math.log(fan_in) / 8]
    return TensorObservation(
        blocks=(rows, direction[None]),
        scale=xp.ones((rows.shape[0] + 1,), dtype=xp.float32),
        numbers=xp.concat([numbers, xp.asarray(static, dtype=xp.float32)]),
    )


def _shared(f: NominalAccumulators, signal: Signal, time_clamp: int | None) -> Any:
    xp = namespace(signal.loss)
    t = signal.t if time_clamp is None else xp.clip(signal.t, max=time_clamp)
    # log |loss|, for a loss may be negative (a log density): there it says little, safely.
    average = f.loss * acc.debias(LOSS_DECAYS, signal.t, signal.loss)
    log_average = xp.log(xp.abs(average) + _TINY)
    log_initial = xp.log(xp.abs(f.initial_loss) + _TINY)
    progress = xp.stack([log_average[0] - log_initial, log_average[0] - log_average[1]])
    return xp.concat(
        [times(t, TIME_SCALES, signal.loss), xp.clip(progress, -CLIP, CLIP)]
    )


def _cosine(a: Any, b: Any) -> Any:
    xp = namespace(a)
    return xp.sum(a * b) * rsqrt(xp.sum(a * a) * xp.sum(b * b) + _TINY**2)


def _fan_ins(params: list[Any]) -> list[float]:
    """Inputs of each tensor; a bias has those of the kernel before it."""
    fan_in, found = 1.0, []
    for leaf in params:
        if leaf.ndim >= 2:
            fan_in = float(max(math.prod(leaf.shape[:-1]), 1))
        found.append(fan_in)
    return found


def _is_last(params: list[Any]) -> list[bool]:
    """Whether a tensor comes with or after the last kernel."""
    kernels = [i for i, leaf in enumerate(params) if leaf.ndim >= 2]
    last = kernels[-1] if kernels else len(params) - 1
    return [i >= last for i in range(len(params))]


SPEC = Spec(
    kind="features",
    name="nominal",
    make=make,
    config={"time_clamp": None},
    source="ours, after Harrison et al. 2022 (arXiv:2209.11208) and Kingma & Ba 2014",
)

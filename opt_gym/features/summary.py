"""A small flat observation of the whole training, for controllers of hyperparameters.

Shared numbers only (14): log |loss|; log ratios of its averages, .8/.98 and .8/initial; its
last change; log norms of g, φ and the last Δφ; log norm of g over its running RMS (.95);
cosine of g with its average .9; t/T; log T; whether a step was taken; the last action's size
as it shows in Δφ (log ‖Δφ‖/‖g‖, and the cosine of Δφ with −g, g being the new one: features
see signals, not actions). Each is clipped to
±10. No row a parameter, so a stock MLP policy fits.
"""

from typing import Any, NamedTuple

from jaxtyping import PyTree

from opt_gym.array_namespace import namespace
from opt_gym.features import _accumulators as acc
from opt_gym.records import Features, Observation, Signal, Spec, TensorObservation

LOSS_DECAYS = (0.8, 0.98)
CLIP = 10.0
_TINY = 1e-12
NAMES = (
    *("log_loss", "log_loss_trend", "log_loss_progress", "log_loss_change"),
    *("log_gradient_norm", "log_parameter_norm", "log_update_norm"),
    *("log_gradient_surprise", "cosine", "time", "log_horizon", "has_stepped"),
    *("log_step_ratio", "step_cosine"),
)


class SummaryAccumulators(NamedTuple):
    """momentum and last_params like φ; loss averages [2]; the rest scalars."""

    momentum: tuple[Any, ...]
    last_params: tuple[Any, ...]
    loss: Any
    initial_loss: Any
    last_log_loss: Any
    log_loss_change: Any
    square: Any
    update_square: Any
    update_dot: Any


def make() -> Features:
    """The feature set "summary"."""

    def init(params: PyTree) -> SummaryAccumulators:
        tensors = acc.leaves(params)
        xp = namespace(tensors[0])
        zero = xp.zeros((), dtype=xp.float32)
        zeros = tuple(xp.zeros_like(leaf) for leaf in tensors)
        averages = xp.zeros((len(LOSS_DECAYS),), dtype=xp.float32)
        return SummaryAccumulators(zeros, zeros, averages, *[zero] * 6)

    def update(f: SummaryAccumulators, signal: Signal) -> SummaryAccumulators:
        xp = namespace(signal.loss)
        params, grads = acc.leaves(signal.params), acc.leaves(signal.grad)
        first = signal.t == 0
        log_loss = _log(signal.loss)
        moved = [p - q for p, q in zip(params, f.last_params, strict=True)]
        return SummaryAccumulators(
            momentum=tuple(
                0.9 * m + 0.1 * g for m, g in zip(f.momentum, grads, strict=True)
            ),
            last_params=tuple(params),
            loss=acc.average(f.loss, signal.loss, LOSS_DECAYS),
            initial_loss=xp.where(first, signal.loss, f.initial_loss),
            last_log_loss=log_loss,
            log_loss_change=xp.where(first, 0.0, log_loss - f.last_log_loss),
            square=0.95 * f.square + 0.05 * _dot(grads, grads),
            update_square=xp.where(first, 0.0, _dot(moved, moved)),
            update_dot=xp.where(first, 0.0, _dot(moved, grads)),
        )

    def observe(f: SummaryAccumulators, signal: Signal) -> Observation:
        xp = namespace(signal.loss)
        params, grads = acc.leaves(signal.params), acc.leaves(signal.grad)
        average = f.loss * acc.debias(LOSS_DECAYS, signal.t, signal.loss)
        square = _dot(grads, grads)
        usual = f.square / (1.0 - 0.95 ** (signal.t + 1))
        alignment = _dot(f.momentum, grads) / (
            xp.sqrt(_dot(f.momentum, f.momentum) * square) + _TINY
        )
        values = [
            _log(signal.loss),
            _log(average[0]) - _log(average[1]),
            _log(average[0]) - _log(f.initial_loss),
            f.log_loss_change,
            0.5 * _log(square),
            0.5 * _log(_dot(params, params)),
            0.5 * _log(f.update_square),
            0.5 * (_log(square) - _log(usual)),
            alignment,
            signal.t / signal.horizon,
            xp.log(1.0 * signal.horizon),
            1.0 * (signal.t > 0),
            0.5 * (_log(f.update_square) - _log(square)),
            -f.update_dot / (xp.sqrt(f.update_square * square) + _TINY),
        ]
        nothing = xp.zeros((0,), dtype=xp.float32)
        tensors = tuple(TensorObservation((), nothing, nothing) for _ in params)
        return Observation(tensors, xp.clip(xp.stack(values), -CLIP, CLIP))

    return Features(
        name="summary",
        config={},
        row_names=(),
        tensor_names=(),
        shared_names=NAMES,
        needs=("loss", "horizon"),
        init=init,
        update=update,
        observe=observe,
    )


def _log(x: Any) -> Any:
    xp = namespace(x)
    return xp.log(xp.abs(x) + _TINY)


def _dot(a: Any, b: Any) -> Any:
    return sum(namespace(x).sum(x * y) for x, y in zip(a, b, strict=True))


SPEC = Spec(
    kind="features",
    name="summary",
    make=make,
    config={},
    source="ours; the quantities of Xu et al. 2019 (arXiv:1909.09712) and DACBench",
)

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

from opt_gym.features.none import nothing
from opt_gym.maths import accumulators as acc
from opt_gym.maths.array_namespace import namespace, zeros
from opt_gym.plugins import Spec
from opt_gym.records import Features, Memory, Observation, Signal

LOSS_DECAYS = (0.8, 0.98)
CLIP = 10.0
_TINY = 1e-12
NAMES = (
    *("log_loss", "log_loss_trend", "log_loss_progress", "log_loss_change"),
    *("log_gradient_norm", "log_parameter_norm", "log_update_norm"),
    *("log_gradient_surprise", "cosine", "time", "log_horizon", "has_stepped"),
    *("log_step_ratio", "step_cosine"),
)


class SeenOfTensor(NamedTuple):
    """Of one tensor: the average gradient, and the weights at the last step."""

    momentum: Any
    last_params: Any


class LossProgress(NamedTuple):
    """Of the whole training: loss averages [2], the rest scalars."""

    loss: Any
    initial_loss: Any
    last_log_loss: Any
    log_loss_change: Any
    square: Any
    update_square: Any
    update_dot: Any


def make() -> Features:
    """The feature set "summary"."""

    def init(params: PyTree) -> Memory:
        tensors = acc.leaves(params)
        first = acc.first(params)
        averages, zero = zeros((len(LOSS_DECAYS),), first), zeros((), first)
        blank = [namespace(leaf).zeros_like(leaf) for leaf in tensors]
        return Memory(
            tensors=tuple(SeenOfTensor(leaf, leaf) for leaf in blank),
            shared=LossProgress(averages, *[zero] * 6),
        )

    def update(f: Memory, signal: Signal) -> Memory:
        xp = namespace(signal.loss)
        params, grads = acc.leaves(signal.params), acc.leaves(signal.grad)
        first = signal.t == 0
        log_loss = _log(signal.loss)
        moved = [p - q.last_params for p, q in zip(params, f.tensors, strict=True)]
        then = f.shared
        return Memory(
            tensors=tuple(
                SeenOfTensor(0.9 * q.momentum + 0.1 * g, p)
                for p, q, g in zip(params, f.tensors, grads, strict=True)
            ),
            shared=LossProgress(
                loss=acc.average(then.loss, signal.loss, LOSS_DECAYS),
                initial_loss=xp.where(first, signal.loss, then.initial_loss),
                last_log_loss=log_loss,
                log_loss_change=xp.where(first, 0.0, log_loss - then.last_log_loss),
                square=0.95 * then.square + 0.05 * _dot(grads, grads),
                update_square=xp.where(first, 0.0, _dot(moved, moved)),
                update_dot=xp.where(first, 0.0, _dot(moved, grads)),
            ),
        )

    def observe(f: Memory, signal: Signal) -> Observation:
        xp = namespace(signal.loss)
        params, grads = acc.leaves(signal.params), acc.leaves(signal.grad)
        momenta, seen = [q.momentum for q in f.tensors], f.shared
        average = seen.loss * acc.debias(LOSS_DECAYS, signal.t, signal.loss)
        square = _dot(grads, grads)
        usual = seen.square / (1.0 - 0.95 ** (signal.t + 1))
        alignment = _dot(momenta, grads) / (
            xp.sqrt(_dot(momenta, momenta) * square) + _TINY
        )
        values = [
            _log(signal.loss),
            _log(average[0]) - _log(average[1]),
            _log(average[0]) - _log(seen.initial_loss),
            seen.log_loss_change,
            0.5 * _log(square),
            0.5 * _log(_dot(params, params)),
            0.5 * _log(seen.update_square),
            0.5 * (_log(square) - _log(usual)),
            alignment,
            signal.t / signal.horizon,
            xp.log(1.0 * signal.horizon),
            1.0 * (signal.t > 0),
            0.5 * (_log(seen.update_square) - _log(square)),
            -seen.update_dot / (xp.sqrt(seen.update_square * square) + _TINY),
        ]
        return nothing(signal, xp.clip(xp.stack(values), -CLIP, CLIP))

    return Features(
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
    source="ours; the quantities of Xu et al. 2019 (arXiv:1909.09712) and DACBench",
)

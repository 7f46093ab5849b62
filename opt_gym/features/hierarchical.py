"""What the hierarchical optimizer of Metz et al. 2020 looks at: parameters, tensors, losses.

Gradients are clipped, element by element, at ten times a running size of them:

    s₀ = 0.01,  b = 10·s/(1 − .99^(t+1)),  g = clip(gradient, ±b),
    s ← .99 s + .01 √(1e-8 + mean over tensors of mean g²)

    m ← β m + (1−β) g,  v ← β v + (1−β) g²,  r = 1/√(v + 1e-6)   for five decays β

23 features of a parameter: g; φ; log(|φ| + 1e-8); m (5); v (5); m·r (5); r (5)
    scale of feature j over a tensor: 1/√(1e-5 + mean x_j²)

18 numbers of a tensor, with L(x) = clip(log(1e-8 + |x|), ±5), m and v pooled over β:
    L‖g‖, L‖φ‖; L of the means of m, v, φ, and of their variances; the signs of the means;
    is 0-d (1 or −1); log of the first four axes' lengths − 1: the sixteen for a tensor's
    network; and for a parameter's network log of its number of parameters, log(‖φ‖ + 1e-8)

Shared: a feature of the loss for each of `loss_decays`, one of the validation loss for each
of `valid_decays`, sin(t/(πτ)) for τ = 1, 3, 10, … 100,000, log of the number of tensors − 1.

    μ ← β μ + (1−β) ℓ,  q ← β q + (1−β)(μ − ℓ)²,  unbiased by 1/(1 − β^(t+1) + 1e-8)
    feature = clip((ℓ − μ)/√(q + 1e-8), ±5)
    validation: its own average ν, unbiased by 1/(1 − β^n) after n of its losses, in the units
    of the first loss decay: clip((ν − μ)/√(q + 1e-8), ±5)

so that a validation loss above the training loss shows. Neither the average of the gradients
nor that of their squares is unbiased.

differs: before the first validation loss its feature is 0 (the source has the clipped place
of a loss of zero). A validation loss comes with a step, and does not count as one. A tensor
of more than four axes shows its first four. A mean of less than 1e-5 standard deviations
counts as 0 (see `statistics`). In the source there is one decay of each kind,
(0.9,) and (0.95,); "several time scales" are what a talk says of it, hence the lists.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxtyping import PyTree

from opt_gym.checks import check_between, check_time_clamp
from opt_gym.features.mlp import DECAYS, MlpMoments, follow, start
from opt_gym.maths import accumulators as acc
from opt_gym.maths.array_namespace import (
    constant,
    mean_square,
    namespace,
    rsqrt,
    sign,
    zeros,
)
from opt_gym.maths.limits import LIMIT, hold
from opt_gym.maths.pieces import mean_squares
from opt_gym.plugins import Spec
from opt_gym.records import Features, Memory, Observation, Signal, TensorObservation

LOSS_DECAYS = (0.9,)
VALID_DECAYS = (0.95,)
TIME_SCALES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5)
SIZE_DECAY = 0.99
CLIP_FACTOR = 10.0
LOG_LIMIT = 5.0
NUM_AXES = 4
_TINY = 1e-8

STATISTICS = (
    *("log_gradient_norm", "log_parameter_norm"),
    *("log_mean_momentum", "log_mean_second_moment", "log_mean_parameter"),
    *("log_var_momentum", "log_var_second_moment", "log_var_parameter"),
    *("sign_mean_momentum", "sign_mean_second_moment", "sign_mean_parameter"),
    "is_scalar",
    *(f"log_length_{axis}" for axis in range(NUM_AXES)),
)
"""The numbers of a tensor that are for its own network, before two for its parameters'."""


class Training(NamedTuple):
    """Of all tensors.

    Shapes: gradient_size [], its running average; bound [], where the last gradients were
    clipped; mean and variance of the loss, one a loss decay; valid_mean, one a decay of the
    validation loss; num_valid [], how many of these there were.
    """

    gradient_size: Any
    bound: Any
    mean: Any
    variance: Any
    valid_mean: Any
    num_valid: Any


def make(
    time_clamp: int | None = None,
    loss_decays: Sequence[float] = LOSS_DECAYS,
    valid_decays: Sequence[float] = VALID_DECAYS,
) -> Features:
    """The feature set "hierarchical".

    Args:
        time_clamp: the largest t that the time features show; None for no limit.
        loss_decays: of the averages of the loss, a feature each; none, and no loss is needed.
        valid_decays: of the averages of the validation loss, where there is one.

    Raises:
        ValueError: a setting out of its range, or valid_decays without loss_decays.
    """
    loss_decays, valid_decays = tuple(loss_decays), tuple(valid_decays)
    check_time_clamp(time_clamp)
    for decay in loss_decays:
        check_between("each of loss_decays", decay, 0.0, 1.0, closed="left")
    for decay in valid_decays:
        check_between("each of valid_decays", decay, 0.0, 1.0, closed="left")
    if valid_decays and not loss_decays:
        raise ValueError("valid_decays need loss_decays, whose units they are shown in")

    def init(params: PyTree) -> Memory:
        like = acc.first(params)
        of_loss = zeros((len(loss_decays),), like)
        return Memory(
            tensors=tuple(start(leaf) for leaf in acc.leaves(params)),
            shared=Training(
                gradient_size=zeros((), like) + (1.0 - SIZE_DECAY),
                bound=zeros((), like),
                mean=of_loss,
                variance=of_loss,
                valid_mean=zeros((len(valid_decays),), like),
                num_valid=zeros((), like),
            ),
        )

    def update(f: Memory, signal: Signal) -> Memory:
        training = _follow_losses(f.shared, signal, loss_decays, valid_decays)
        training, grads = _clip(training, acc.leaves(signal.grad), signal.t)
        return Memory(tuple(map(follow, f.tensors, grads)), training)

    def observe(f: Memory, signal: Signal) -> Observation:
        xp = namespace(signal.loss)
        params, grads = acc.leaves(signal.params), acc.leaves(signal.grad)
        each = zip(params, grads, f.tensors, strict=True)
        tensors = tuple(_look(*parts, f.shared.bound) for parts in each)
        losses = _loss_features(f.shared, signal, loss_decays, valid_decays)
        count = constant((math.log(max(len(params), 1)) - 1.0,), signal.loss)
        clock = waves(signal, TIME_SCALES, time_clamp)
        return Observation(tensors, xp.concat([losses, clock, count]))

    return Features(
        row_names=_row_names(),
        tensor_names=(*STATISTICS, "log_size", "log_norm"),
        shared_names=(
            *(f"loss_{decay:g}" for decay in loss_decays),
            *(f"valid_loss_{decay:g}" for decay in valid_decays),
            *(f"wave_{scale:g}" for scale in TIME_SCALES),
            "log_num_tensors",
        ),
        needs=("loss",) if loss_decays else (),
        init=init,
        update=update,
        observe=observe,
    )


def waves(signal: Signal, scales: tuple[float, ...], clamp: int | None = None) -> Any:
    """sin(t/(πτ)) for each time scale τ, t at most `clamp`. Shape [k]."""
    waves = constant(tuple(math.pi * scale for scale in scales), signal.loss)
    return namespace(signal.loss).sin(acc.clock(signal, clamp) / waves)


def log_magnitude(x: Any) -> Any:
    """log(1e-8 + |x|), within ±5."""
    xp = namespace(x)
    return xp.clip(xp.log(_TINY + xp.abs(x)), -LOG_LIMIT, LOG_LIMIT)


def statistics(blocks: Sequence[Any]) -> tuple[Any, Any]:
    """Means and variances of whole arrays, two vectors.

    A mean of less than 1e-5 standard deviations is given as 0: the gradient of a softmax's
    last layer has a mean of 0, and what is found of it are rounding errors, whose sign would
    be noise that no two programs share.
    """
    xp = namespace(blocks[0])
    means = xp.stack([xp.mean(block) for block in blocks])
    variances = xp.stack([xp.var(block) for block in blocks])
    significant = xp.abs(means) > 1e-5 * xp.sqrt(variances)
    return xp.where(significant, means, 0.0), variances


def _clip(training: Training, grads: list[Any], t: Any) -> tuple[Training, list[Any]]:
    xp = namespace(training.bound)
    size = training.gradient_size
    bound = CLIP_FACTOR * size / (1.0 - SIZE_DECAY ** (t + 1))
    grads = [xp.clip(grad, -bound, bound) for grad in grads]
    square = sum(mean_square(grad) for grad in grads) / max(len(grads), 1)
    size = SIZE_DECAY * size + (1.0 - SIZE_DECAY) * xp.sqrt(_TINY + square)
    return training._replace(gradient_size=size, bound=bound), grads


def _follow_losses(
    training: Training,
    signal: Signal,
    loss_decays: Sequence[float],
    valid_decays: Sequence[float],
) -> Training:
    xp, loss = namespace(signal.loss), signal.loss
    mean = acc.average(training.mean, loss, loss_decays)
    off, decay = mean - loss, constant(loss_decays, loss)
    valid_mean = acc.average(training.valid_mean, signal.valid_loss, valid_decays)
    had = signal.has_valid
    return training._replace(
        mean=mean,
        variance=decay * training.variance + (1.0 - decay) * off * off,
        valid_mean=xp.where(had, valid_mean, training.valid_mean),
        num_valid=xp.where(had, training.num_valid + 1.0, training.num_valid),
    )


def _loss_features(
    training: Training,
    signal: Signal,
    loss_decays: Sequence[float],
    valid_decays: Sequence[float],
) -> Any:
    xp = namespace(signal.loss)
    if not loss_decays:
        return zeros((0,), signal.loss)
    unbiased = 1.0 / (
        1.0 - constant(loss_decays, signal.loss) ** (signal.t + 1) + _TINY
    )
    mean, reciprocal = (
        training.mean * unbiased,
        rsqrt(training.variance * unbiased + _TINY),
    )
    of_loss = (signal.loss - mean) * reciprocal
    # max: before the first one, 0/0 is not to be.
    num = xp.clip(training.num_valid, min=1.0)
    valid = training.valid_mean / (1.0 - constant(valid_decays, signal.loss) ** num)
    of_valid = (valid - mean[0]) * reciprocal[0]
    seen = xp.where(training.num_valid > 0.0, of_valid, 0.0)
    return xp.clip(xp.concat([of_loss, seen]), -LOG_LIMIT, LOG_LIMIT)


def _look(param: Any, grad: Any, moments: MlpMoments, bound: Any) -> TensorObservation:
    xp = namespace(grad)
    sources = (param, grad, bound, *moments)
    squares = mean_squares(_rows, sources, param)
    size = math.prod(param.shape)
    # A root of 0 has no derivative, and a bias begins as 0.
    within = xp.clip(squares[:2], max=LIMIT * LIMIT)
    grad_norm, param_norm = (xp.sqrt(size * within[i] + 1e-24) for i in (0, 1))
    means, variances = statistics((*moments, hold(param)))
    logs = log_magnitude(
        xp.concat([xp.stack([grad_norm, param_norm]), means, variances])
    )
    known = (*_shape_numbers(tuple(param.shape)), math.log(max(size, 1)))
    log_norm = xp.log(param_norm + _TINY)
    numbers = xp.concat([logs, sign(means), constant(known, grad), log_norm[None]])
    return TensorObservation(_rows, sources, rsqrt(1e-5 + squares), numbers)


def _rows(
    param: Any, grad: Any, bound: Any, momentum: Any, second_moment: Any
) -> tuple[Any, ...]:
    xp = namespace(grad)
    grad = xp.clip(grad, -bound, bound)
    log_param = xp.log(xp.abs(param) + _TINY)
    reciprocal = rsqrt(second_moment + 1e-6)
    return (
        xp.stack([grad, param, log_param]),
        momentum,
        second_moment,
        momentum * reciprocal,
        reciprocal,
    )


def _shape_numbers(shape: tuple[int, ...]) -> tuple[float, ...]:
    lengths = (*shape, *[1] * NUM_AXES)[:NUM_AXES]
    logs = (math.log(max(length, 1)) - 1.0 for length in lengths)
    return (1.0 if not shape else -1.0, *logs)


def _row_names() -> tuple[str, ...]:
    def each(prefix: str) -> list[str]:
        return [f"{prefix}_{decay:g}" for decay in DECAYS]

    return (
        *("gradient", "parameter", "log_parameter"),
        *each("momentum"),
        *each("second_moment"),
        *each("normalized_momentum"),
        *each("reciprocal_rms"),
    )


SPEC = Spec(
    kind="features",
    name="hierarchical",
    make=make,
    source="Metz et al. 2020, arXiv:2009.11243; google/learned_optimization, "
    "learned_optimizers/rnn_mlp_lopt.py",
)

"""What VeLO and Celo look at: 30 features of a parameter, 12 of a tensor, 18 of the run.

Gradients are clipped to ±1000 before anything else. The averages m, v, r, c, their decays
and the factor a are those of features "adafactor".

    30 features of a parameter: g; clip(g, ±0.1); φ; m (3); v; m·(v + 1e-6)^−½ (3);
        (v + 1e-6)^−½; a·g (3); g·(v + 1e-6)^−½; r (3); c (3); (r + 1e-8)^−½ (3);
        (c + 1e-8)^−½ (3); a·m (3)
    scale of feature j over a tensor: 1/√(1e-5 + mean x_j²)

For a tensor with fewer than two axes r and c are both the full average s of g², a·g is
g·(s + 1e-9)^−½ and a·m is m·s^−½ (where features "adafactor" have m·(s + 1e-6)^−½).

    12 numbers of a tensor, from the averages as they were before this gradient; with
        n = 1/RMS(φ) and L(x) = ½·clip(log(1e-8 + |10 x|), ±5): L(mean of n·v); the number of
        axes longer than one, 0 to 4, as five indicators; L(mean of (n·m − mean n·m)²) (3);
        L(mean of (n·v − mean n·m)²) (3)
    9 times: tanh(10·(min(t/T, 1) − τ)), τ = .03, .1, .2, .4, .6, .8, .9, 1, 1.1
    9 of the loss ℓ: ten averages a_k with time constants h_k from 10 to T at equal ratios,

        u_k = 1/(1 − e^(−(t+1)/h_k)),   ℓ ← min(ℓ, 2·|max_k u_k a_k|) but for t = 0
        a_k ← a_k + (1 − e^(−1/h_k))·(ℓ − a_k),   b_k ← min(b_k, u_k a_k)
        clip((u_k a_k − b_k)/max(u_(k+1) a_(k+1) − b_k, 1e-8) − 1, ±1), or 0 while t < 2

        with w_k = (1 − e^(−1/h_k))·u_k and x_k = ℓ − u_k a_k, these are kept and change thus:
        u_k a_k by w_k x_k;  B_k = u_k a_k − b_k to max(B_k + w_k x_k, 0);
        D_k = u_(k+1) a_(k+1) − u_k a_k to (1 − w_(k+1)) D_k + (w_(k+1) − w_k) x_k

As published: the last three numbers of a tensor are taken around the mean of m and not of v,
n multiplies v once and is not squared, and the limit of ℓ is divided as if t + 1 losses had
been averaged when it is t.

differs: t/T stays at 1 beyond the horizon; s is held above 1e-24 in s^−½, so that this can be
differentiated where a gradient is zero.

`tensor_numbers=False` leaves out the 12, as Celo does, and `parameter_rows=False` also the 30,
with all that is remembered of a tensor, as Celo-Adam does. `bugged_loss_features=True` takes
10 for T in the h_k, as the published VeLO does: all ten averages are then the same.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxtyping import PyTree

from opt_gym.features import adafactor
from opt_gym.features.none import nothing
from opt_gym.maths import accumulators as acc
from opt_gym.maths.array_namespace import constant, mean_square, namespace, rsqrt, zeros
from opt_gym.maths.limits import hold
from opt_gym.maths.pieces import mean_squares
from opt_gym.plugins import Spec
from opt_gym.records import Features, Memory, Observation, Signal, TensorObservation

GRADIENT_LIMIT = 1000.0
CLIP = 0.1
FRACTIONS = (0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0, 1.1)
NUM_AVERAGES = 10
SHORTEST = 10.0
NUM_RANKS = 5
NUM_FACTORED = 15
_TINY = 1e-9
_NO_SQUARE = 1e-24  # the derivative of x^−½ there still is a number of float32


class TensorMemory(NamedTuple):
    """Averages, and the 12 numbers of those before; [0] where these are left out."""

    moments: adafactor.AdafactorMoments
    numbers: Any


class VeloLosses(NamedTuple):
    """What the 9 numbers of the loss are made of, and these.

    These are quotients of small differences of averages. As differences they would be what
    rounding leaves of them, and another number in every program of the same step.

    Shapes: average [10], unbiased; slower [9], the next average less this one; above [9],
    the average less its lowest; progress [9].
    """

    average: Any
    slower: Any
    above: Any
    progress: Any


def make(
    tensor_numbers: bool = True,
    bugged_loss_features: bool = False,
    parameter_rows: bool = True,
) -> Features:
    """The feature set "velo".

    Args:
        tensor_numbers: whether tensors have their 12 numbers (VeLO) or none (Celo).
        bugged_loss_features: time constants as if the horizon were 10.
        parameter_rows: whether parameters have their 30 features; without them there are no
            averages that the 12 numbers could be made of.
    """
    tensor_numbers = tensor_numbers and parameter_rows
    names = TENSOR_NAMES if tensor_numbers else ()

    def init(params: PyTree) -> Memory:
        start = zeros((NUM_AVERAGES,), acc.first(params))
        tensors = tuple(
            TensorMemory(adafactor.start(leaf), zeros((len(names),), leaf))
            for leaf in (acc.leaves(params) if parameter_rows else ())
        )
        return Memory(tensors, VeloLosses(start, *(start[:-1],) * 3))

    def follow(memory: TensorMemory, param: Any, grad: Any) -> TensorMemory:
        before = memory.moments
        after = adafactor.follow(before, limited(grad), adafactor.constants(grad))
        seen = _numbers(param, before) if tensor_numbers else memory.numbers
        return TensorMemory(after, seen)

    def update(f: Memory, signal: Signal) -> Memory:
        params, grads = acc.leaves(signal.params), acc.leaves(signal.grad)
        shared = _follow_loss(f.shared, signal, bugged_loss_features)
        if not parameter_rows:
            return f._replace(shared=shared)
        return Memory(tuple(map(follow, f.tensors, params, grads)), shared)

    def tensor(memory: TensorMemory, param: Any, grad: Any) -> TensorObservation:
        return look(param, limited(grad), memory.moments, memory.numbers)

    def observe(f: Memory, signal: Signal) -> Observation:
        params, grads = acc.leaves(signal.params), acc.leaves(signal.grad)
        xp = namespace(signal.loss)
        numbers = xp.concat([_times(signal), f.shared.progress])
        if not parameter_rows:
            return nothing(signal, numbers)
        return Observation(tuple(map(tensor, f.tensors, params, grads)), numbers)

    return Features(
        row_names=ROW_NAMES if parameter_rows else (),
        tensor_names=names,
        shared_names=SHARED_NAMES,
        needs=("loss", "horizon"),
        init=init,
        update=update,
        observe=observe,
    )


def limited(grad: Any) -> Any:
    """The gradient, each of its numbers at most 1000 in size."""
    return namespace(grad).clip(grad, -GRADIENT_LIMIT, GRADIENT_LIMIT)


def look(
    param: Any,
    grad: Any,
    moments: adafactor.AdafactorMoments,
    numbers: Any = None,
    *,
    moment_floor: float = 1e-6,
    scale_floor: float = 1e-5,
    factored_vectors: bool = True,
) -> TensorObservation:
    """The 30 features of a tensor.

    Args:
        param, grad, moments: of it, the gradient within its limits.
        numbers: what else is seen of it; none by default.
        moment_floor: added to v before its root is taken.
        scale_floor: added to a feature's mean square.
        factored_vectors: whether a tensor with fewer than two axes has the 15 features that
            are made of r and c alone or with m; else these are zeros.
    """
    floor = constant(moment_floor, grad)
    sources = (param, grad, *moments[:2])
    if adafactor.factored_axes(tuple(param.shape)) is not None:
        factors = adafactor.factors(moments, tuple(param.shape))
        rows, sources = _factored_rows, (*sources, *moments[2:], *factors, floor)
    else:
        rows = _diagonal_rows if factored_vectors else _plain_rows
        sources = (*sources, moments.rows, floor)
    scale = rsqrt(scale_floor + mean_squares(rows, sources, param))
    numbers = zeros((0,), grad) if numbers is None else numbers
    return TensorObservation(rows, sources, scale, numbers)


def _factored_rows(
    param: Any,
    grad: Any,
    momentum: Any,
    second_moment: Any,
    rows: Any,
    columns: Any,
    row_factor: Any,
    column_factor: Any,
    floor: Any,
) -> tuple[Any, ...]:
    preconditioned = grad[None] * row_factor * column_factor
    return (
        *_first_rows(param, grad, momentum, second_moment, preconditioned, floor),
        rows,
        columns,
        rsqrt(rows + 1e-8),
        rsqrt(columns + 1e-8),
        momentum * row_factor * column_factor,
    )


def _diagonal_rows(
    param: Any, grad: Any, momentum: Any, second_moment: Any, full: Any, floor: Any
) -> tuple[Any, ...]:
    of_full = rsqrt(full + 1e-8)
    preconditioned = grad[None] * _floored_rsqrt(full + _TINY)
    return (
        *_first_rows(param, grad, momentum, second_moment, preconditioned, floor),
        full,
        full,
        of_full,
        of_full,
        momentum * rsqrt(namespace(full).clip(full, min=_NO_SQUARE)),
    )


def _plain_rows(
    param: Any, grad: Any, momentum: Any, second_moment: Any, full: Any, floor: Any
) -> tuple[Any, ...]:
    preconditioned = grad[None] * _floored_rsqrt(full + _TINY)
    none = zeros((NUM_FACTORED, *(1,) * grad.ndim), grad)
    return (
        *_first_rows(param, grad, momentum, second_moment, preconditioned, floor),
        none,
    )


def _first_rows(
    param: Any,
    grad: Any,
    momentum: Any,
    second_moment: Any,
    preconditioned: Any,
    floor: Any,
) -> tuple[Any, ...]:
    reciprocal = rsqrt(second_moment + floor)
    return (
        grad[None],
        namespace(grad).clip(grad[None], -CLIP, CLIP),
        param[None],
        momentum,
        second_moment,
        momentum * reciprocal,
        reciprocal,
        preconditioned,
        grad[None] * reciprocal,
    )


def _numbers(param: Any, moments: adafactor.AdafactorMoments) -> Any:
    """The 12 of one tensor."""
    xp, m, v = namespace(param), moments.momentum, moments.second_moment
    axes = tuple(range(1, m.ndim))
    mean_m = xp.mean(m, axis=axes, keepdims=True)
    spread = mean_squares(_centred, (m, v, mean_m), param)
    n = _floored_rsqrt(mean_square(hold(param)))
    num_long = sum(size > 1 for size in param.shape)
    rank = constant([float(num_long == rank) for rank in range(NUM_RANKS)], param)
    mean_v = xp.mean(v, axis=axes)
    return xp.concat([_log(n * mean_v), rank, _log(n * n * spread)])


def _centred(momentum: Any, second_moment: Any, mean: Any) -> tuple[Any, ...]:
    return momentum - mean, second_moment - mean


def _log(x: Any) -> Any:
    xp = namespace(x)
    return 0.5 * xp.clip(xp.log(1e-8 + xp.abs(10.0 * x)), -5.0, 5.0)


def _times(signal: Signal) -> Any:
    xp = namespace(signal.loss)
    fraction = xp.clip(signal.t / signal.horizon, max=1.0)
    return xp.tanh(10.0 * (fraction - constant(FRACTIONS, signal.loss)))


def _time_constants(signal: Signal, bugged: bool) -> Any:
    """Ten, from 10 to the horizon, at equal ratios."""
    xp = namespace(signal.loss)
    parts = [0.0 if bugged else k / (NUM_AVERAGES - 1) for k in range(NUM_AVERAGES)]
    log_ratio = xp.log(signal.horizon / SHORTEST)
    return SHORTEST * xp.exp(constant(parts, signal.loss) * log_ratio)


def _follow_loss(losses: VeloLosses, signal: Signal, bugged: bool) -> VeloLosses:
    xp, constants = namespace(signal.loss), _time_constants(signal, bugged)
    seen = xp.expm1(-(signal.t + 1) / constants)
    limit = losses.average * (xp.expm1(-signal.t / constants) / seen)
    limit = xp.where(signal.t == 0, signal.loss, 2.0 * xp.abs(xp.max(limit)))
    new = xp.minimum(limit, signal.loss) - losses.average
    weight = xp.expm1(-1.0 / constants) / seen
    average = losses.average + weight * new
    slower = (1.0 - weight[1:]) * losses.slower + (weight[1:] - weight[:-1]) * new[:-1]
    above = xp.clip(losses.above + (weight * new)[:-1], min=0.0)
    above = xp.where(signal.t == 0, xp.zeros_like(above), above)
    progress = above / xp.clip(slower + above, min=1e-8) - 1.0
    progress = xp.where(
        signal.t < 2, xp.zeros_like(above), xp.clip(progress, -1.0, 1.0)
    )
    return VeloLosses(average, slower, above, progress)


def _floored_rsqrt(x: Any) -> Any:
    return rsqrt(namespace(x).clip(x, min=_TINY))


def _row_names() -> tuple[str, ...]:
    names = adafactor.ROW_NAMES
    ours = [*names[:1], "clipped_gradient", *names[1:]]
    ours.insert(ours.index("row_0.9"), "normalized_gradient")
    return tuple(ours)


def _each(prefix: str, decays: Sequence[float]) -> list[str]:
    return [f"{prefix}_{decay:g}" for decay in decays]


ROW_NAMES = _row_names()
TENSOR_NAMES = (
    "log_mean_second_moment",
    *(f"rank_{rank}" for rank in range(NUM_RANKS)),
    *_each("log_variance_momentum", adafactor.MOMENTUM_DECAYS),
    *_each("log_spread_second_moment", adafactor.MOMENTUM_DECAYS),
)
SHARED_NAMES = (
    *_each("time", FRACTIONS),
    *(f"loss_progress_{k}" for k in range(NUM_AVERAGES - 1)),
)

SPEC = Spec(
    kind="features",
    name="velo",
    make=make,
    source="Metz et al. 2022, arXiv:2211.09760; google/learned_optimization, "
    "research/general_lopt/hyper_v2.py",
)

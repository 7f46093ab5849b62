"""What "small_fc" (AdafacMLPLOpt) looks at: momenta, a second moment, Adafactor's statistics.

    m ← β m + (1−β) g                        β = .9, .99, .999
    v ← β v + (1−β) g²                       β = .999
    r ← β r + (1−β) mean over columns of g², c ← β c + (1−β) mean over rows of g²
                                             β = .9, .99, .999, the two largest axes
    a = (r / mean r)^−½ · c^−½               Adafactor's factor, floors of 1e-9

    28 features of a parameter: g; φ; m (3); v; m·(v + 1e-6)^−½ (3); (v + 1e-6)^−½; a·g (3);
        r (3); c (3); (r + 1e-8)^−½ (3); (c + 1e-8)^−½ (3); a·m (3)
    scale of feature j over a tensor: 1/√(1e-5 + mean x_j²)
    shared: tanh(t/τ − 1), τ = 1, 3, 10, … 100,000

For a tensor with fewer than two axes r and c are both the full average s of g², a·g is
g·(s + 1e-9)^−½ and a·m is m·(s + 1e-6)^−½. All averages are biased towards zero at the start.

r and c stay [k, r, 1] and [k, 1, c]: nothing is repeated per parameter. The decays may be
arrays of the learned optimizer's θ: architectures that learn them keep `AdafactorMoments` in
their carry and call `start`, `follow` and `look`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxtyping import PyTree

from opt_gym.checks import check_between, check_time_clamp
from opt_gym.features.mlp import times
from opt_gym.maths import accumulators as acc
from opt_gym.maths.array_namespace import constant, namespace, rsqrt, zeros, zeros_over
from opt_gym.maths.pieces import mean_squares
from opt_gym.plugins import Spec
from opt_gym.records import Features, Memory, Observation, Signal, TensorObservation

MOMENTUM_DECAYS = (0.9, 0.99, 0.999)
MOMENT_DECAYS = (0.999,)
FACTORED_DECAYS = (0.9, 0.99, 0.999)
TIME_SCALES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5)
_FLOOR = 1e-9
_TINY = 1e-30


class AdafactorMoments(NamedTuple):
    """Of one tensor, decays along the leading axis.

    Shapes: momentum [3, *shape]; second_moment [1, *shape]; rows and columns [3, ...] with 1
    for the axis that was averaged. Of a tensor with fewer than two axes, rows is the full
    average [3, *shape] and columns is empty, [0].
    """

    momentum: Any
    second_moment: Any
    rows: Any
    columns: Any


class Decays(NamedTuple):
    """Arrays [3], [1] and [3]."""

    momentum: Any
    second_moment: Any
    factored: Any


def make(time_clamp: int | None = None, second_moment_decay: float = 0.999) -> Features:
    """The feature set "adafactor", with decays that are not learned.

    Args:
        time_clamp: the largest t that the time features show; None for no limit.
        second_moment_decay: of v.

    Raises:
        ValueError: a time_clamp < 1, or a decay outside of [0, 1).
    """
    check_time_clamp(time_clamp)
    check_between("second_moment_decay", second_moment_decay, 0.0, 1.0, closed="left")

    def decays(like: Any) -> Decays:
        return constants(like, second_moment=(second_moment_decay,))

    def init(params: PyTree) -> Memory:
        return Memory(tuple(start(leaf) for leaf in acc.leaves(params)))

    def update(f: Memory, signal: Signal) -> Memory:
        grads = acc.leaves(signal.grad)
        return Memory(
            tuple(
                follow(moments, grad, decays(grad))
                for moments, grad in zip(f.tensors, grads, strict=True)
            )
        )

    def observe(f: Memory, signal: Signal) -> Observation:
        params, grads = acc.leaves(signal.params), acc.leaves(signal.grad)
        tensors = tuple(map(look, params, grads, f.tensors))
        return Observation(tensors, times(signal, TIME_SCALES, time_clamp))

    return Features(
        row_names=ROW_NAMES,
        tensor_names=(),
        shared_names=tuple(f"time_{scale:g}" for scale in TIME_SCALES),
        needs=(),
        init=init,
        update=update,
        observe=observe,
    )


def constants(like: Any, second_moment: Sequence[float] = MOMENT_DECAYS) -> Decays:
    """The decays that training starts from."""
    return Decays(
        constant(MOMENTUM_DECAYS, like),
        constant(second_moment, like),
        constant(FACTORED_DECAYS, like),
    )


def start(param: Any) -> AdafactorMoments:
    """Before the first gradient."""
    num = len(FACTORED_DECAYS)
    axes = factored_axes(tuple(param.shape))
    if axes is None:
        rows, columns = zeros_over(num, param), zeros((0,), param)
    else:
        row_axis, column_axis = axes
        rows = zeros((num, *_without(param.shape, column_axis)), param)
        columns = zeros((num, *_without(param.shape, row_axis)), param)
    return AdafactorMoments(
        momentum=zeros_over(len(MOMENTUM_DECAYS), param),
        second_moment=zeros_over(len(MOMENT_DECAYS), param),
        rows=rows,
        columns=columns,
    )


def follow(moments: AdafactorMoments, grad: Any, decays: Decays) -> AdafactorMoments:
    """With one more gradient."""
    xp = namespace(grad)
    square = grad * grad
    axes = factored_axes(tuple(grad.shape))
    momentum = acc.follow(moments.momentum, grad, decays.momentum)
    # Learned decays of squares are held in [0, 1]: else a root of them could fail.
    held = xp.clip(decays.second_moment, 0.0, 1.0)
    second_moment = acc.follow(moments.second_moment, square, held)
    factored = xp.clip(decays.factored, 0.0, 1.0)
    square = square + _TINY
    if axes is None:
        rows, columns = acc.follow(moments.rows, square, factored), moments.columns
    else:
        row_axis, column_axis = axes
        by_row = xp.mean(square, axis=column_axis, keepdims=True)
        by_column = xp.mean(square, axis=row_axis, keepdims=True)
        rows = acc.follow(moments.rows, by_row, factored)
        columns = acc.follow(moments.columns, by_column, factored)
    return AdafactorMoments(momentum, second_moment, rows, columns)


def look(param: Any, grad: Any, moments: AdafactorMoments) -> TensorObservation:
    """What is seen of one tensor."""
    if factored_axes(tuple(param.shape)) is None:
        rows = _diagonal_rows
        sources = (param, grad, *moments[:3])
    else:
        rows = _factored_rows
        sources = (param, grad, *moments, *factors(moments, tuple(param.shape)))
    scale = rsqrt(1e-5 + mean_squares(rows, sources, param))
    return TensorObservation(rows, sources, scale, zeros((0,), grad))


def factors(moments: AdafactorMoments, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Adafactor's factor a in its two parts, [3, r, 1] and [3, 1, c]."""
    axis = 1 + factored_axes(shape)[0]  # pyright: ignore[reportOptionalSubscript]
    mean = namespace(moments.rows).mean(moments.rows, axis=axis, keepdims=True)
    by_row = _floored_rsqrt(moments.rows / (mean + _FLOOR))
    return by_row, _floored_rsqrt(moments.columns)


def factored_axes(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """(row axis, column axis): the second largest and the largest; None below two axes.

    Of equal axes the later counts as the larger.
    """
    if len(shape) < 2:
        return None
    order = sorted(range(len(shape)), key=lambda axis: shape[axis])
    return order[-2], order[-1]


def _factored_rows(
    param: Any,
    grad: Any,
    momentum: Any,
    second_moment: Any,
    rows: Any,
    columns: Any,
    row_factor: Any,
    column_factor: Any,
) -> tuple[Any, ...]:
    reciprocal = rsqrt(second_moment + 1e-6)
    return (
        grad[None],
        param[None],
        momentum,
        second_moment,
        momentum * reciprocal,
        reciprocal,
        grad[None] * row_factor * column_factor,
        rows,
        columns,
        rsqrt(rows + 1e-8),
        rsqrt(columns + 1e-8),
        momentum * row_factor * column_factor,
    )


def _diagonal_rows(
    param: Any, grad: Any, momentum: Any, second_moment: Any, full: Any
) -> tuple[Any, ...]:
    reciprocal, of_full = rsqrt(second_moment + 1e-6), rsqrt(full + 1e-8)
    return (
        grad[None],
        param[None],
        momentum,
        second_moment,
        momentum * reciprocal,
        reciprocal,
        grad[None] * _floored_rsqrt(full + _FLOOR),
        full,
        full,
        of_full,
        of_full,
        momentum * rsqrt(full + 1e-6),
    )


def _floored_rsqrt(x: Any) -> Any:
    return rsqrt(namespace(x).clip(x, min=_FLOOR))


def _without(shape: Sequence[int], axis: int) -> tuple[int, ...]:
    return tuple(1 if i == axis else size for i, size in enumerate(shape))


def _row_names() -> tuple[str, ...]:
    def each(prefix: str, decays: Sequence[float] = FACTORED_DECAYS) -> list[str]:
        return [f"{prefix}_{decay:g}" for decay in decays]

    return (
        *("gradient", "parameter"),
        *each("momentum", MOMENTUM_DECAYS),
        "second_moment",
        *each("normalized_momentum", MOMENTUM_DECAYS),
        "reciprocal_rms",
        *each("factored_gradient"),
        *each("row"),
        *each("column"),
        *each("reciprocal_row"),
        *each("reciprocal_column"),
        *each("factored_momentum"),
    )


ROW_NAMES = _row_names()

SPEC = Spec(
    kind="features",
    name="adafactor",
    make=make,
    source="Metz et al. 2022, arXiv:2203.11860; google/learned_optimization, "
    "learned_optimizers/adafac_mlp_lopt.py and common.py",
)

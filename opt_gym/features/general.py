"""What the optimizer `general` looks at: directions to walk, and when to trust which.

All averages are unbiased. With m̂ and v̂ the averages of g and g², 4 numbers a weight:

    directions (5, they turn with (g, φ), and are 0 where g was 0): Adam's m̂.9/√v̂.999;
        g/√v̂.95; m̂.99/√v̂.999; m̂.9 over the RMS of the tensor's gradients; φ/(10·RMS(φ)),
        times min(1, RMS of Adam's direction over the tensor)
    evens (8, the same for (−g, −φ)): |m̂.9|/√v̂.95; |Adam's|; g·m̂.9 and m̂.9·m̂.99 over
        v̂.95; √(v̂.95/v̂.999); ½·log(v̂.999/its mean over the tensor); |φ|/RMS(φ); φ/RMS(φ)
        times Adam's
    tensor (10): log RMS(φ)/3; averages (.9, .99) of the cosine between g and Adam's
        direction; ½·log mean v̂.95/mean v̂.999; RMS of Adam's direction, and
        its log/3; is a bias (rank < 2); is of the last layer; log fan-in/8, to
        8,192; log size/12, to 2^19
    shared (15): tanh(t/τ − 1), τ = 1 … 1000; whether the horizon T is known, t/T,
        log(1 − t/T + 1/T)/3, log(T)/3 − 2; `maths.loss_progress`

Rows are clipped to ±6 where they have no bound of their own. Nothing changes where the loss
becomes a·ℓ + b, a > 0, but by ε = 1e-12 beside √v̂.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from jaxtyping import PyTree

from opt_gym.checks import check_time_clamp
from opt_gym.features.mlp import times
from opt_gym.features.nominal import fan_ins, is_last
from opt_gym.maths import accumulators as acc
from opt_gym.maths import loss_progress, parts
from opt_gym.maths.array_namespace import (
    along_first,
    constant,
    is_eager,
    namespace,
    rsqrt,
    zeros,
    zeros_over,
)
from opt_gym.maths.loss_progress import LossProgress
from opt_gym.maths.small_tensors import alike, each_of, in_stacks
from opt_gym.maths.sums import sums
from opt_gym.plugins import Spec
from opt_gym.records import Features, Memory, Observation, Signal, TensorObservation

MOMENTUM_DECAYS = (0.9, 0.99)
MOMENT_DECAYS = (0.95, 0.999)
COSINE_DECAYS = (0.9, 0.99)
TIME_SCALES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
CLIP = 6.0
EPSILON = 1e-12
WIDEST, LARGEST = 2**13, 2**19
"""The fan-in, and the size of a tensor, beyond which the rest look alike: about the largest of
TaskSet. A net says nothing far beyond what it saw."""
_TINY = 1e-30

DIRECTIONS = (
    *("adam", "gradient_fast", "momentum_0.99_slow"),
    *("momentum_of_tensor", "parameter"),
)
EVENS = (
    *("momentum_0.9_size", "adam_size", "gradient_agrees", "momentum_agrees"),
    *("second_moment_ratio", "second_moment_in_tensor"),
    *("parameter_size", "parameter_agrees"),
)
TENSOR_NAMES = (
    *("log_parameter_rms", "cosine_0.9", "cosine_0.99", "log_second_moment_ratio"),
    *("adam_rms", "log_adam_rms"),
    *("is_bias", "is_last_layer", "log_fan_in", "log_size"),
)
HORIZON_NAMES = ("has_horizon", "time_share", "log_time_left", "log_horizon")


class GeneralMoments(NamedTuple):
    """Of one tensor.

    Shapes: momentum, second_moment [2, *shape]; numbers [6], see `_follow`.
    """

    momentum: Any
    second_moment: Any
    numbers: Any


def make(
    time_clamp: int | None = None,
    reads_loss: bool = True,
    reads_horizon: bool = True,
) -> Features:
    """The feature set "general".

    Args:
        time_clamp: the largest t that the clocks τ show; None for no limit.
        reads_loss, reads_horizon: whether they are used where they are told.

    Raises:
        ValueError: a time_clamp < 1.
    """
    check_time_clamp(time_clamp)

    def init(params: PyTree) -> Memory:
        return Memory(
            tensors=tuple(
                GeneralMoments(
                    zeros_over(len(MOMENTUM_DECAYS), leaf),
                    zeros_over(len(MOMENT_DECAYS), leaf),
                    zeros((len(COSINE_DECAYS) + 4,), leaf),
                )
                for leaf in acc.leaves(params)
            ),
            shared=loss_progress.start(acc.first(params)),
        )

    def update(f: Memory, signal: Signal) -> Memory:
        has_loss = signal.has_loss if reads_loss else signal.has_loss & False
        progress = loss_progress.follow(f.shared, signal.loss, has_loss)
        return Memory(_follow(f.tensors, signal), progress)

    def observe(f: Memory, signal: Signal) -> Observation:
        shared = _shared(f.shared, signal, time_clamp, reads_horizon)
        params, grads = acc.leaves(signal.params), acc.leaves(signal.grad)
        if not params:
            return Observation((), shared)
        kept = _kept(f.tensors)
        columns = (
            *(params, grads, f.tensors),
            acc.debias_each(MOMENTUM_DECAYS, signal.ages, params),
            acc.debias_each(MOMENT_DECAYS, signal.ages, params),
            along_first(_scalars(kept)),
        )
        sources = (_sources(*own) for own in zip(*columns, strict=True))
        scale = 1.0 + zeros((len(DIRECTIONS) + len(EVENS),), params[0])
        numbers = along_first(_numbers(params, kept, signal.ages))
        tensors = (
            TensorObservation(rows=_rows, sources=own, scale=scale, numbers=told)
            for own, told in zip(sources, numbers, strict=True)
        )
        return Observation(tuple(tensors), shared)

    read = {"loss": reads_loss, "horizon": reads_horizon}
    return Features(
        row_names=(*DIRECTIONS, *EVENS),
        tensor_names=TENSOR_NAMES,
        shared_names=(
            *(f"time_{scale:g}" for scale in TIME_SCALES),
            *HORIZON_NAMES,
            *loss_progress.NAMES,
        ),
        needs=(),
        welcomes=tuple(name for name, is_read in read.items() if is_read),
        init=init,
        update=update,
        observe=observe,
    )


def _follow(
    tensors: Sequence[GeneralMoments], signal: Signal
) -> tuple[GeneralMoments, ...]:
    """With one more gradient.

    A tensor's numbers are the average cosines, and means over it: of φ², v̂.95, v̂.999, and of
    Adam's direction squared. All sums over tensors are in one go: see `maths.sums`.
    """
    params = acc.leaves(signal.params)
    stacks = alike(params)
    stacked_grads = in_stacks(stacks, acc.leaves(signal.grad), params)

    def averages(
        blocks: Iterable[Any], values: Iterable[Any], decays: Sequence[float]
    ) -> list[Any]:
        own = in_stacks(stacks, [*blocks], params)
        return [
            acc.average(block, value, decays)
            for block, value in zip(own, values, strict=True)
        ]

    momenta = averages((m.momentum for m in tensors), stacked_grads, MOMENTUM_DECAYS)
    squares = (grad * grad for grad in stacked_grads)  # one at a time
    seconds = averages((m.second_moment for m in tensors), squares, MOMENT_DECAYS)

    def products(param: Any, grad: Any, m: Any, v: Any) -> tuple:
        adam, grad = m[:1] / (namespace(m).sqrt(v[1:]) + EPSILON), grad[None]
        of_grad = (adam, grad), (grad, grad)
        return *of_grad, (param[None], param[None]), (v, None), (adam, adam)

    of_params = in_stacks(stacks, params, params)
    each = zip(of_params, stacked_grads, momenta, seconds, strict=True)
    totals = sums((products(*parts) for parts in each), [*map(len, stacks)])
    if not totals:
        return ()
    totals = each_of(stacks, totals)
    of_each = (
        each_of(stacks, momenta, params),
        each_of(stacks, seconds, params),
        along_first(_of_totals(params, tensors, totals, signal.ages)),
    )
    return tuple(map(GeneralMoments, *of_each))


def _of_totals(
    params: list[Any],
    tensors: Sequence[GeneralMoments],
    totals: Sequence[Any],
    ages: Sequence[Any],
) -> Any:
    """The numbers of all tensors, [k, 6].

    All tensors at once, for every operation on a few numbers is a program of its own in XLA,
    and a call in torch.
    """
    xp, like = namespace(totals[0]), totals[0]
    sizes = [float(math.prod(shape)) for shape in parts.whole_shapes(params)]
    sizes = constant(sizes, like)[:, None]
    steps = xp.stack(list(ages))[:, None] + 1
    found = parts.added_up(xp.stack(list(totals)))

    def debias(decays: Sequence[float]) -> Any:
        return 1.0 / (1.0 - constant(decays, like)[None] ** steps)

    of_v, of_m = debias(MOMENT_DECAYS), debias(MOMENTUM_DECAYS)
    adam = found[:, 5:] * of_m[:, :1] ** 2 / of_v[:, 1:]
    squares = xp.concat([found[:, 2:3], found[:, 3:5] * of_v, adam], axis=1) / sizes
    # Two roots, for the product of two squares could overflow.
    roots = rsqrt(found[:, 5] + _TINY) * rsqrt(found[:, 1] + _TINY)
    cosine = (found[:, 0] * roots)[:, None]
    decays = constant(COSINE_DECAYS, like)[None]
    before = _kept(tensors)[:, : len(COSINE_DECAYS)]
    return xp.concat([decays * before + (1.0 - decays) * cosine, squares], axis=1)


def _numbers(params: list[Any], kept: Any, ages: Sequence[Any]) -> Any:
    """What is told of each tensor: [k, 10]."""
    xp, count = namespace(params[0]), len(COSINE_DECAYS)
    decays, steps = constant(COSINE_DECAYS, params[0]), xp.stack(list(ages)) + 1
    cosines = kept[:, :count] / (1.0 - decays[None] ** steps[:, None])
    squares = kept[:, count:] + _TINY
    logs = 0.5 * xp.log(squares)
    columns = [
        xp.clip(logs[:, 0], -3 * CLIP, 3 * CLIP) / 3,
        *(cosines[:, i] for i in range(count)),
        xp.clip(logs[:, 1] - logs[:, 2], -CLIP, CLIP),
        xp.sqrt(squares[:, 3]),
        xp.clip(logs[:, 3], -3 * CLIP, CLIP) / 3,
    ]
    shapes = parts.whole_shapes(params)
    each = zip(shapes, is_last(params), fan_ins(shapes), strict=True)
    static = [
        constant(
            [
                float(len(shape) < 2),
                float(last),
                math.log(min(fan_in, WIDEST)) / 8,
                math.log(min(max(math.prod(shape), 1), LARGEST)) / 12,
            ],
            params[0],
        )
        for shape, last, fan_in in each
    ]
    return xp.concat([xp.stack(columns, axis=1), xp.stack(static)], axis=1)


def _kept(tensors: Sequence[GeneralMoments]) -> Any:
    """The numbers of all tensors, [k, 6]."""
    return namespace(tensors[0].numbers).stack([moments.numbers for moments in tensors])


def _scalars(kept: Any) -> Any:
    """[k, 3]: 1/RMS(φ), 1/RMS of the tensor's gradients, the gate of φ's direction."""
    xp, squares = namespace(kept), kept[:, len(COSINE_DECAYS) :]
    of_param, of_gradients = rsqrt(squares[:, 0] + _TINY), rsqrt(squares[:, 2] + _TINY)
    # A walk along φ adds up from step to step, where others turn: it counts a tenth.
    gate = 0.1 * xp.clip(xp.sqrt(squares[:, 3]), 0.0, 1.0)
    return xp.stack([of_param, of_gradients, gate], axis=1)


def _sources(
    param: Any,
    grad: Any,
    moments: GeneralMoments,
    m_factor: Any,
    v_factor: Any,
    scalars: Any,
) -> tuple:
    """The averages as they are kept, with their factors beside them."""
    first, second = moments.momentum, moments.second_moment
    return (param, grad, first, m_factor, second, v_factor, *along_first(scalars))


def _rows(
    param: Any,
    grad: Any,
    momentum: Any,
    m_factor: Any,
    second_moment: Any,
    v_factor: Any,
    of_param: Any,
    of_gradients: Any,
    gate: Any,
) -> tuple:
    """Directions, then evens: a block a row, which XLA fuses into one loop, or two in torch."""
    xp = namespace(grad)
    if is_eager(grad):
        root = xp.sqrt(second_moment * v_factor) + EPSILON
        m, weight = momentum * m_factor, (param * of_param)[None]
        return _two_blocks(grad[None], m, root, weight, of_gradients, gate)
    root = [xp.sqrt(second_moment[i] * v_factor[i]) + EPSILON for i in range(2)]
    fast, slow = (1.0 / one for one in root)
    m9, m99 = momentum[0] * m_factor[0], momentum[1] * m_factor[1]
    adam, weight = m9 * slow, param * of_param
    gradient_fast, m9_fast = grad * fast, m9 * fast
    # What is not clipped has a bound of its own.
    rows = (
        *(adam, gradient_fast, m99 * slow),
        *map(_clip, (m9 * of_gradients, gate * weight)),
        *map(xp.abs, (m9_fast, adam)),
        gradient_fast * m9_fast,
        # m̂.99 remembers what v̂.95 forgets: after one large gradient this is in the hundreds.
        _clip(m9_fast * (m99 * fast)),
        *map(_clip, (root[0] * slow, xp.log(root[1] * of_gradients))),
        *map(_clip, (xp.abs(weight), weight * adam)),
    )
    return tuple(row[None] for row in rows)


def _clip(row: Any) -> Any:
    return namespace(row).clip(row, -CLIP, CLIP)


def _two_blocks(
    grad: Any, m: Any, root: Any, weight: Any, of_gradients: Any, gate: Any
) -> tuple[Any, Any]:
    """The same in as few operations as can be, each of which is a call."""
    import torch

    shape, (fast, slow) = m.shape[1:], 1.0 / root
    directions = grad.new_empty((len(DIRECTIONS), *shape))
    evens = grad.new_empty((len(EVENS), *shape))
    by_fast = torch.cat([grad, m]).mul_(fast)
    adam = torch.mul(m, slow, out=directions[:3:2])[0]
    directions[1] = by_fast[0]
    torch.mul(m[0], of_gradients, out=directions[3])
    torch.mul(weight[0], gate, out=directions[4])
    torch.abs(by_fast[1], out=evens[0])
    torch.abs(adam, out=evens[1])
    torch.mul(by_fast[:2], by_fast[1:], out=evens[2:4])
    torch.mul(root[0], slow, out=evens[4])
    torch.log(root[1] * of_gradients, out=evens[5])
    torch.abs(weight[0], out=evens[6])
    torch.mul(weight[0], adam, out=evens[7])
    directions[3:].clamp_(-CLIP, CLIP)
    evens[3:].clamp_(-CLIP, CLIP)
    return directions, evens


def _shared(
    progress: LossProgress, signal: Signal, time_clamp: int | None, reads_horizon: bool
) -> Any:
    """[15]."""
    xp = namespace(progress.average)
    return xp.concat(
        [
            times(signal, TIME_SCALES, time_clamp),
            _of_horizon(signal, progress.seen, reads_horizon),
            loss_progress.numbers(progress),
        ]
    )


def _of_horizon(signal: Signal, like: Any, reads_horizon: bool) -> Any:
    """[4], see `HORIZON_NAMES`; zeros where the horizon is not known, or not to be read."""
    xp, horizon = namespace(like), signal.horizon + zeros((), like)
    is_known = xp.clip(horizon, 0.0, 1.0) * float(reads_horizon)
    horizon = xp.clip(horizon, min=1.0)
    share = xp.clip(signal.t / horizon, 0.0, 1.0)
    left = xp.log(1.0 - share + 1.0 / horizon) / 3
    parts = (share, left, xp.log(horizon) / 3 - 2)
    return xp.stack([is_known, *(is_known * part for part in parts)])


SPEC = Spec(
    kind="features",
    name="general",
    make=make,
    source="ours; directions and tensors after Kingma & Ba 2014, Metz et al. 2020 and 2022",
)

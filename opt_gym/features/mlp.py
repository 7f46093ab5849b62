"""What the per-parameter MLP of Metz et al. 2019 looks at: 22 features, 9 times.

    m ← β m + (1−β) g,  v ← β v + (1−β) g²,  r = 1/√(v + 1e-6)   for five decays β
    features of a parameter: g, m·r (5), φ, m (5), v (5), r (5)
    scale of feature j over a tensor: 1/√(1e-5 + mean x_j²)
    shared: tanh(t/τ − 1) for nine time scales τ

The released code allocates v and never fills it, so that r is 1000 everywhere; the obvious
intent, `rms=True`, is the default here, and `rms=False` is the code as released. Its last
time scale is 300,000, kept as it is.
"""

from typing import Any, NamedTuple

from jaxtyping import PyTree

from opt_gym.checks import check_time_clamp
from opt_gym.maths import accumulators as acc
from opt_gym.maths.array_namespace import constant, namespace, rsqrt, zeros, zeros_over
from opt_gym.maths.pieces import mean_squares
from opt_gym.plugins import Spec
from opt_gym.records import Features, Memory, Observation, Signal, TensorObservation

DECAYS = (0.5, 0.9, 0.99, 0.999, 0.9999)
TIME_SCALES = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0, 300000.0)


class MlpMoments(NamedTuple):
    """Of one tensor, a block [5, *shape] each."""

    momentum: Any
    second_moment: Any


def make(rms: bool = True, time_clamp: int | None = None) -> Features:
    """The feature set "mlp".

    Args:
        rms: fill the second moments (see the module's text).
        time_clamp: the largest t that the time features show; None for no limit.

    Raises:
        ValueError: a time_clamp < 1.
    """
    check_time_clamp(time_clamp)

    def init(params: PyTree) -> Memory:
        return Memory(tuple(start(leaf) for leaf in acc.leaves(params)))

    def update(f: Memory, signal: Signal) -> Memory:
        grads = acc.leaves(signal.grad)
        return Memory(tuple(map(follow if rms else _follow_momentum, f.tensors, grads)))

    def observe(f: Memory, signal: Signal) -> Observation:
        params, grads = acc.leaves(signal.params), acc.leaves(signal.grad)
        tensors = tuple(map(_tensor, params, grads, f.tensors))
        return Observation(tensors, times(signal, TIME_SCALES, time_clamp))

    return Features(
        row_names=_row_names(),
        tensor_names=(),
        shared_names=tuple(f"time_{scale:g}" for scale in TIME_SCALES),
        needs=(),
        init=init,
        update=update,
        observe=observe,
    )


def start(param: Any) -> MlpMoments:
    """Before the first gradient."""
    num = len(DECAYS)
    return MlpMoments(zeros_over(num, param), zeros_over(num, param))


def follow(moments: MlpMoments, grad: Any) -> MlpMoments:
    """With one more gradient."""
    return MlpMoments(
        momentum=acc.average(moments.momentum, grad, DECAYS),
        second_moment=acc.average(moments.second_moment, grad * grad, DECAYS),
    )


def _follow_momentum(moments: MlpMoments, grad: Any) -> MlpMoments:
    return moments._replace(momentum=acc.average(moments.momentum, grad, DECAYS))


def times(signal: Signal, scales: tuple[float, ...], clamp: int | None = None) -> Any:
    """tanh(t/τ − 1) for each time scale τ, t at most `clamp`. Shape [k]."""
    t = acc.clock(signal, clamp)
    return namespace(signal.loss).tanh(t / constant(scales, signal.loss) - 1.0)


def _tensor(param: Any, grad: Any, moments: MlpMoments) -> TensorObservation:
    sources = (param, grad, *moments)
    return TensorObservation(
        rows=_rows,
        sources=sources,
        scale=rsqrt(1e-5 + mean_squares(_rows, sources, param)),
        numbers=zeros((0,), grad),
    )


def _rows(param: Any, grad: Any, momentum: Any, second_moment: Any) -> tuple[Any, ...]:
    reciprocal = rsqrt(second_moment + 1e-6)
    return (
        grad[None],
        momentum * reciprocal,
        param[None],
        momentum,
        second_moment,
        reciprocal,
    )


def _row_names() -> tuple[str, ...]:
    def each(prefix: str) -> list[str]:
        return [f"{prefix}_{decay:g}" for decay in DECAYS]

    return (
        "gradient",
        *each("normalized_momentum"),
        "parameter",
        *each("momentum"),
        *each("second_moment"),
        *each("reciprocal_rms"),
    )


SPEC = Spec(
    kind="features",
    name="mlp",
    make=make,
    source="Metz et al. 2019, arXiv:1810.10180, and its released fast_rolling_mlp.py",
)

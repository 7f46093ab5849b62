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

from opt_gym.array_namespace import mean_square, namespace, rsqrt
from opt_gym.features import _accumulators as acc
from opt_gym.records import Features, Observation, Signal, Spec, TensorObservation

DECAYS = (0.5, 0.9, 0.99, 0.999, 0.9999)
TIME_SCALES = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0, 300000.0)


class MlpAccumulators(NamedTuple):
    """Per tensor a block [5, *shape] each."""

    momentum: tuple[Any, ...]
    second_moment: tuple[Any, ...]


def make(rms: bool = True) -> Features:
    """The feature set "mlp".

    Args:
        rms: fill the second moments (see the module's text).
    """

    def init(params: PyTree) -> MlpAccumulators:
        zeros = acc.zeros(params, len(DECAYS))
        return MlpAccumulators(zeros, zeros)

    def update(f: MlpAccumulators, signal: Signal) -> MlpAccumulators:
        grads = acc.leaves(signal.grad)
        momentum = tuple(
            acc.average(m, g, DECAYS) for m, g in zip(f.momentum, grads, strict=True)
        )
        if not rms:
            return f._replace(momentum=momentum)
        second = tuple(
            acc.average(v, g * g, DECAYS)
            for v, g in zip(f.second_moment, grads, strict=True)
        )
        return MlpAccumulators(momentum, second)

    def observe(f: MlpAccumulators, signal: Signal) -> Observation:
        tensors = tuple(
            _tensor(*parts)
            for parts in zip(
                acc.leaves(signal.params), acc.leaves(signal.grad), *f, strict=True
            )
        )
        return Observation(tensors, times(signal.t, TIME_SCALES, signal.loss))

    return Features(
        name="mlp",
        config={"rms": rms},
        row_names=_row_names(),
        tensor_names=(),
        shared_names=tuple(f"time_{scale:g}" for scale in TIME_SCALES),
        needs=(),
        init=init,
        update=update,
        observe=observe,
    )


def times(t: Any, scales: tuple[float, ...], like: Any) -> Any:
    """tanh(t/τ − 1) for each time scale τ. Shape [k]; `like` gives the array namespace."""
    xp = namespace(like)
    return xp.tanh(t / xp.asarray(scales, dtype=xp.float32) - 1.0)


def _tensor(
    param: Any, grad: Any, momentum: Any, second_moment: Any
) -> TensorObservation:
    xp = namespace(grad)
    reciprocal = rsqrt(second_moment + 1e-6)
    blocks = (
        grad[None],
        momentum * reciprocal,
        param[None],
        momentum,
        second_moment,
        reciprocal,
    )
    squares = [mean_square(b, axis=tuple(range(1, b.ndim))) for b in blocks]
    return TensorObservation(
        blocks=blocks,
        scale=rsqrt(1e-5 + xp.concat(squares)),
        numbers=xp.zeros((0,), dtype=xp.float32),
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
    config={"rms": True},
    source="Metz et al. 2019, arXiv:1810.10180, and its released fast_rolling_mlp.py",
)

"""What "MLPLOpt" of learned_optimization looks at: 8 features, 11 times.

m ← β m + (1−β) g                   for six decays β, biased towards zero at the start
features of a parameter: g, φ, m (6)
scale of feature j over a tensor: 1/√(1e-5 + mean x_j²)
shared: tanh(t/τ − 1), τ = 1, 3, 10, … 100,000
"""

from typing import Any

from jaxtyping import PyTree

from opt_gym.checks import check_time_clamp
from opt_gym.features.mlp import times
from opt_gym.maths import accumulators as acc
from opt_gym.maths.array_namespace import rsqrt, zeros, zeros_over
from opt_gym.maths.pieces import mean_squares
from opt_gym.plugins import Spec
from opt_gym.records import Features, Memory, Observation, Signal, TensorObservation

DECAYS = (0.1, 0.5, 0.9, 0.99, 0.999, 0.9999)
TIME_SCALES = tuple(float(f"{digit}e{power}") for power in range(5) for digit in (1, 3))
TIME_SCALES = (*TIME_SCALES, 100_000.0)


def make(time_clamp: int | None = None) -> Features:
    """The feature set "momenta".

    Args:
        time_clamp: the largest t that the time features show; None for no limit.

    Raises:
        ValueError: a time_clamp < 1.
    """
    check_time_clamp(time_clamp)

    def init(params: PyTree) -> Memory:
        return Memory(tuple(zeros_over(len(DECAYS), p) for p in acc.leaves(params)))

    def update(f: Memory, signal: Signal) -> Memory:
        grads = acc.leaves(signal.grad)
        return Memory(
            tuple(
                acc.average(m, g, DECAYS) for m, g in zip(f.tensors, grads, strict=True)
            )
        )

    def observe(f: Memory, signal: Signal) -> Observation:
        params, grads = acc.leaves(signal.params), acc.leaves(signal.grad)
        tensors = tuple(map(_tensor, params, grads, f.tensors))
        return Observation(tensors, times(signal, TIME_SCALES, time_clamp))

    return Features(
        row_names=("gradient", "parameter", *(f"momentum_{beta:g}" for beta in DECAYS)),
        tensor_names=(),
        shared_names=tuple(f"time_{scale:g}" for scale in TIME_SCALES),
        needs=(),
        init=init,
        update=update,
        observe=observe,
    )


def _tensor(param: Any, grad: Any, momentum: Any) -> TensorObservation:
    sources = (param, grad, momentum)
    scale = rsqrt(1e-5 + mean_squares(_rows, sources, param))
    return TensorObservation(_rows, sources, scale, zeros((0,), grad))


def _rows(param: Any, grad: Any, momentum: Any) -> tuple[Any, ...]:
    return grad[None], param[None], momentum


SPEC = Spec(
    kind="features",
    name="momenta",
    make=make,
    source="google/learned_optimization, learned_optimizers/mlp_lopt.py",
)

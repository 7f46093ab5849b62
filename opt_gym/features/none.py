"""No features: for optimizers that read the signal itself (SGD, Adam, any optax one)."""

from typing import Any

from jaxtyping import PyTree

from opt_gym.maths.accumulators import leaves
from opt_gym.maths.array_namespace import zeros
from opt_gym.plugins import Spec
from opt_gym.records import Features, Memory, Observation, Signal, TensorObservation


def make() -> Features:
    """The empty feature set: no rows, no numbers, no memory."""

    def init(params: PyTree) -> Memory:
        return Memory()

    def update(f: Memory, signal: Signal) -> Memory:
        return f

    def observe(f: Memory, signal: Signal) -> Observation:
        return nothing(signal, zeros((0,), signal.loss))

    return Features((), (), (), (), init, update, observe)


def nothing(signal: Signal, numbers: Any) -> Observation:
    """An observation of shared numbers alone."""
    empty = zeros((0,), signal.loss)
    tensor = TensorObservation(_no_rows, (), empty, empty)
    return Observation(tuple(tensor for _ in leaves(signal.params)), numbers)


def _no_rows() -> tuple[()]:
    return ()


SPEC = Spec(
    kind="features",
    name="none",
    make=make,
    source="ours: the neutral element",
)

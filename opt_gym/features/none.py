"""No features: for optimizers that read the signal itself (SGD, Adam, any optax one)."""

from typing import Any

from jaxtyping import PyTree

from opt_gym.array_namespace import namespace
from opt_gym.features._accumulators import leaves
from opt_gym.records import Features, Observation, Signal, Spec, TensorObservation


def make() -> Features:
    """The empty feature set: no rows, no numbers, no memory."""

    def init(params: PyTree) -> tuple[()]:
        return ()

    def update(f: tuple[()], signal: Signal) -> tuple[()]:
        return f

    def observe(f: tuple[()], signal: Signal) -> Observation:
        xp = namespace(signal.loss)
        nothing: Any = xp.zeros((0,), dtype=xp.float32)
        tensor = TensorObservation((), nothing, nothing)
        return Observation(tuple(tensor for _ in leaves(signal.params)), nothing)

    return Features("none", {}, (), (), (), (), init, update, observe)


SPEC = Spec(
    kind="features",
    name="none",
    make=make,
    config={},
    source="ours: the neutral element",
)

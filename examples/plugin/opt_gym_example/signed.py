"""A feature set: the gradient, divided by its RMS, and its sign. In jax.numpy and torch."""

from typing import Any

from opt_gym.maths.accumulators import leaves
from opt_gym.maths.array_namespace import namespace, zeros
from opt_gym.plugins import Spec
from opt_gym.records import Features, Memory, Observation, Signal, TensorObservation


def rows(grad: Any) -> tuple[Any, ...]:
    """The blocks, each [1, *shape]; a function of the module, it is part of a structure."""
    return (grad[None], namespace(grad).sign(grad)[None])


def make() -> Features:
    """The feature set "signed"."""

    def tensor(grad: Any) -> TensorObservation:
        xp = namespace(grad)
        size = xp.max(xp.abs(grad)) + 1e-30
        # The square of a large gradient would be infinite.
        rms = size * xp.sqrt(xp.mean((grad / size) ** 2) + 1e-12)
        scale = xp.stack([1.0 / rms, xp.ones_like(rms)])
        return TensorObservation(rows, (grad,), scale, zeros((0,), grad))

    def observe(f: Memory, signal: Signal) -> Observation:
        tensors = tuple(tensor(grad) for grad in leaves(signal.grad))
        return Observation(tensors, zeros((0,), signal.loss))

    names = ("gradient", "sign")
    return Features(
        names, (), (), (), lambda params: Memory(), lambda f, signal: f, observe
    )


SPEC = Spec("features", "signed", make, "Riedmiller & Braun 1993, Rprop")

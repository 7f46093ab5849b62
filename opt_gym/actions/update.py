"""The action is the weight update itself: Δφ = action."""

from jaxtyping import PyTree

from opt_gym.plugins import Spec
from opt_gym.records import ActionMap, Memory, Signal


def make() -> ActionMap:
    """The action map "update": one control, shaped like φ."""

    def init(params: PyTree) -> Memory:
        return Memory()

    def apply(a: Memory, signal: Signal, action: tuple) -> tuple[Memory, PyTree]:
        (delta,) = action
        return a, delta

    return ActionMap(("update",), "parameter", init, apply)


SPEC = Spec(kind="action", name="update", make=make, source="ours: the identity")

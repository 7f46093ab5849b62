"""An action map: the update itself, each number of it cut to [−limit, limit]."""

from typing import Any

from opt_gym.checks import check_positive
from opt_gym.maths.accumulators import leaves, like
from opt_gym.maths.array_namespace import namespace
from opt_gym.plugins import Spec
from opt_gym.records import ActionMap, Memory, Signal


def make(limit: float = 0.1) -> ActionMap:
    """The action map "clipped"."""
    check_positive("limit", limit)

    def apply(a: Memory, signal: Signal, action: tuple) -> tuple[Memory, Any]:
        cut = [namespace(x).clip(x, -limit, limit) for x in leaves(action[0])]
        return a, like(signal.params, cut)

    return ActionMap(("update",), "parameter", lambda params: Memory(), apply)


SPEC = Spec("action", "clipped", make, "ours: for the example")

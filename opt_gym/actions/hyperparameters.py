"""The action sets a learning rate and a momentum: the classic control problem.

    lr = 10^(3·u₀ − 3),  β = sigmoid(2.2 + 4.6·u₁),  u in [−1, 1]²: lr 1e-6 … 1, β .08 … .999
    sgd:  m ← β m + g,  Δφ = −lr·m
    adam: m ← β m + (1−β) g,  v ← .999 v + .001 g²,
          Δφ = −lr·m̂/(√v̂ + 1e-8), m̂ unbiased by the product of the β so far

At level "parameter" u is given for every parameter, at "tensor" for every tensor, at
"global" once.
"""

from typing import Any, NamedTuple

from jaxtyping import PyTree

from opt_gym.maths.accumulators import leaves, like
from opt_gym.maths.array_namespace import namespace
from opt_gym.plugins import Spec, unknown
from opt_gym.records import ActionMap, Memory, Signal

LEVELS = ("parameter", "tensor", "global")
CONTROLS = ("sgd", "adam")
_B2, _EPSILON = 0.999, 1e-8


class Adam(NamedTuple):
    """What is remembered of one tensor; decay_product: of the β so far, for m̂."""

    momentum: Any
    second_moment: Any
    decay_product: Any


def make(level: str = "global", controls: str = "sgd") -> ActionMap:
    """The action map "hyperparameters".

    Raises:
        ValueError: unknown level or controls.
    """
    if level not in LEVELS:
        raise ValueError(unknown("level", level, list(LEVELS)))
    if controls not in CONTROLS:
        raise ValueError(unknown("controls", controls, list(CONTROLS)))
    start, step = (_blank, _sgd) if controls == "sgd" else (_blank_adam, _adam)

    def init(params: PyTree) -> Memory:
        return Memory(tuple(start(leaf) for leaf in leaves(params)))

    def apply(a: Memory, signal: Signal, action: tuple) -> tuple[Memory, PyTree]:
        grads = leaves(signal.grad)
        rates, decays = (_spread(control, level, len(grads)) for control in action)
        stepped = [
            step(memory, grad, learning_rate(u0), momentum_decay(u1), age)
            for memory, grad, u0, u1, age in zip(
                a.tensors, grads, rates, decays, signal.ages, strict=True
            )
        ]
        memories, deltas = zip(*stepped, strict=True)
        return Memory(memories), like(signal.grad, deltas)

    return ActionMap(
        controls=("learning_rate", "momentum"),
        level=level,
        init=init,
        apply=apply,
    )


def learning_rate(u: Any) -> Any:
    """10^(3u − 3)."""
    return 10.0 ** (3.0 * u - 3.0)


def momentum_decay(u: Any) -> Any:
    """sigmoid(2.2 + 4.6u)."""
    return 1.0 / (1.0 + namespace(u).exp(-(2.2 + 4.6 * u)))


def _spread(control: Any, level: str, num: int) -> list[Any]:
    return [control] * num if level == "global" else leaves(control)


def _blank(leaf: Any) -> Any:
    return namespace(leaf).zeros_like(leaf)


def _sgd(m: Any, grad: Any, rate: Any, decay: Any, age: Any) -> tuple[Any, Any]:
    m = decay * m + grad
    return m, -rate * m


def _blank_adam(leaf: Any) -> Adam:
    return Adam(_blank(leaf), _blank(leaf), namespace(leaf).ones_like(leaf))


def _adam(memory: Adam, grad: Any, rate: Any, decay: Any, age: Any) -> tuple[Adam, Any]:
    m = decay * memory.momentum + (1 - decay) * grad
    v = _B2 * memory.second_moment + (1 - _B2) * grad * grad
    product = memory.decay_product * decay
    root = namespace(v).sqrt(v / (1.0 - _B2 ** (age + 1)))
    return Adam(m, v, product), -rate * m / (1.0 - product) / (root + _EPSILON)


SPEC = Spec(
    kind="action",
    name="hyperparameters",
    make=make,
    source="ours, after DACBench's SGD benchmark (Eimer et al. 2021, arXiv:2105.08541)",
)

"""The action sets a learning rate and a momentum: the classic control problem.

    lr = 10^(3·u₀ − 3),  β = sigmoid(2.2 + 4.6·u₁),  u in [−1, 1]²: lr 1e-6 … 1, β .08 … .999
    sgd:  m ← β m + g,  Δφ = −lr·m
    adam: m ← β m + (1−β) g,  v ← .999 v + .001 g²,
          Δφ = −lr·m̂/(√v̂ + 1e-8), m̂ unbiased by the product of the β so far

At level "parameter" u is given for every parameter, at "tensor" for every tensor, at
"global" once.
"""

from typing import Any, NamedTuple

import jax
from jaxtyping import PyTree

from opt_gym.array_namespace import namespace
from opt_gym.features._accumulators import leaves
from opt_gym.plugins import unknown
from opt_gym.records import ActionMap, Signal, Spec

LEVELS = ("parameter", "tensor", "global")
CONTROLS = ("sgd", "adam")
_B2, _EPSILON = 0.999, 1e-8


class HyperparameterMemory(NamedTuple):
    """Per tensor of φ. second_moment and decay_product are () for "sgd"."""

    momentum: tuple[Any, ...]
    second_moment: tuple[Any, ...]
    decay_product: tuple[Any, ...]


def make(level: str = "global", controls: str = "sgd") -> ActionMap:
    """The action map "hyperparameters".

    Raises:
        ValueError: unknown level or controls.
    """
    if level not in LEVELS:
        raise ValueError(unknown("level", level, list(LEVELS)))
    if controls not in CONTROLS:
        raise ValueError(unknown("controls", controls, list(CONTROLS)))
    step = _sgd if controls == "sgd" else _adam

    def init(params: PyTree) -> HyperparameterMemory:
        zeros = tuple(namespace(leaf).zeros_like(leaf) for leaf in leaves(params))
        if controls == "sgd":
            return HyperparameterMemory(zeros, (), ())
        ones = tuple(namespace(leaf).ones_like(leaf) for leaf in leaves(params))
        return HyperparameterMemory(zeros, zeros, ones)

    def apply(
        a: HyperparameterMemory, signal: Signal, action: tuple
    ) -> tuple[HyperparameterMemory, PyTree]:
        grads, structure = jax.tree.flatten(signal.grad)
        rates, decays = (_spread(control, level, len(grads)) for control in action)
        hyper = [
            (learning_rate(u0), momentum_decay(u1))
            for u0, u1 in zip(rates, decays, strict=True)
        ]
        a, deltas = step(a, grads, hyper, signal.t)
        return a, jax.tree.unflatten(structure, deltas)

    return ActionMap(
        name="hyperparameters",
        config={"level": level, "controls": controls},
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


def _sgd(
    a: HyperparameterMemory, grads: list[Any], hyper: list[tuple[Any, Any]], t: Any
) -> tuple[HyperparameterMemory, list[Any]]:
    momentum = tuple(
        decay * m + g for m, g, (_, decay) in zip(a.momentum, grads, hyper, strict=True)
    )
    deltas = [-rate * m for m, (rate, _) in zip(momentum, hyper, strict=True)]
    return a._replace(momentum=momentum), deltas


def _adam(
    a: HyperparameterMemory, grads: list[Any], hyper: list[tuple[Any, Any]], t: Any
) -> tuple[HyperparameterMemory, list[Any]]:
    decays = [decay for _, decay in hyper]
    momentum = tuple(
        b * m + (1 - b) * g for m, g, b in zip(a.momentum, grads, decays, strict=True)
    )
    second = tuple(
        _B2 * v + (1 - _B2) * g * g for v, g in zip(a.second_moment, grads, strict=True)
    )
    product = tuple(p * b for p, b in zip(a.decay_product, decays, strict=True))
    unbias = 1.0 - _B2 ** (t + 1)
    deltas = [
        -rate * m / (1.0 - p) / (namespace(v).sqrt(v / unbias) + _EPSILON)
        for (rate, _), m, v, p in zip(hyper, momentum, second, product, strict=True)
    ]
    return HyperparameterMemory(momentum, second, product), deltas


SPEC = Spec(
    kind="action",
    name="hyperparameters",
    make=make,
    config={"level": "global", "controls": "sgd"},
    source="ours, after DACBench's SGD benchmark (Eimer et al. 2021, arXiv:2105.08541)",
)

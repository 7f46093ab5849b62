"""A tiny network on Adafactor's statistics, decays included in θ: "small_fc" of Metz 2022.

    (d, m) = MLP(28 scaled features of a parameter, 11 times)    39 -> 4 -> 4 -> 2, relu
    Δφ = −0.001 · d · exp(0.001 · m)                 (action map "direction_magnitude")
    β = 1 − exp(10 · (log(1 − β₀)/10 + δ)), δ of θ, 0 at first, for the seven averages

Features, in the order of the published code, in `opt_gym/features/adafactor.py`. With
hidden = 4 these are 190 weights and 7 decays; the checkpoints that people use (PyLO, μLO) are
of hidden = 32 and step_multiplier = 0.01. Initialized as Haiku does: truncated normal of
standard deviation 1/√fan_in (cut at two of them, not corrected), zero biases.

The observation that an agent would see of it is empty, for its averages depend on θ and are
in its carry; the feature set "adafactor" is the same with the decays it starts from.
"""

from jaxtyping import PRNGKeyArray, PyTree

from learned.building import learned_decays
from learned.building.networks import (
    direction_and_magnitude,
    perceptron,
    perceptron_theta,
)
from opt_gym import plugins
from opt_gym.checks import check_counts, check_time_clamp
from opt_gym.features import adafactor
from opt_gym.features.mlp import times
from opt_gym.maths.accumulators import leaves
from opt_gym.plugins import Spec
from opt_gym.records import LearnedOptimizer, Memory, Observation, Signal


def make(
    hidden: int = 4,
    num_layers: int = 2,
    time_clamp: int | None = None,
    step_multiplier: float = 0.001,
    exp_multiplier: float = 0.001,
) -> LearnedOptimizer:
    """The learned optimizer "adafactor_mlp".

    Args:
        hidden: units of a hidden layer.
        num_layers: hidden layers.
        time_clamp: the largest t that the time features show; None for no limit.
        step_multiplier, exp_multiplier: constants of the action map.

    Raises:
        ValueError: a setting out of its range.
    """
    check_counts(hidden=hidden, num_layers=num_layers)
    check_time_clamp(time_clamp)
    constants = {"step_multiplier": step_multiplier, "exp_multiplier": exp_multiplier}

    def init_theta(key: PRNGKeyArray) -> PyTree:
        rows, shared = len(adafactor.ROW_NAMES), len(adafactor.TIME_SCALES)
        return {
            "decays": learned_decays.offsets(),
            "net": perceptron_theta(key, rows, shared, (*[hidden] * num_layers, 2)),
        }

    def init(theta: PyTree, params: PyTree, roles: tuple[str, ...]) -> Memory:
        return Memory(tuple(adafactor.start(leaf) for leaf in leaves(params)))

    def step(
        theta: PyTree, carry: Memory, signal: Signal, observation: Observation
    ) -> tuple[Memory, tuple]:
        decays = learned_decays.decays(theta["decays"], signal.loss)
        clock = times(signal, adafactor.TIME_SCALES, time_clamp)
        moments, outputs = [], []
        for param, grad, before in zip(
            leaves(signal.params), leaves(signal.grad), carry.tensors, strict=True
        ):
            after = adafactor.follow(before, grad, decays)
            seen = adafactor.look(param, grad, after)
            moments.append(after)
            outputs.append(perceptron(theta["net"], seen, param, clock))
        action = direction_and_magnitude(signal.params, outputs)
        return Memory(tuple(moments)), action

    return LearnedOptimizer(
        features=plugins.build("features", "none"),
        action_map=plugins.build("action", "direction_magnitude", constants),
        needs=(),
        init_theta=init_theta,
        init=init,
        step=step,
    )


SPEC = Spec(
    kind="architecture",
    name="adafactor_mlp",
    make=make,
    source="Metz et al. 2022, arXiv:2203.11860; google/learned_optimization, "
    "learned_optimizers/adafac_mlp_lopt.py",
)

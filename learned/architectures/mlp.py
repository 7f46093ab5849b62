"""A small network applied to every parameter: Metz et al. 2019, and its two-layer relative.

    h = relu(W x̃ + V τ + b),  (d, m) = U h + c      x̃: scaled features, τ: times
    Δφ = −0.001 · d · exp(0.001 · m)                 (action map "direction_magnitude")

Configurations:

    hidden=32, num_layers=1, features="mlp"       31 -> 32 -> 2, 1,090 weights: the paper's
    rms=False                                     the same as its code was released
    num_layers=2, features="momenta"              19 -> 32 -> 32 -> 2, 1,762 weights: "MLPLOpt"
                                                  of learned_optimization

Initialized as Sonnet and Haiku do: truncated normal of standard deviation 1/√fan_in (cut at
two of them, not corrected), zero biases.

differs: the RMS features are on (`rms=False` is the code as released; see features "mlp").
"""

from jaxtyping import PRNGKeyArray, PyTree

from learned.building.networks import (
    direction_and_magnitude,
    perceptron,
    perceptron_theta,
)
from opt_gym import plugins
from opt_gym.checks import check_counts
from opt_gym.maths.accumulators import leaves
from opt_gym.plugins import Spec, unknown
from opt_gym.records import LearnedOptimizer, Memory, Observation, Signal

FEATURES = ("mlp", "momenta")


def make(
    hidden: int = 32,
    num_layers: int = 1,
    features: str = "mlp",
    rms: bool = True,
    time_clamp: int | None = None,
    step_multiplier: float = 0.001,
    exp_multiplier: float = 0.001,
    squashing: str = "none",
    action_scale: float = 0.01,
) -> LearnedOptimizer:
    """The learned optimizer "mlp".

    Args:
        hidden: units of a hidden layer.
        num_layers: hidden layers.
        features: "mlp" or "momenta".
        rms: fill the RMS features of "mlp".
        time_clamp: the largest t that the time features show; None for no limit.
        step_multiplier, exp_multiplier: constants of the action map.
        squashing, action_scale: how a policy of reinforcement learning was held in its box
            (see the action map).

    Raises:
        ValueError: hidden or num_layers < 1, unknown features or squashing, an
            action_scale <= 0.
    """
    check_counts(hidden=hidden, num_layers=num_layers)
    if features not in FEATURES:
        raise ValueError(unknown("features", features, list(FEATURES)))
    seen = {"rms": rms} if features == "mlp" else {}
    shown = plugins.build("features", features, {**seen, "time_clamp": time_clamp})
    constants = {
        "step_multiplier": step_multiplier,
        "exp_multiplier": exp_multiplier,
        "squashing": squashing,
        "action_scale": action_scale,
    }

    def init_theta(key: PRNGKeyArray) -> PyTree:
        sizes = (*[hidden] * num_layers, 2)
        rows, shared = len(shown.row_names), len(shown.shared_names)
        return perceptron_theta(key, rows, shared, sizes)

    def init(theta: PyTree, params: PyTree, roles: tuple[str, ...]) -> Memory:
        return Memory()

    def step(
        theta: PyTree, carry: Memory, signal: Signal, observation: Observation
    ) -> tuple[Memory, tuple]:
        outputs = [
            perceptron(theta, tensor, leaf, observation.numbers)
            for leaf, tensor in zip(
                leaves(signal.params), observation.tensors, strict=True
            )
        ]
        return carry, direction_and_magnitude(signal.params, outputs)

    return LearnedOptimizer(
        features=shown,
        action_map=plugins.build("action", "direction_magnitude", constants),
        needs=shown.needs,
        init_theta=init_theta,
        init=init,
        step=step,
    )


SPEC = Spec(
    kind="architecture",
    name="mlp",
    make=make,
    source="Metz et al. 2019, arXiv:1810.10180, and its released fast_rolling_mlp.py; "
    "google/learned_optimization, mlp_lopt.py",
)

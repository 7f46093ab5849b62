"""The per-parameter MLP of Metz et al. 2019: one small network applied to every parameter.

    h = relu(W x̃ + V τ + b),  (d, m) = U h + c      x̃: 22 scaled features, τ: 9 times
    Δφ = −0.001 · d · exp(0.001 · m)                 (action map "direction_magnitude")

With hidden = 32 these are 1,090 weights. Initialized as Sonnet does: truncated normal of
standard deviation 1/√fan_in (cut at two of them, not corrected), zero biases. The features'
scale is folded into W, so that no normalized copy of them is made.

differs: the RMS features are on (`rms=False` is the code as released; see features "mlp").
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree

from learned.architectures._networks import from_rows, hidden_rows, relu
from opt_gym import plugins
from opt_gym.records import LearnedOptimizer, Observation, Signal, Spec


def make(
    hidden: int = 32,
    rms: bool = True,
    step_multiplier: float = 0.001,
    exp_multiplier: float = 0.001,
) -> LearnedOptimizer:
    """The learned optimizer "mlp".

    Args:
        hidden: units of the one hidden layer.
        rms: fill the RMS features.
        step_multiplier, exp_multiplier: constants of the action map.

    Raises:
        ValueError: hidden < 1.
    """
    if hidden < 1:
        raise ValueError(f"hidden must be >= 1, got {hidden}")
    features = plugins.build("features", "mlp", {"rms": rms})
    constants = {"step_multiplier": step_multiplier, "exp_multiplier": exp_multiplier}
    rows, shared = len(features.row_names), len(features.shared_names)

    def init_theta(key: PRNGKeyArray) -> PyTree:
        k_in, k_out = jax.random.split(key)
        fan_in = rows + shared
        w_in = jax.random.truncated_normal(k_in, -2, 2, (hidden, fan_in)) / math.sqrt(
            fan_in
        )
        w_out = jax.random.truncated_normal(k_out, -2, 2, (2, hidden)) / math.sqrt(
            hidden
        )
        return {
            "w_rows": w_in[:, :rows],
            "w_shared": w_in[:, rows:],
            "b_hidden": jnp.zeros(hidden),
            "w_out": w_out,
            "b_out": jnp.zeros(2),
        }

    def init(theta: PyTree, params: PyTree) -> tuple[()]:
        return ()

    def step(
        theta: PyTree, carry: tuple[()], signal: Signal, observation: Observation
    ) -> tuple[tuple[()], tuple]:
        bias = theta["w_shared"] @ observation.numbers + theta["b_hidden"]
        leaves, structure = jax.tree.flatten(signal.params)
        directions, magnitudes = [], []
        for leaf, tensor in zip(leaves, observation.tensors, strict=True):
            h = relu(hidden_rows(theta["w_rows"], tensor, leaf.shape) + bias[:, None])
            out = theta["w_out"] @ h + theta["b_out"][:, None]
            direction, magnitude = from_rows(out, leaf.shape)
            directions.append(direction)
            magnitudes.append(magnitude)
        action: Any = (
            jax.tree.unflatten(structure, directions),
            jax.tree.unflatten(structure, magnitudes),
        )
        return carry, action

    return LearnedOptimizer(
        name="mlp",
        config={"hidden": hidden, "rms": rms, **constants},
        features=features,
        action_map=plugins.build("action", "direction_magnitude", constants),
        needs=features.needs,
        trained_horizon=None,
        init_theta=init_theta,
        init=init,
        step=step,
    )


SPEC = Spec(
    kind="architecture",
    name="mlp",
    make=make,
    config={
        "hidden": 32,
        "rms": True,
        "step_multiplier": 0.001,
        "exp_multiplier": 0.001,
    },
    source="Metz et al. 2019, arXiv:1810.10180, and its released fast_rolling_mlp.py",
)

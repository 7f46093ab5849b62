"""θ of the architecture "mlp" and the weights of a policy: the same numbers, both ways."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jaxtyping import PyTree

from agents.rl.sb3.sb3_networks import UpdateNet, UpdateSettings
from opt_gym.records import LearnedOptimizer


def update_settings(learned_optimizer: LearnedOptimizer) -> UpdateSettings:
    """The policy settings of `learned_optimizer`, which is of the architecture "mlp".

    Raises:
        ValueError: another architecture.
    """
    if learned_optimizer.name != "mlp":
        raise ValueError(
            "a policy that is an MLP shared over parameters is the architecture 'mlp', "
            f"got {learned_optimizer.name!r}"
        )
    features, config = learned_optimizer.features, learned_optimizer.config
    chosen = {k: config[k] for k in UpdateSettings._fields if k in config}
    return UpdateSettings(
        num_rows=len(features.row_names),
        num_shared=len(features.shared_names),
        **chosen,
    )


def theta_from_policy(policy: Any) -> PyTree:
    """θ with the weights of a policy, exactly.

    Args:
        policy: a `PerParameterPolicy` or a `PerParameterTD3Policy`.
    """
    (net, *_) = _nets(policy)
    first, *rest = (
        {"w": as_array(layer.weight), "b": as_array(layer.bias)} for layer in net.layers
    )
    num_rows = net.settings.num_rows
    return {
        "w_rows": first["w"][:, :num_rows],
        "w_shared": first["w"][:, num_rows:],
        "b": first["b"],
        "rest": rest,
    }


@torch.no_grad()
def policy_from_theta(policy: Any, theta: PyTree) -> Any:
    """Writes θ into a policy (and into the target of its actor), and returns it.

    `theta` has the structure and the shapes that `theta_from_policy` gives.

    Raises:
        ValueError: θ has other shapes than the policy's.
    """
    expected, given = (
        jax.tree.map(np.shape, tree) for tree in (theta_from_policy(policy), theta)
    )
    if expected != given:
        raise ValueError(
            f"θ does not fit the policy: it has the shapes {given}, not {expected}"
        )
    first = np.concatenate([theta["w_rows"], theta["w_shared"]], axis=1)
    layers = [(first, theta["b"]), *((x["w"], x["b"]) for x in theta["rest"])]
    for net in _nets(policy):
        for layer, (weight, bias) in zip(net.layers, layers, strict=True):
            layer.weight.copy_(torch.tensor(np.asarray(weight)))
            layer.bias.copy_(torch.tensor(np.asarray(bias)))
    return policy


def _nets(policy: Any) -> list[UpdateNet]:
    if hasattr(policy, "actor"):
        return [policy.actor.net, policy.actor_target.net]
    return [policy.action_net]


def as_array(tensor: torch.Tensor) -> Any:
    """A JAX array with the numbers of a tensor."""
    # A copy: JAX would share the memory that the next update writes into.
    return jnp.array(tensor.detach().cpu().numpy().copy())

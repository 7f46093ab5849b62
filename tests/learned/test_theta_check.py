"""A θ that does not belong to its architecture is refused where it is handed over, by name."""

from collections import OrderedDict
from typing import Any

import jax
import numpy as np
import optax
import pytest
import torch

import learned
import opt_gym
from learned.torch import LearnedOptim
from opt_gym import policy

DOORS = {
    "save": lambda lopt, theta, folder: learned.save(folder / "theta", lopt, theta),
    "to_optax": lambda lopt, theta, _: learned.to_optax(lopt, theta, horizon=9),
    "scale_by_learned": lambda lopt, theta, _: learned.scale_by_learned(
        lopt, theta, horizon=9
    ),
    "LearnedOptim": lambda lopt, theta, _: LearnedOptim(
        [torch.nn.Parameter(torch.ones(2))], (lopt, theta), horizon=9
    ),
    "evaluate": lambda lopt, theta, _: opt_gym.evaluate(lopt, "quadratic", theta),
}


def zeros(lopt) -> Any:
    return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), policy.theta_like(lopt))


def without_first(theta):
    """θ less one tensor, and the tensor's name."""
    name, _ = policy.named_leaves(theta)[0]

    def drop(tree: Any, steps: list[str]) -> Any:
        items = tree.items() if hasattr(tree, "items") else enumerate(tree)
        fewer = {str(key): branch for key, branch in items}
        branch = fewer.pop(steps[0])
        if len(steps) > 1:
            fewer[steps[0]] = drop(branch, steps[1:])
        return fewer

    return drop(theta, name.split(".")), name


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", learned.names())
def test_what_differs_is_named(name, door, tmp_path):
    lopt, enter = learned.make(name), DOORS[door]
    theta = zeros(lopt)
    last, leaf = policy.named_leaves(theta)[-1]
    fewer, lost = without_first(theta)
    grown = jax.tree.map(
        lambda x: np.zeros((*x.shape, 7), x.dtype) if x is leaf else x, theta
    )
    shape = f"{last} {[*leaf.shape, 7]} instead of {[*leaf.shape]}"
    for wrong, message in (
        (fewer, f"missing: {lost}"),
        ({**theta, "more": 1.0}, "unexpected: more"),
        (grown, f"of another shape: {shape}"),
        ((), "missing: "),
    ):
        with pytest.raises(ValueError) as caught:  # noqa: PT011 — the words follow
            enter(lopt, wrong, tmp_path)
        assert message in str(caught.value)
        assert repr(name) in str(caught.value)


@pytest.mark.parametrize("name", learned.names())
def test_every_kind_of_leaf_is_welcome(name):
    """Arrays of JAX and numpy, numbers, traced values, batched ones, and other dicts."""
    lopt = learned.make(name)
    theta = zeros(lopt)

    def enter(theta: Any) -> None:
        policy.check_theta(lopt, theta)

    enter(theta)
    enter(jax.tree.map(lambda x: x if x.ndim else float(x), theta))
    enter(jax.tree.map(torch.tensor, theta))
    if isinstance(theta, dict):
        enter(OrderedDict(reversed(theta.items())))
    jax.eval_shape(enter, theta)
    jax.eval_shape(jax.vmap(enter), jax.tree.map(lambda x: x[None], theta))


def test_a_dict_is_no_list():
    lopt = learned.make("mlp")
    theta = zeros(lopt)
    with pytest.raises(ValueError, match="its tree is PyTreeDef"):
        learned.to_optax(lopt, {**theta, "rest": {"0": theta["rest"][0]}})
    learned.to_optax(lopt, {**theta, "rest": tuple(theta["rest"])})


def test_the_architecture_is_traced_once_for_many_transformations():
    count = []
    lopt = learned.make("adam")
    theta = zeros(lopt)

    def init_theta(key):
        count.append(key)
        return lopt.init_theta(key)

    counting = lopt._replace(init_theta=init_theta)
    made = [learned.to_optax(counting, theta) for _ in range(3)]
    assert len(count) == 1
    assert all(isinstance(one, optax.GradientTransformation) for one in made)

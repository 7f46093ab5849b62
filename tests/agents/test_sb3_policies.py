"""Policies shared over parameters in stable-baselines3, and their weights as θ."""

from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import learned
import opt_gym
from agents.rl.sb3.sb3_networks import PooledNet
from agents.rl.sb3.sb3_policy import PerParameterPolicy
from agents.rl.sb3.sb3_td3_policy import PerParameterTD3Policy
from agents.rl.sb3.sb3_weights import (
    policy_from_theta,
    theta_from_policy,
    update_settings,
)
from learned.torch import LearnedOptim
from opt_gym.gym._layout import make_layout, to_array
from opt_gym.gym.spaces import BroadcastBox
from tests.agents.sb3_problems import SCALE, adapted, mlp, one_thread, ppo, td3  # noqa: F401
from tests.gym.problems import SMALL_MLP
from tests.learned.problems import QUICK, to_jax_layout, to_torch_layout

quick = partial(jax.jit, compiler_options=QUICK)
POLICIES = [PerParameterPolicy, PerParameterTD3Policy]


def policy_of(kind, optimizer, shape=(3, 31), bound=1.0, **settings) -> Any:
    return kind(
        BroadcastBox(-np.inf, np.inf, shape),
        BroadcastBox(-bound, bound, shape[:1]),
        lambda _: 1e-3,
        settings=update_settings(optimizer),
        **settings,
    )


def theta_of(optimizer, seed=3):
    random = np.random.default_rng(seed)
    return jax.tree.map(
        lambda x: random.normal(size=x.shape).astype(np.float32),
        jax.eval_shape(optimizer.init_theta, jax.random.key(0)),
    )


@pytest.mark.parametrize("kind", POLICIES)
def test_permuted_parameters_get_permuted_updates_and_the_same_value(kind):
    policy = policy_of(kind, mlp("tanh"), (4, 31))
    rows = torch.randn(2, 4, 31)
    order = [2, 0, 3, 1]
    with torch.no_grad():
        updates, permuted = (
            policy._predict(x, deterministic=True) for x in (rows, rows[:, order])
        )
        torch.testing.assert_close(permuted, updates[:, order])
        critic = PooledNet(31, 8)
        torch.testing.assert_close(critic(rows[:, order]), critic(rows))


@pytest.mark.parametrize("kind", POLICIES)
@pytest.mark.parametrize(
    ("settings", "inputs"),
    [({}, 31), ({"num_layers": 2, "features": "momenta", "hidden": 5}, 19)],
)
def test_theta_becomes_weights_and_back_exactly(kind, settings, inputs):
    optimizer = mlp("tanh", **settings)
    policy = policy_of(kind, optimizer, (3, inputs))
    theta = theta_of(optimizer)
    assert policy_from_theta(policy, theta) is policy
    back = theta_from_policy(policy)
    jax.tree.map(np.testing.assert_array_equal, back, theta)
    weights = {name: x.clone() for name, x in policy.state_dict().items()}
    policy_from_theta(policy, back)
    for name, x in policy.state_dict().items():
        assert torch.equal(x, weights[name])


def test_theta_of_another_architecture_does_not_fit():
    policy = policy_of(PerParameterPolicy, mlp())
    with pytest.raises(ValueError, match="does not fit the policy"):
        policy_from_theta(policy, theta_of(mlp(hidden=7)))
    with pytest.raises(ValueError, match="'mlp', got 'adam'"):
        update_settings(learned.make("adam"))
    with pytest.raises(ValueError, match=r"observations \[n, 31\] and actions \[n\]"):
        policy_of(PerParameterPolicy, mlp(), (3, 19))


@pytest.mark.parametrize(
    ("make", "squashing"), [(ppo, "none"), (ppo, "clip"), (td3, "tanh")]
)
def test_a_trained_policy_gives_the_updates_of_its_theta_on_another_task(
    make, squashing
):
    optimizer = mlp(squashing)
    bounded = squashing != "none"
    trained = make(optimizer, adapted(dims=10, optimizer=optimizer, bounded=bounded))
    trained.learn(60)
    elsewhere = deployment()
    policy = policy_of(
        type(trained.policy),
        optimizer,
        elsewhere.layout.observation_shape,
        bound=1.0 if bounded else 1e30,
    )
    policy.load_state_dict(trained.policy.state_dict())
    theta = theta_from_policy(trained.policy)
    squashed = check_same_updates(elsewhere, policy, optimizer, theta)
    assert (squashed > 0) == (squashing == "clip")


class Deployment(NamedTuple):
    state: Any
    layout: Any
    show: Any
    step: Any


@cache
def deployment() -> Deployment:
    """A network of four tensors: what it shows, and a step of it, compiled."""
    env = opt_gym.make(SMALL_MLP, features="mlp", action="update", data="embedded")
    data = opt_gym.load_data(env)
    state = quick(env.reset)(jax.random.key(0), data, 20)
    layout = make_layout(env, state.params)
    show = quick(lambda state: to_array(layout, env.observe(state)[1]))
    step = quick(env.step)
    return Deployment(state, layout, show, lambda *args: step(data, *args)[0])


def check_same_updates(elsewhere, policy, optimizer, theta):
    """Policy, optax and torch on what the environment shows and its gradients."""
    state, layout, show, step = elsewhere
    tx: Any = learned.to_optax(optimizer, theta)
    memory = tx.init(state.params)
    update = quick(tx.update)
    params = [torch.nn.Parameter(torch.zeros(s[::-1]).double()) for s in layout.shapes]
    ours = LearnedOptim(params, (optimizer, theta))
    squashed = 0
    for _ in range(4):
        action, _ = policy.predict(np.array(show(state)), deterministic=True)
        squashed += int(np.sum(np.abs(action) == 1.0))
        expected = SCALE * action
        updates, memory = update(state.grad, memory, state.params)
        close(flat(updates), expected)
        # In float64, or the difference of two weights would show only rounding.
        for param, value, grad in zip(params, state.params, state.grad, strict=True):
            param.data = torch.tensor(to_torch_layout(value)).double()
            param.grad = torch.tensor(to_torch_layout(grad)).double()
        before = [param.detach().clone() for param in params]
        ours.step()
        moved = [
            to_jax_layout((param.detach() - old).numpy())
            for param, old in zip(params, before, strict=True)
        ]
        close(flat(moved), expected)
        state = step(state, (updates,))
    return squashed


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def close(found, expected):
    np.testing.assert_allclose(
        found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max()
    )


def test_with_one_parameter_both_ratios_are_the_same_algorithm():
    optimizer = mlp()
    found = []
    for ratio in ("parameter", "joint"):
        env = adapted(dims=1, optimizer=optimizer)
        found.append(ppo(optimizer, env, ratio=ratio).learn(60).policy.state_dict())
    for name, x in found[0].items():
        torch.testing.assert_close(x, found[1][name])


def test_the_joint_log_probability_is_the_sum_of_the_parameters():
    optimizer = mlp()
    each, joint = (
        policy_of(PerParameterPolicy, optimizer, ratio=ratio)
        for ratio in ("parameter", "joint")
    )
    joint.load_state_dict(each.state_dict())
    rows, actions = torch.randn(2, 3, 31), torch.randn(2, 3)
    with torch.no_grad():
        _, of_each, entropies = each.evaluate_actions(rows, actions)
        _, of_all, entropy = joint.evaluate_actions(rows, actions)
        stock = joint.get_distribution(rows).log_prob(actions)
    assert of_each.shape == (2, 3)
    torch.testing.assert_close(of_each.sum(-1), of_all)
    torch.testing.assert_close(entropies.sum(-1), entropy)
    torch.testing.assert_close(of_all, stock)
    with pytest.raises(ValueError, match="unknown ratio: 'jont'; did you mean 'joint'"):
        policy_of(PerParameterPolicy, optimizer, ratio="jont")


@pytest.mark.parametrize("make", [ppo, td3])
def test_stable_baselines3_saves_and_loads_it(make, tmp_path):
    optimizer = mlp("tanh")
    model = make(optimizer, adapted(optimizer=optimizer))
    model.save(tmp_path / "model")
    rows = np.random.default_rng(0).normal(size=(2, 3, 31)).astype(np.float32)
    expected, _ = model.predict(rows, deterministic=True)
    loaded = type(model).load(tmp_path / "model", device="cpu")
    np.testing.assert_array_equal(loaded.predict(rows, deterministic=True)[0], expected)
    model.policy.save(str(tmp_path / "policy"))
    policy = type(model.policy).load(str(tmp_path / "policy"), device="cpu")
    np.testing.assert_array_equal(policy.predict(rows, deterministic=True)[0], expected)


@pytest.mark.parametrize(
    ("squashing", "expected"),
    [
        ("none", [-0.02, 0.5, 0.0]),
        ("clip", [-0.02, 0.1, 0.0]),
        ("tanh", [0.1 * np.tanh(-0.2), 0.1 * np.tanh(5.0), 0.0]),
    ],
)
@pytest.mark.parametrize("array", [jnp.array, torch.tensor])
def test_squashing_by_hand(squashing, expected, array):
    settings = {"squashing": squashing, "action_scale": 0.1, "step_multiplier": 1.0}
    action_map = learned.make("mlp", **settings).action_map
    signal: Any = type("Signal", (), {"loss": array(0.0)})
    direction, magnitude = array([0.02, -0.5, 0.0]), array([0.0, 0.0, 0.0])
    _, delta = action_map.apply(
        action_map.init(()), signal, ((direction,), (magnitude,))
    )
    np.testing.assert_allclose(np.asarray(delta[0]), expected, rtol=1e-6)


def test_a_squashing_that_cannot_be_is_named():
    with pytest.raises(
        ValueError, match="unknown squashing: 'tan'; did you mean 'tanh'"
    ):
        mlp("tan")
    with pytest.raises(
        ValueError, match=r"action_scale must be a number > 0, got 0\.0"
    ):
        mlp(action_scale=0.0)

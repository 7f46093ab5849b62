"""stable-baselines3: the adapter, policies shared over parameters, their weights as θ."""

from functools import cache, partial
from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO, TD3
from stable_baselines3.common.vec_env import VecMonitor

import learned
import opt_gym
from agents.rl.networks import PooledNet
from agents.rl.policy import PerParameterPolicy, PerParameterPPO
from agents.rl.td3 import PerParameterTD3Policy
from agents.rl.vec_env import Sb3VecEnv, check_rollout_size
from agents.rl.weights import policy_from_theta, theta_from_policy, update_settings
from learned.torch import LearnedOptim
from opt_gym.gym._layout import make_layout, to_array
from opt_gym.gym.spaces import BroadcastBox
from tests.gym.problems import SMALL_MLP, quadratic, vector
from tests.learned.problems import QUICK, to_jax_layout, to_torch_layout

SCALE = 0.05
quick = partial(jax.jit, compiler_options=QUICK)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def mlp(squashing="clip", **settings) -> Any:
    """Steps of about the box's half-width."""
    given = {"action_scale": SCALE, "step_multiplier": SCALE, "exp_multiplier": 0.1}
    return learned.make("mlp", squashing=squashing, **{**given, **settings})


def adapted(num_envs=3, dims=3, optimizer=None, *, monitor=False, **keywords) -> Any:
    shown = {} if optimizer is None else {"features": optimizer.features, "horizon": 10}
    adapter = {k: keywords.pop(k) for k in ("bootstrap", "bounded") if k in keywords}
    envs = vector(
        num_envs, task=quadratic(dims), autoreset_mode="SameStep", **shown, **keywords
    )
    env = Sb3VecEnv(envs, **adapter)
    return VecMonitor(env) if monitor else env


def ppo(optimizer, env, **settings) -> Any:
    kwargs = {"settings": tuple(update_settings(optimizer))}
    kwargs |= {k: settings.pop(k) for k in ("ratio", "log_std_init") if k in settings}
    given = {"n_steps": 10, "batch_size": 15, "n_epochs": 2, "gamma": 1.0, "seed": 0}
    return PerParameterPPO(
        PerParameterPolicy,
        env,
        policy_kwargs=kwargs,
        device="cpu",
        **{**given, **settings},
    )


def td3(optimizer, env, **settings) -> Any:
    kwargs = {"settings": tuple(update_settings(optimizer))}
    return TD3(
        PerParameterTD3Policy,
        env,
        buffer_size=1000,
        policy_kwargs=kwargs,
        device="cpu",
        seed=0,
        **settings,
    )


def test_the_adapter_shows_what_the_environments_do():
    theirs = vector(autoreset_mode="SameStep")
    env = adapted()
    env.seed(5)
    observation, _ = theirs.reset(seed=5)
    np.testing.assert_array_equal(env.reset(), observation)
    for t in range(7):
        actions = np.full((3, 3), 0.1 * t, np.float32)
        observation, reward, _, truncated, info = theirs.step(actions)
        shown, paid, done, infos = env.step(actions)
        np.testing.assert_array_equal(shown, observation)
        np.testing.assert_array_equal(paid, reward.astype(np.float32))
        np.testing.assert_array_equal(done, truncated)
        assert paid.dtype == np.float32
        assert shown.flags.writeable
        assert paid.flags.writeable
        assert len({id(one) for one in infos}) == 3  # wrappers write into them
        if not done.any():
            assert infos == [{}, {}, {}]
            continue
        for i, one in enumerate(infos):
            np.testing.assert_array_equal(
                one["terminal_observation"], info["final_obs"][i]
            )
            assert one["TimeLimit.truncated"] is False
            assert one["cost"] == info["final_info"]["cost"][i]


def test_observations_are_not_copied(monkeypatch):
    env = adapted()
    env.reset()
    given = []

    def step(actions):
        given.append(type(env.envs).step(env.envs, actions))
        return given[-1]

    monkeypatch.setattr(env.envs, "step", step)
    assert env.step(np.zeros((3, 3), np.float32))[0] is given[0][0]


def test_truncation_is_told_only_where_asked_and_divergence_never_is():
    env = adapted(bootstrap=True)
    env.reset()
    *_, infos = (env.step(np.zeros((3, 3), np.float32))[3] for _ in range(5))
    assert [one["TimeLimit.truncated"] for one in infos] == [True] * 3
    actions = np.zeros((3, 3), np.float32)
    actions[1] = np.nan
    _, reward, done, infos = env.step(actions)
    assert done.tolist() == [False, True, False]
    assert infos[1]["TimeLimit.truncated"] is False
    assert reward[1] == -2.0  # the whole episode is charged


def test_a_monitored_return_is_minus_the_mean_cost():
    env = adapted(monitor=True)
    env.seed(0)
    env.reset()
    costs = np.zeros(3)
    probe = vector(autoreset_mode="SameStep")
    probe.reset(seed=0)
    for _ in range(5):
        actions = np.full((3, 3), 0.3, np.float32)
        infos = env.step(actions)[3]
        info = probe.step(actions)[4]
        costs += info["final_info"]["cost"] if "final_info" in info else info["cost"]
    returns = [one["episode"]["r"] for one in infos]
    np.testing.assert_allclose(returns, -costs / 5, rtol=1e-5)
    assert [one["episode"]["l"] for one in infos] == [5] * 3


def test_mistakes_in_adapting_are_named():
    with pytest.raises(ValueError, match=r"autoreset_mode='SameStep'.*NEXT_STEP"):
        Sb3VecEnv(vector())
    with pytest.raises(ValueError, match="output='numpy', got 'jax'"):
        Sb3VecEnv(vector(autoreset_mode="SameStep", output="jax"))
    env = adapted()
    env.set_options([{"task_seed": 0}, {}, {}])
    with pytest.raises(ValueError, match="all rows take the same options"):
        env.reset()
    for call in (env.set_attr, env.env_method):
        with pytest.raises(NotImplementedError, match="got 'horizon'"):
            call("horizon", 3)
    assert env.get_attr("horizon") == [5] * 3
    assert env.env_is_wrapped(gym.Wrapper) == [False] * 3


def test_a_buffer_that_is_too_large_is_refused_with_the_arithmetic():
    assert check_rollout_size(50, 64, (10, 31)) == 50 * 64 * 10 * 31 * 4
    message = (
        r"50 steps × 64 environments × 10000 × 31 numbers × 4 bytes = 3.97 GB exceeds"
    )
    with pytest.raises(ValueError, match=message):
        check_rollout_size(50, 64, (10_000, 31))
    with pytest.raises(ValueError, match=r"4 bytes × 2 observations = 2.48 GB"):
        check_rollout_size(1000, 1, (10_000, 31), copies=2)
    with pytest.raises(ValueError, match="environments × 3 × 31 numbers"):
        ppo(mlp(), adapted(optimizer=mlp()), n_steps=10**7)


@pytest.mark.slow
def test_stock_ppo_learns_on_hyperparameters():
    env = adapted(action="hyperparameters", level="global", monitor=True)
    model: Any = PPO("MlpPolicy", env, n_steps=5, batch_size=15, device="cpu", seed=0)
    before = model.policy.action_net.weight.detach().clone()
    model.learn(30)
    assert model.num_timesteps == 30
    assert len(model.ep_info_buffer) == 6
    assert not torch.equal(model.policy.action_net.weight, before)


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
    with pytest.raises(ValueError, match=r"action_scale must be > 0, got 0\.0"):
        mlp(action_scale=0.0)

"""Weights in another scale: the same losses, other steps."""

import functools
import json
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import agents
import learned
import opt_gym
from opt_gym import normalize, plugins
from opt_gym.adapters.reparameterisation import (
    KEY,
    SCALE_LEVELS,
    reparameterised,
    split,
)
from opt_gym.evaluation.measure_normalizers import measure
from opt_gym.gym.opt_env import OptEnv
from opt_gym.testing import task_checks
from tests import toy
from tests.gym import problems
from tests.tasks.test_flows import MAF

SPREAD = {"low": 0.1, "high": 10.0}
CONFIGS: dict[str, Any] = {
    "quadratic": problems.quadratic(),
    "small_mlp": problems.SMALL_MLP,
    "maf": {"family": "maf", **MAF, "hidden_units": [5, 7]},
}


@functools.cache
def task_of(family, level, **bounds):
    """(the plain task, its reparameterised form)."""
    config = CONFIGS[family]
    settings = {"level": level, **(bounds or SPREAD)}
    return opt_gym.make_task(config), opt_gym.make_task({**config, KEY: settings})


MAF_IS_SLOW = pytest.mark.slow


@pytest.fixture(
    scope="module",
    params=["quadratic", "small_mlp", pytest.param("maf", marks=MAF_IS_SLOW)],
)
def case(request):
    """A reparameterised task whose programs ran."""
    family = request.param
    config = {**CONFIGS[family], KEY: {"level": "parameter", **SPREAD}}
    spec = plugins.Spec(
        "task", family, opt_gym.make_task, "a test", lambda seed: config
    )
    return task_checks.prepare(spec)


@pytest.mark.parametrize(
    "check",
    [
        check
        for check in task_checks.CHECKS
        if check is not task_checks.jit_is_eager  # every operation would be compiled
    ],
    ids=lambda check: check.__name__,
)
def test_it_does_what_every_task_must(case, check):
    check(case)


@pytest.mark.parametrize(
    "check", task_checks.TRACED_CHECKS, ids=lambda check: check.__name__
)
def test_it_does_so_before_it_runs(case, check):
    check(case.traced)


def close(a, b, rtol=1e-5, atol=0.0):
    for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=atol)


def loss_and_gradient(task, data, key):
    """(φ, ψ, loss, gradient) of the first batch."""
    k_init, k_batch, k_loss = jax.random.split(key, 3)
    params, instance = task.init(k_init, data)
    batch = task.sample_batch(k_batch, data, instance, "train")

    def loss(params):
        return task.loss(k_loss, params, instance, batch)[0]

    return params, instance, *jax.value_and_grad(loss)(params)


@pytest.mark.parametrize(
    ("family", "level"),
    [
        *(("small_mlp", level) for level in SCALE_LEVELS),
        ("quadratic", "global"),
        pytest.param("maf", "tensor", marks=MAF_IS_SLOW),
    ],
)
def test_the_loss_is_the_plain_one_and_the_gradient_is_scaled(family, level):
    plain, scaled = task_of(family, level)
    data = jax.device_put(plain.load_data("embedded"))
    key = jax.random.key(3)
    found = [
        jax.jit(
            functools.partial(loss_and_gradient, task),
        )(data, key)
        for task in (plain, scaled)
    ]
    (params, instance, loss, grad), (stored, psi, loss_too, grad_too) = found
    close(psi.instance, instance, rtol=0)
    close(jax.tree.map(jnp.multiply, stored, psi.alpha), params, atol=1e-7)
    np.testing.assert_allclose(loss_too, loss, rtol=1e-6)
    largest = max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(grad))
    expected = jax.tree.map(jnp.multiply, grad, psi.alpha)
    close(grad_too, expected, rtol=1e-4, atol=1e-5 * largest)
    assert all(np.any(np.abs(np.log(a)) > 0.1) for a in jax.tree.leaves(psi.alpha))


def test_the_mask_of_a_constraint_does_not_notice_scales():
    plain, scaled = task_of("maf", "parameter")
    params, _ = jax.eval_shape(
        plain.init, jax.random.key(0), plain.load_data("embedded")
    )
    keys = jax.random.split(jax.random.key(1), 2 * len(params))
    draws = [
        jax.random.normal(k, x.shape) for k, x in zip(keys, params * 2, strict=True)
    ]
    stored, alpha = draws[: len(params)], [jnp.exp(x) for x in draws[len(params) :]]
    used = tuple(map(jnp.multiply, stored, alpha))
    expected = tuple(map(jnp.divide, plain.constrain(used), alpha))
    close(scaled.constrain(tuple(stored)), expected, rtol=1e-6)
    assert any(np.any(np.asarray(x) == 0.0) for x in expected)


@pytest.mark.parametrize("level", SCALE_LEVELS)
def test_alpha_is_log_uniform_and_drawn_with_every_inner_problem(level):
    two = toy.quadratic()._replace(
        init=lambda key, data: ((jnp.ones(2), jnp.ones((3, 2))), ())
    )
    scaled = reparameterised(two, level=level, **SPREAD)
    keys = jax.random.split(jax.random.key(0), 200)
    stored, psi = jax.jit(jax.vmap(scaled.init, in_axes=(0, None)))(keys, {})
    leaves = jax.tree.leaves(psi.alpha)
    for weights, alpha in zip(jax.tree.leaves(stored), leaves, strict=True):
        assert alpha.shape == (weights.shape if level == "parameter" else (200,))
    logs = [np.log10(np.asarray(alpha)).reshape(200, -1) for alpha in leaves]
    ours = np.stack([log[:, 0] for log in logs])
    assert np.all(np.abs(ours) <= 1 + 1e-6)
    # Uniform in [-1, 1]: mean 0, variance 1/3; 4 standard errors of 200 draws.
    assert np.all(np.abs(ours.mean(1)) < 4 * np.sqrt(1 / 3 / 200))
    assert np.all(np.abs(ours.var(1) - 1 / 3) < 4 * np.sqrt(4 / 45 / 200))
    between = np.corrcoef(ours)[0, 1]
    assert between == pytest.approx(1.0) if level == "global" else abs(between) < 0.3
    if level == "parameter":
        assert abs(np.corrcoef(logs[0].T)[0, 1]) < 0.3


def losses_of(env, optimizer, key, num_steps):
    """Of an episode, from its first step on, and its ψ."""
    theta = optimizer.init_theta(jax.random.key(0))

    @jax.jit
    def run(key):
        state = opt_gym.start(key, env, optimizer, theta, {}, num_steps)
        state, out = opt_gym.unroll(env, optimizer, theta, {}, state, num_steps)
        return out.loss, state.env.instance

    return run(key)


def plain_losses(task, key, num_steps, transformation, scale):
    """Of a plain loop whose updates are multiplied by `scale`."""
    episode = opt_gym.replay(task, {}, key)

    @jax.jit
    def loss_of(params, t):
        return jax.value_and_grad(
            lambda p: task.loss(
                episode.loss_key(t), p, episode.instance, episode.batch(t)
            )[0]
        )(params)

    params, losses = episode.params, []
    state = transformation.init(params)
    for t in range(num_steps + 1):
        loss, grad = loss_of(params, t)
        losses.append(loss)
        updates, state = transformation.update(grad, state)
        params = optax.apply_updates(params, jax.tree.map(jnp.multiply, updates, scale))
    return np.array(losses[1:])


@pytest.mark.parametrize("level", SCALE_LEVELS)
@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_a_step_is_one_of_another_rate(name, level):
    """SGD with η is SGD with α²η, Adam with η is Adam with αη."""
    plain, scaled = task_of("quadratic", level)
    rate, key = 1e-3, jax.random.key(11)
    optimizer = learned.make(name, learning_rate=rate)
    if name == "adam":  # ε is in the units of a gradient
        optimizer = learned.make(name, learning_rate=rate, epsilon=1e-20)
    env = opt_gym.make(scaled, learned_optimizer=optimizer, normalizer=toy.NORMALIZER)
    losses, psi = losses_of(env, optimizer, key, 20)
    power = {"sgd": 2, "adam": 1}[name]
    transformation = {
        "sgd": optax.sgd(rate),
        "adam": optax.adam(rate, eps=1e-20),
    }[name]
    scale = jax.tree.map(lambda alpha: alpha**power, psi.alpha)
    expected = plain_losses(plain, key, 20, transformation, scale)
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    unscaled = jax.tree.map(jnp.ones_like, scale)
    without = plain_losses(plain, key, 20, transformation, unscaled)
    assert not np.allclose(losses, without, rtol=1e-2)


def test_the_config_says_it_and_builds_it():
    plain, scaled = task_of("quadratic", "tensor")
    assert scaled.config == {**plain.config, KEY: {"level": "tensor", **SPREAD}}
    again = opt_gym.make_task(json.loads(json.dumps(scaled.config)))
    key = jax.random.key(0)
    close(again.init(key, {}), scaled.init(key, {}), rtol=0)
    by_hand = reparameterised(plain, level="tensor", **SPREAD)
    assert by_hand.config == scaled.config
    close(by_hand.init(key, {}), scaled.init(key, {}), rtol=0)
    assert opt_gym.make_task({**plain.config, KEY: {}}).config[KEY] == {
        "level": "global",
        "low": 1e-3,
        "high": 1e3,
    }
    assert split(plain.config) == (plain.config, None)


def test_a_task_without_a_config_stays_one():
    scaled = reparameterised(toy.quadratic())
    assert scaled.config == {}
    (stored,), psi = scaled.init(jax.random.key(0), {})
    np.testing.assert_allclose(stored * psi.alpha[0], 1.0, rtol=1e-6)


def test_the_normalizer_is_that_of_the_plain_task():
    config = opt_gym.task_config("small_mlp_family_seed0")
    plain = opt_gym.make_task(config)
    scaled = opt_gym.make_task({**config, KEY: {"level": "parameter"}})
    found = normalize.lookup(plain, "train", "embedded")
    assert found.source == "table"
    assert normalize.lookup(scaled, "train", "embedded") == found
    data = plain.load_data("embedded")
    provisional = [normalize.provisional(t, "train", data) for t in (plain, scaled)]
    close(provisional[0][:2], provisional[1][:2], rtol=1e-5)
    # What Adam reaches is another matter.
    assert normalize.trial_costs(plain, "train", "embedded") is not None
    assert normalize.trial_costs(scaled, "train", "embedded") is None
    with pytest.raises(ValueError, match="has the normalizer of the same task without"):
        measure(scaled)


def test_it_is_a_task_like_any_other_to_gymnasium():
    config = {**problems.quadratic(), KEY: {"level": "parameter", **SPREAD}}
    envs = problems.vector(num_envs=2, task=config, features="mlp")
    single = gym.make(problems.ID, task=config, horizon=5).unwrapped
    assert isinstance(single, OptEnv)
    assert single.config == config
    seen, _ = envs.reset(seed=3)
    first, _ = single.reset(seed=3)
    np.testing.assert_allclose(seen[0], first, rtol=1e-5, atol=1e-6)
    action = envs.action_space.sample()
    _, rewards, *_ = envs.step(action)
    np.testing.assert_allclose(rewards[0], single.step(action[0])[1], rtol=1e-5)
    assert np.all(np.isfinite(rewards))


@pytest.mark.slow
def test_an_outer_trainer_learns_a_smaller_rate_where_weights_are_scaled_up():
    """α = 2 for all: the best rate of SGD on the parabola is 1/4 instead of 1."""
    task = reparameterised(toy.quadratic(), low=2.0, high=2.0)
    env, optimizer, _ = toy.sgd_env(task)
    trainer = agents.make(
        "es",
        envs=[env],
        learned_optimizer=optimizer,
        outer_optimizer=optax.sgd(0.1),
        num_pairs=8,
        sigma=0.02,
        trunc_length=3,
        horizon=6,
    )
    result = agents.train(trainer, [{}], outer_steps=40)
    assert abs(float(result.theta["learning_rate"]) - 0.25) < 0.03


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"level": "layer"}, "reparameterised: unknown level: 'layer'"),
        ({"low": 0.0}, "0 < low <= high, got low=0.0"),
        ({"low": 2.0, "high": 1.0}, "got low=2.0, high=1.0"),
        ({"high": float("inf")}, "high=inf"),
        ({"high": "10"}, "must be numbers"),
        ({"lwo": 1.0}, "unknown key: 'lwo'; did you mean 'low'"),
        ("global", "expected a dict"),
    ],
)
def test_mistakes_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        opt_gym.make_task({**problems.quadratic(), KEY: settings})


def test_twice_is_once_too_often():
    _, scaled = task_of("quadratic", "tensor")
    with pytest.raises(ValueError, match="reparameterised already"):
        reparameterised(scaled)
